"""What recordings do not show: a body at the very origin, or a joint far from all others."""

from typing import Literal

import numpy as np

from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import Topology

_REACH = {"metres": 100.0, "pixels": 8192.0}
"""No sensor sees further, no picture is larger: what lies within this of the clip's middle is never wild."""
_TIMES = 30  # the middle distance of the clip's own joints; real recordings have up to 36 within the reach


def empty_frames_missing(data: np.ndarray) -> np.ndarray:
    """A copy in which persons with all joints at the origin are missing: sensors write so where nobody is.

    Args:
        data: `[person, frame, joint, coordinate]`.

    Raises:
        SkeletonFileError: If nobody is left.

    Source: ours.
    """
    nobody = (data == 0).all(axis=(2, 3), keepdims=True)
    if nobody.all():
        raise SkeletonFileError("a body in at least one frame", f"{data.shape[1]} frames of zeros")
    found: np.ndarray = np.where(nobody, np.float32(np.nan), data)
    return found


def check_reach(sequence: Sequence, topology: Topology, units: Literal["metres", "pixels"]) -> None:
    """Refuses a recording with a joint far from all others.

    Args:
        sequence: With one joint at least.
        topology: The joints by name.
        units: Of the corpus.

    Raises:
        SkeletonFileError: If a coordinate is further from the clip's median than the reach of its corpus and
            than 30 times the median distance; it names the joint and its frame.

    Source: ours; medians, so that a wild number, which would decide what is learnt, does not hide itself.
    """
    if np.nanmax(np.abs(sequence.data)) <= _REACH[units] / 2:
        return
    points = sequence.data.astype(np.float64)
    distances = np.abs(points - np.nanmedian(points, axis=(0, 1, 2)))
    limit = max(_REACH[units], _TIMES * float(np.nanmedian(distances)))
    if np.nanmax(distances) > limit:
        person, frame, joint, coordinate = np.unravel_index(np.nanargmax(distances), distances.shape)
        raise SkeletonFileError(
            f"coordinates within {limit:.3g} {units} of the clip's median",
            f"{points[person, frame, joint, coordinate]:.6g} in person {person}, frame {frame} (counted from "
            f"0), joint {topology.joints[joint]}",
        )
