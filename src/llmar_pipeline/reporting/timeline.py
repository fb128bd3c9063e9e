"""The timeline of one recording: its segments beside the moving skeleton, as one HTML page."""

from base64 import b64encode
from collections.abc import Sequence as SequenceOf
from itertools import cycle

import numpy as np

from llmar_pipeline.recognition.segments import Segment
from llmar_pipeline.reporting.figures import PALETTE
from llmar_pipeline.reporting.stick_figures import side_colour
from llmar_pipeline.reporting.templates import templates
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.topology import Topology
from llmar_pipeline.skeletons.transforms import fill_gaps

_MOST_NUMBERS = 2**20  # coordinates in a page: 2.8 MB
_UNITS = 4000  # to the height, or width, of the picture
_MISSING = -32768


def render_timeline(
    recording: Sequence, topology: Topology, segments: SequenceOf[Segment], fps: float
) -> str:
    """Draw segments and skeleton; scripts are inside the page, which loads nothing.

    Args:
        recording: y up, any unit.
        topology: Its joints.
        segments: In the order of time.
        fps: Frames a second.

    Returns:
        HTML. Of a long recording every second or third frame is drawn, and so on, so that the page stays
        below 4 MB.

    Source: ours.
    """
    shown = fill_gaps(recording.data)[..., :2]
    every = -(-shown.size // _MOST_NUMBERS)
    points, width, height = _picture(shown[:, ::every])
    names = dict.fromkeys(segment.name for segment in segments)
    colours = dict(zip(names, cycle(PALETTE), strict=False))
    return (
        templates()
        .get_template("timeline.html")
        .render(
            name=recording.name,
            seconds=recording.n_frames / fps,
            fps=fps,
            segments=segments,
            colours=colours,
            drawing={
                "points": b64encode(points.tobytes()).decode(),
                "persons": points.shape[1],
                "joints": points.shape[2],
                "rate": fps / every,
                "width": width,
                "height": height,
                "bones": [[*bone, side_colour(bone[0], topology.mirror)] for bone in topology.bones],
                "segments": [[s.begin_s, s.end_s, s.name, colours[s.name]] for s in segments],
                "missing": _MISSING,
            },
        )
    )


def _picture(shown: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Points as whole numbers in a picture whose y grows downward, [frame, person, joint, 2], and its size.

    The middle of the people stays in the middle of the picture from left to right: who walks, walks on the
    spot, and is seen large on a phone.
    """
    there = ~np.isnan(shown[..., :1])
    middle = np.nansum(shown, axis=(0, 2), keepdims=True) / np.maximum(there.sum((0, 2), keepdims=True), 1)
    centred = shown - middle * [1, 0]
    visible = centred[there[..., 0]] if there.any() else np.array([[-1.0, -1.0], [1.0, 1.0]])
    low, high = np.percentile(visible, [0.1, 99.9], axis=0)
    scale = _UNITS / max(*(high - low), 1e-6)
    margin = 0.05 * _UNITS
    placed = np.stack([centred[..., 0] - low[0], high[1] - centred[..., 1]], axis=-1) * scale + margin
    points = np.where(np.isnan(placed), _MISSING, placed.clip(-_UNITS, 3 * _UNITS)).round().astype("<i2")
    width, height = (int(side) for side in (high - low) * scale + 2 * margin)
    return np.ascontiguousarray(points.transpose(1, 0, 2, 3)), width, height
