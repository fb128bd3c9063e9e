"""Animations: a sequence beside its reconstruction, with the action sentence running along."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from llmar_pipeline.reporting.figures import INK, MUTED
from llmar_pipeline.reporting.lettering import write_name
from llmar_pipeline.reporting.stick_figures import (
    Bones,
    bone_segments,
    draw_skeletons,
    draw_tokens,
    evenly_spaced,
    frame_boxes,
    plain_panel,
    seen_from_front,
)

WIDTH, PANEL_WIDTH, PANEL_HEIGHT, DPI = 4.8, 2.32, 2.3, 100  # inches, and pixels an inch
COLOURS = 96  # of the GIF's palette
LIMIT = 500_000  # bytes


def animation(
    original: np.ndarray,
    reconstruction: np.ndarray,
    bones: Bones,
    title: str,
    codes: Sequence[int] | None = None,
    mirror: Sequence[int] | None = None,
    books: int = 1,
    n_frames: int = 64,
    milliseconds: int = 60,
) -> bytes:
    """Draw a sequence beside its reconstruction as moving stick figures seen from the front.

    Both have one scale and one window, which stands still and holds all of both. What the original lacks
    (NaN) is not drawn in the reconstruction either. The codes of the current time step are framed in the
    action sentence below.

    Args:
        original: [person, frame, joint, coordinate], metres or normalised units.
        reconstruction: The same shape.
        bones: (child, parent) joint indices.
        title: Printed above.
        codes: The action sentence, time step by time step, [W * books]. None: no strip of codes.
        mirror: Index of every joint's left-right partner, itself on the body's axis. None: one colour.
        books: Number of codes a time step.
        n_frames: Number of frames at most, evenly spaced.
        milliseconds: Duration of a frame; GIF counts in hundredths of a second.

    Returns:
        A GIF image, 480 pixels wide, of 500 kB at most, that repeats without end. Frames without a change are
        merged, and every second frame is left out where it would be larger.

    Raises:
        ValueError: The shapes differ.

    Source: ours.
    """
    truth, output = seen_from_front(original, reconstruction)
    n = truth.shape[1]
    strip = 0.0 if codes is None else 0.08 + max(0.3, 0.19 * books)
    figure = Figure(figsize=(WIDTH, 0.5 + PANEL_HEIGHT + strip), dpi=DPI, facecolor="white")
    height = figure.get_figheight()
    write_name(figure, 0.04 / WIDTH, 1 - 0.05 / height, title, size=10, weight="bold", color=INK, va="top")
    (left, right), (bottom, top) = _window(truth, output)
    panels = []
    for column, (name, data) in enumerate([("original", truth), ("reconstruction", output)]):
        x = 0.04 + column * (WIDTH - PANEL_WIDTH - 0.08)
        figure.text(x / WIDTH, 1 - 0.25 / height, name, size=8, color=MUTED, va="top")
        axes = figure.add_axes(
            (x / WIDTH, (strip + 0.06) / height, PANEL_WIDTH / WIDTH, PANEL_HEIGHT / height)
        )
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        plain_panel(axes)
        panels.append((draw_skeletons(axes, data[:, 0], bones, mirror), data))
    steps, marker = 1, Rectangle((0.0, 0.0), 1.0, float(books), fill=False, edgecolor=INK, linewidth=1.5)
    if codes is not None and len(codes):
        steps = -(-len(codes) // books)
        span = WIDTH - 0.08
        axes = figure.add_axes((0.04 / WIDTH, 0.04 / height, span / WIDTH, (strip - 0.08) / height))
        draw_tokens(axes, codes, books, span, strip - 0.08)
        axes.add_patch(marker).set_clip_on(False)

    moving = [marker, *(lines for lines, _ in panels)]
    for artist in moving:
        artist.set_visible(False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    background, images = canvas.copy_from_bbox(figure.bbox), []
    for frame in evenly_spaced(n, n_frames):
        canvas.restore_region(background)
        for lines, data in panels:
            lines.set_segments(list(bone_segments(data[:, frame], bones)))
        marker.set_x(frame * steps // n)
        for artist in moving:
            artist.set_visible(True)
            artist.draw(canvas.get_renderer())
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    gif = _gif(images, milliseconds)
    while len(gif) > LIMIT and len(images) > 1:
        images, milliseconds = images[::2], 2 * milliseconds
        gif = _gif(images, milliseconds)
    return gif


def _window(truth: np.ndarray, output: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """The smallest window of the panels' proportions that holds both sequences, with a margin."""
    boxes = [frame_boxes(data) for data in (truth, output)]
    low = np.min([low.min(axis=0) for low, _ in boxes], axis=0)
    high = np.max([high.max(axis=0) for _, high in boxes], axis=0)
    if not np.isfinite([low, high]).all():
        low, high = np.array([-1.0, -1.0]), np.array([1.0, 1.0])
    width, height = high - low
    half_width = 0.54 * max(width, height * PANEL_WIDTH / PANEL_HEIGHT, 1e-6)
    half_height = half_width * PANEL_HEIGHT / PANEL_WIDTH
    x, y = (low + high) / 2
    return (x - half_width, x + half_width), (y - half_height, y + half_height)


def _gif(images: Sequence[Image.Image], milliseconds: int) -> bytes:
    """Write frames with one palette of their most frequent colours, so that one stores only what moved."""
    sample = Image.fromarray(
        np.concatenate([np.asarray(image) for image in images[:: len(images) // 8 or 1]])
    )
    counts = sample.getcolors(sample.width * sample.height) or []
    # Pillow finds the palette's nearest colour for cubes of 8 x 8 x 8 colours, so a second one would be lost.
    cubes: dict[tuple[int, ...], tuple[int, ...]] = {}
    for _, colour in sorted(counts, reverse=True):
        assert isinstance(colour, tuple)
        cubes.setdefault(tuple(level // 8 for level in colour), colour)
    palette = Image.new("P", (1, 1))
    palette.putpalette([level for colour in list(cubes.values())[:COLOURS] for level in colour])
    frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    buffer = BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, optimize=True
    )
    return buffer.getvalue()
