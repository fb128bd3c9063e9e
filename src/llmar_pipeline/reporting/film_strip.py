"""Film strips: a sequence above its reconstruction, with the action sentence."""

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from llmar_pipeline.reporting.figures import INK, MUTED
from llmar_pipeline.reporting.lettering import write_name
from llmar_pipeline.reporting.stick_figures import (
    draw_skeletons,
    draw_tokens,
    evenly_spaced,
    frame_boxes,
    plain_panel,
    seen_from_front,
)

Clip = tuple[np.ndarray, np.ndarray, Sequence[int] | None]


def film_strips(
    clips: Mapping[str, Clip],
    bones: Sequence[tuple[int, int]],
    mirror: Sequence[int] | None = None,
    n_frames: int = 8,
    books: int = 1,
) -> bytes:
    """Draw sequences above their reconstructions as stick figures seen from the front, clip below clip.

    The figures of a clip have one scale and are horizontally centred on the original at each time. The two
    sides of the body differ in colour, and the second person is paler. What the original lacks (NaN) is not
    drawn in the reconstruction either.

    Args:
        clips: Title to original, reconstruction (both [person, frame, joint, coordinate] in metres or
            normalised units) and action sentence. The sentence, where there is one, is drawn below the frames
            along the same time axis.
        bones: (child, parent) joint indices.
        mirror: Index of every joint's left-right partner, itself on the body's axis. None: one colour.
        n_frames: Number of frames, evenly spaced.
        books: Number of codes a time step, drawn one below the other.

    Returns:
        A PNG image, 1600 pixels wide; one row of white pixels without clips.

    Source: ours.
    """
    images = [np.full((1, 1600, 4), 255, dtype=np.uint8)]
    for title, (original, reconstruction, codes) in clips.items():
        canvas = FigureCanvasAgg(
            _draw_clip(original, reconstruction, bones, title, codes, mirror, n_frames, books)
        )
        canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba()))
    buffer = BytesIO()
    imsave(buffer, np.concatenate(images), format="png")
    return buffer.getvalue()


def _draw_clip(
    original: np.ndarray,
    reconstruction: np.ndarray,
    bones: Sequence[tuple[int, int]],
    title: str,
    codes: Sequence[int] | None,
    mirror: Sequence[int] | None,
    n_frames: int,
    books: int,
) -> Figure:
    truth, output = seen_from_front(original, reconstruction)
    frames = evenly_spaced(truth.shape[1], n_frames)
    truth, output = truth[:, frames], output[:, frames]
    middle, half, bottom, top = _window(truth)
    _, _, lowest, highest = _window(output)
    bottom, top = min(bottom, lowest), max(top, highest)

    # Inches: the picture, the row labels, the gap between panels, the panels.
    width, label, gap = 10.0, 0.42, 0.06
    span = width - label - 0.1
    panel = span / len(frames)
    body = min(max(panel * (top - bottom) / (2 * half), 1.0), 2.3)
    tokens = 0.5 if books == 1 else 0.24 * books
    strip = 0.0 if codes is None else 0.12 + tokens
    height = 0.42 + 2 * body + gap + 0.3 + strip
    figure = Figure(figsize=(width, height), dpi=160, facecolor="white")
    write_name(figure, label / width, 1 - 0.14 / height, title, size=12, weight="bold", color=INK, va="top")

    for row, (name, data) in enumerate([("original", truth), ("reconstruction", output)]):
        y = height - 0.42 - body - row * (body + gap)
        figure.text(
            0.1 / width, (y + body / 2) / height, name, size=10, color=MUTED, rotation=90, va="center"
        )
        axes = figure.add_axes((label / width, y / height, span / width, body / height))
        scale = max(2 * half / panel, (top - bottom) / body)
        axes.set_xlim(0, span * scale)
        axes.set_ylim((bottom + top - body * scale) / 2, (bottom + top + body * scale) / 2)
        plain_panel(axes)
        for column in range(len(frames)):
            if column:
                axes.axvline(column * panel * scale, color="white", linewidth=72 * gap)
            shift = np.array([(column + 0.5) * panel * scale - middle[column], 0])
            draw_skeletons(axes, data[:, column] + shift, bones, mirror)
    for column, frame in enumerate(frames):
        x = (label + (column + 0.5) * panel) / width
        figure.text(
            x, (strip + 0.2) / height, f"frame {frame}", size=9, color=MUTED, ha="center", va="center"
        )
    if codes is not None:
        axes = figure.add_axes((label / width, 0.1 / height, span / width, tokens / height))
        draw_tokens(axes, codes, books, span, tokens)
    return figure


def _window(data: np.ndarray) -> tuple[np.ndarray, float, float, float]:
    """Return the horizontal middle of every frame [n] and what they share: half width, bottom, top."""
    low, high = frame_boxes(data)
    present = np.isfinite(low).all(axis=1)
    if not present.any():
        return np.zeros(len(low)), 1.0, -1.0, 1.0
    with np.errstate(invalid="ignore"):  # frames that show nobody
        middle = np.where(present, (low[:, 0] + high[:, 0]) / 2, 0.0)
    half = float((high - low)[present, 0].max() / 2)
    bottom, top = float(low[present, 1].min()), float(high[present, 1].max())
    margin = 0.06 * max(2 * half, top - bottom, 1e-6)
    return middle, half + margin, bottom - margin, top + margin
