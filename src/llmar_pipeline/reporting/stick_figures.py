"""What film strips and animations are drawn with: skeletons seen from the front, and action tokens."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch

from llmar_pipeline.reporting.figures import BLUE, INK, VERMILLION, token_color

Bones = Sequence[tuple[int, int]]
PANEL = "#f6f8fa"  # background of skeletons


def seen_from_front(original: np.ndarray, reconstruction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both sequences as they are drawn: two coordinates, nothing that the original lacks.

    Args:
        original: [person, frame, joint, coordinate], y up (as every reader makes it), NaN where missing.
        reconstruction: The same shape.

    Returns:
        Two arrays [person, frame, joint, 2].

    Raises:
        ValueError: The shapes differ.

    Source: ours.
    """
    if original.shape != reconstruction.shape:
        raise ValueError(f"expected equal shapes, saw {original.shape} and {reconstruction.shape}")
    return original[..., :2], np.where(np.isnan(original), np.nan, reconstruction)[..., :2]


def evenly_spaced(frames: int, n: int) -> np.ndarray:
    """Return the middles of n equal parts of a sequence as frame indices; all frames if there are fewer."""
    n = min(n, frames)
    return ((np.arange(n) + 0.5) * frames / n).astype(int)


def frame_boxes(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest coordinates of every frame.

    Args:
        data: [person, frame, joint, 2].

    Returns:
        (lowest, highest), both [frame, 2]; infinite where a frame shows nothing.

    Source: ours.
    """
    shown = data.swapaxes(0, 1).reshape(data.shape[1], -1, 2)
    return np.nanmin(shown, axis=1, initial=np.inf), np.nanmax(shown, axis=1, initial=-np.inf)


def bone_segments(people: np.ndarray, bones: Bones) -> np.ndarray:
    """Return the ends of every person's bones, [person * bone, 2, 2], of joints [person, joint, 2]."""
    return people[:, np.array(bones, dtype=int).reshape(-1, 2)].reshape(-1, 2, 2)


def side_colour(joint: int, mirror: Sequence[int] | None) -> str:
    """The colour of a side of the body: that of the joint at the end of a bone. Source: ours."""
    return (INK, BLUE, VERMILLION)[side_of(joint, mirror)]


def side_of(joint: int, mirror: Sequence[int] | None) -> int:
    """The side of the body that a joint is on: 0 between both, 1 and 2. Source: ours."""
    partner = joint if mirror is None else mirror[joint]
    return 0 if partner == joint else 1 if joint < partner else 2


def draw_skeletons(
    axes: Axes, people: np.ndarray, bones: Bones, mirror: Sequence[int] | None, linewidth: float = 2.0
) -> LineCollection:
    """Draw the people of one frame; a bone that lacks an end is left out.

    The two sides of the body differ in colour, and all persons but the first are paler.

    Args:
        axes: Where to draw.
        people: [person, joint, 2].
        bones: (child, parent) joint indices.
        mirror: Index of every joint's left-right partner, itself on the body's axis. None: one colour.
        linewidth: In points.

    Returns:
        The lines, one a person and bone, as `bone_segments` orders them.

    Source: ours.
    """
    colors = []
    for person in range(len(people)):
        for child, _ in bones:
            colors.append(to_rgba(side_colour(child, mirror), 1.0 if person == 0 else 0.4))
    lines = LineCollection(
        list(bone_segments(people, bones)), colors=colors, linewidths=linewidth, capstyle="round"
    )
    axes.add_collection(lines, autolim=False)
    return lines


def plain_panel(axes: Axes) -> None:
    """Take ticks and frame from axes that show skeletons. Source: ours."""
    axes.set_facecolor(PANEL)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def draw_tokens(axes: Axes, codes: Sequence[int], books: int, width: float, height: float) -> None:
    """Draw an action sentence as coloured boxes: a column a time step, a row a codebook.

    The axes take the time steps as x, 0 to W, and the codebooks as y, `books` to 0.

    Args:
        axes: Where to draw.
        codes: The action sentence, time step by time step, [W * books].
        books: Number of codebooks, which is the number of codes a time step.
        width: Of the axes, in inches.
        height: The same.

    Source: ours.
    """
    steps = max(-(-len(codes) // books), 1)
    axes.set_xlim(0, steps)
    axes.set_ylim(books, 0)
    axes.set_axis_off()
    box, row = 72 * width / steps, 72 * height / books  # points
    turned = box < 22 and row > 22
    room, across = (row, box) if turned else (box, row)
    digits = max((len(str(code)) for code in codes), default=1)
    size = min(9.0, 1.4 * room / digits, 0.85 * across)  # a digit is about 0.6 of the font's size wide
    for i, code in enumerate(codes):
        step, book = divmod(i, books)
        axes.add_patch(
            FancyBboxPatch(
                (step + 0.05, book + 0.1),
                0.9,
                0.8,
                boxstyle="round,pad=0,rounding_size=0.12",
                mutation_aspect=box / row,
                facecolor=token_color(int(code)),
                edgecolor="none",
            )
        )
        axes.text(
            step + 0.5,
            book + 0.5,
            str(code),
            size=size,
            color=INK,
            ha="center",
            va="center_baseline",
            rotation=90 if turned else 0,
        )
