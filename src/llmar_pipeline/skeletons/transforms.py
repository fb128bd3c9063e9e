"""Pure functions on `[person, frame, joint, coordinate]` arrays; missing (NaN) stays missing.

No function changes its argument. Vertical is y, as the Kinect has it; angles are radians.
"""

import numpy as np

from llmar_pipeline.skeletons.topology import Topology

_DEGENERATE = 1e-4  # metres; a shorter left-right axis has no direction worth the name


def center(data: np.ndarray, topology: Topology) -> np.ndarray:
    """Subtracts the root joint of person 1's first valid frame from everything.

    The path a person walks, and the distance between two persons, stay visible. Where person 1's
    root is never observed, the data are returned as they are.

    Args:
        data: `[person, frame, joint, coordinate]`.
        topology: Names the root joint.

    Returns:
        An array of the same shape and unit.

    Source: the field's reference preprocessing of NTU RGB+D (CTR-GCN, `seq_transformation`).
    """
    root = data[0, :, topology.root]
    observed = np.flatnonzero(~np.isnan(root).any(axis=-1))
    return data - root[observed[0]] if observed.size else data.copy()


def align_view(data: np.ndarray, topology: Topology) -> np.ndarray:
    """Turns everything about the vertical so that person 1 faces the same way in every recording.

    The angle makes the left-to-right shoulder axis point along +x, seen from above, in the first frame
    that shows both shoulders. Only y is turned about, so that a lean stays visible. Where shoulders
    never span a horizontal axis, the hips are used; where hips do not either, nothing is turned.
    The axis of rotation goes through the origin: centre first.

    Args:
        data: `[person, frame, joint, 3]`, metres.
        topology: Names shoulders and hips.

    Returns:
        An array of the same shape and unit.

    Raises:
        ValueError: If the data are not three-dimensional.

    Source: ours; the field's `pre_normalization` with its rotation confined to the vertical.
    """
    _require_3d(data)
    for left, right in (topology.shoulders, topology.hips):
        across = (data[0, :, right] - data[0, :, left])[:, [0, 2]]
        usable = np.flatnonzero(np.hypot(across[:, 0], across[:, 1]) > _DEGENERATE)  # NaN > x is False
        if usable.size:
            x, z = across[usable[0]]
            return rotate_y(data, float(np.arctan2(z, x)))
    return data.copy()


def fill_gaps(data: np.ndarray) -> np.ndarray:
    """Fills missing joints within each person's first to last valid frame.

    Linear between the nearest two observations of the same joint; before a joint's first and after its
    last observation the nearest one is held. Frames outside the person's interval, and joints never
    observed, stay NaN.

    Args:
        data: `[person, frame, joint, coordinate]`.

    Returns:
        An array of the same shape and unit.

    Source: ours.
    """
    missing = np.isnan(data).any(axis=-1)
    if not missing.any():
        return data.copy()
    n_frames = data.shape[1]
    frames = np.arange(n_frames)[:, None]
    before = np.maximum.accumulate(np.where(missing, -1, frames), axis=1)
    after = np.minimum.accumulate(np.where(missing, n_frames, frames)[:, ::-1], axis=1)[:, ::-1]
    before = np.where(before < 0, after, before)
    after = np.where(after == n_frames, before, after)
    weight = (frames - before) / np.maximum(after - before, 1)
    filled = _blend(
        np.take_along_axis(data, before.clip(max=n_frames - 1)[..., None], axis=1),
        np.take_along_axis(data, after.clip(max=n_frames - 1)[..., None], axis=1),
        weight[..., None],
    )
    valid = ~missing.all(axis=2)
    present = np.logical_or.accumulate(valid, 1) & np.logical_or.accumulate(valid[:, ::-1], 1)[:, ::-1]
    observed = present[..., None] & ~missing.all(axis=1, keepdims=True)
    return np.where(observed[..., None], filled, np.nan).astype(data.dtype)


def resample(data: np.ndarray, frames: int) -> np.ndarray:
    """Resamples in time to a fixed number of frames, first and last frame kept, linear in between.

    A sample between an observed and a missing frame takes the observed one; it is NaN only where both
    are missing. A recording of one frame is repeated.

    Args:
        data: `[person, frame, joint, coordinate]`.
        frames: Number of frames wanted, at least 1.

    Returns:
        `[person, frames, joint, coordinate]`.

    Source: lineage (recordings are brought to one length).
    """
    position = np.linspace(0, data.shape[1] - 1, frames)
    before = np.floor(position).astype(int)
    after = np.ceil(position).astype(int)
    weight = (position - before)[:, None, None]
    start, end = data[:, before], data[:, after]
    start, end = np.where(np.isnan(start), end, start), np.where(np.isnan(end), start, end)
    return _blend(start, end, weight).astype(data.dtype)


def temporal_crop(data: np.ndarray, start: int, length: int) -> np.ndarray:
    """Cuts out `length` frames from frame `start` on.

    Raises:
        ValueError: If the cut does not lie within the recording or is empty.
    """
    if start < 0 or length < 1 or start + length > data.shape[1]:
        raise ValueError(f"expected a cut within {data.shape[1]} frames, saw start {start}, length {length}")
    return data[:, start : start + length].copy()


def rotate(data: np.ndarray, angles: tuple[float, float, float] | np.ndarray) -> np.ndarray:
    """Rotates about x, then y, then z through the origin, right-handed.

    Args:
        data: `[person, frame, joint, 3]`.
        angles: About x, y and z, radians.

    Raises:
        ValueError: If the data are not three-dimensional.

    Source: the field's training augmentation (random rotation).
    """
    _require_3d(data)
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return data @ (about_z @ about_y @ about_x).T.astype(data.dtype)


def rotate_y(data: np.ndarray, angle: float) -> np.ndarray:
    """Rotates about the vertical: `x' = x cos a + z sin a`, `z' = z cos a - x sin a`."""
    return rotate(data, (0.0, angle, 0.0))


def mirror(data: np.ndarray, topology: Topology) -> np.ndarray:
    """Mirrors left and right: partners change places and x changes its sign. Its own inverse."""
    mirrored = data[:, :, list(topology.mirror)]
    mirrored[..., 0] *= -1
    return mirrored


def scale(data: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies every coordinate by one factor."""
    return (data * factor).astype(data.dtype)


def _blend(start: np.ndarray, end: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return start * (1 - weight) + end * weight


def _require_3d(data: np.ndarray) -> None:
    if data.shape[-1] != 3:
        raise ValueError(f"expected coordinates x, y, z, saw {data.shape[-1]} coordinates")
