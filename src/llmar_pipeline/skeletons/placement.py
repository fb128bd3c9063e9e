"""Where person 1 stands, how turned and how large: what normalisation takes out of a recording."""

import numpy as np

from llmar_pipeline.skeletons.topology import Topology

_DEGENERATE = 1e-4  # units of the data; a shorter axis has no direction worth the name
_HEIGHT = 1.7  # metres: an ordinary body
_TORSO = 0.5  # metres from mid-hip to mid-shoulder: 0.29 of the height (D. Winter's anthropometric table)
_FORESHORTENED = 0.1  # of the body's extent; a torso shorter than that is seen end on


def origin(data: np.ndarray, topology: Topology) -> np.ndarray:
    """Where person 1 begins: the root joint in the first frame that shows it.

    Where none does (a half of the body is hidden or cut off), the mean of the joints in the first frame
    that shows any; zero where person 1 is never seen.

    Args:
        data: `[person, frame, joint, coordinate]`.
        topology: Names the root joint.

    Returns:
        `[coordinate]`, in the unit of the data.

    Source: the field's reference preprocessing of NTU RGB+D (CTR-GCN, `seq_transformation`); without a
    root: ours.
    """
    root = data[0, :, topology.root]
    observed = ~np.isnan(root).any(axis=-1)
    if observed.any():
        return np.array(root[observed.argmax()])
    observed = ~np.isnan(data[0]).any(axis=-1)
    if observed.any():
        first = observed.any(axis=1).argmax()
        centre: np.ndarray = data[0, first, observed[first]].mean(axis=0)
        return centre
    return np.zeros(data.shape[-1], data.dtype)


def facing_angle(data: np.ndarray, topology: Topology) -> float:
    """The turn about the vertical that brings person 1 to face the sensor.

    It makes the left-to-right shoulder axis point along +x, seen from above, in the first frame that shows
    both shoulders. Where shoulders never span a horizontal axis, the hips are used; where hips do not
    either, it is 0.

    Args:
        data: `[person, frame, joint, 3]`.
        topology: Names shoulders and hips.

    Returns:
        Radians, for `rotate_y`.

    Source: ours; the field's `pre_normalization` with its rotation confined to the vertical.
    """
    for left, right in (topology.shoulders, topology.hips):
        across = (data[0, :, right] - data[0, :, left])[:, [0, 2]]
        usable = np.flatnonzero(np.hypot(across[:, 0], across[:, 1]) > _DEGENERATE)  # NaN > x is False
        if usable.size:
            x, z = across[usable[0]]
            return float(np.arctan2(z, x))
    return 0.0


def lean_angle(data: np.ndarray, topology: Topology) -> float:
    """The turn in the image plane that makes person 1 upright.

    It makes the axis from mid-hip to mid-shoulder point along +y in the first frame that shows both hips
    and both shoulders; it is 0 where no frame does.

    Args:
        data: `[person, frame, joint, 2]`.
        topology: Names shoulders and hips.

    Returns:
        Radians, for `rotate_2d`.

    Source: the official code of UAV-Human, with the whole torso in place of its left side.
    """
    torso = _torso(data, topology)
    usable = np.flatnonzero(np.hypot(torso[:, 0], torso[:, 1]) > _DEGENERATE)
    if not usable.size:
        return 0.0
    x, y = torso[usable[0]]
    return float(np.arctan2(x, y))


def body_size(data: np.ndarray, topology: Topology) -> float:
    """How many units of the data make a metre on person 1, were he or she of ordinary build.

    Judged by the torso (mid-hip to mid-shoulder: 0.5 m), which hardly changes with the pose, and by its
    median over frames, which a few bad frames do not move. Where no frame shows the torso, or it is
    foreshortened to nothing, judged by the longer side of the box around the body (1.7 m).

    Args:
        data: `[person, frame, joint, coordinate]`, in any unit.
        topology: Names shoulders and hips.

    Returns:
        A positive factor: about 1 for metres, 200 for a torso of 100 pixels; 1 where person 1 is never
        seen in more than a point.

    Source: ours.
    """
    body = data[0][~np.isnan(data[0]).any(axis=-1).all(axis=-1)]
    if not len(body):
        return 1.0
    extent = np.median((np.nanmax(body, axis=1) - np.nanmin(body, axis=1)).max(axis=-1))
    lengths = np.linalg.norm(_torso(data, topology), axis=-1)
    lengths = lengths[~np.isnan(lengths)]
    torso = np.median(lengths) if lengths.size else 0.0
    if torso > max(_FORESHORTENED * extent, _DEGENERATE):
        return float(torso / _TORSO)
    return float(extent / _HEIGHT) if extent > _DEGENERATE else 1.0


def _torso(data: np.ndarray, topology: Topology) -> np.ndarray:
    """From mid-hip to mid-shoulder, `[frame, coordinate]`; NaN where one of the four joints is missing."""
    (left_hip, right_hip), (left, right) = topology.hips, topology.shoulders
    joints = data[0]
    torso: np.ndarray = (joints[:, left] + joints[:, right] - joints[:, left_hip] - joints[:, right_hip]) / 2
    return torso
