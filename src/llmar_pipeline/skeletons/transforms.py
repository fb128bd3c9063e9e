"""Pure functions on `[person, frame, joint, coordinate]` arrays; missing (NaN) stays missing.

No function changes its argument. y points up, in two dimensions (x, y) as in three; angles are radians.
What a step of normalisation removes is computed by `placement`, so that the step can be undone:

    step             what it removes    how               undone by
    center           o = origin         translate by -o   translate by o
    align_view, 3D   a = facing_angle   rotate_y by a     rotate_y by -a
    align_view, 2D   a = lean_angle     rotate_2d by a    rotate_2d by -a
    scale_to_body    s = body_size      scale by 1 / s    scale by s
"""

import numpy as np

from llmar_pipeline.skeletons.placement import body_size, facing_angle, lean_angle, origin
from llmar_pipeline.skeletons.topology import Topology


def center(data: np.ndarray, topology: Topology) -> np.ndarray:
    """Moves everything so that person 1 begins at the origin.

    The path a person walks, and the distance between two persons, stay visible.

    Args:
        data: `[person, frame, joint, coordinate]`.
        topology: Names the root joint.

    Returns:
        An array of the same shape and unit.

    Source: the field's reference preprocessing of NTU RGB+D (CTR-GCN, `seq_transformation`).
    """
    return translate(data, -origin(data, topology))


def align_view(data: np.ndarray, topology: Topology) -> np.ndarray:
    """Turns everything so that person 1 is seen from the same side in every recording.

    In three dimensions person 1 is turned about the vertical until he or she faces the sensor: only y is
    turned about, so that a lean stays visible. In two dimensions nobody can be turned to face the camera;
    the picture is turned until person 1 is upright, which takes out a tilted camera, and with it a lean
    in the first frame. The axis of rotation goes through the origin: centre first.

    Args:
        data: `[person, frame, joint, coordinate]`.
        topology: Names shoulders and hips.

    Returns:
        An array of the same shape and unit.

    Source: ours; 3D: the field's `pre_normalization` with its rotation confined to the vertical; 2D: the
    official code of UAV-Human, with the whole torso in place of its left side.
    """
    if data.shape[-1] == 2:
        return rotate_2d(data, lean_angle(data, topology))
    return rotate_y(data, facing_angle(data, topology))


def scale_to_body(data: np.ndarray, topology: Topology) -> np.ndarray:
    """Divides by person 1's body size: whatever the unit was, coordinates come out near metres.

    One factor a recording, so that coming nearer, and the sizes of two persons, stay visible.

    Args:
        data: `[person, frame, joint, coordinate]`, in any unit.
        topology: Names shoulders and hips.

    Returns:
        An array of the same shape; an ordinary body is 1.7 high.

    Source: ours.
    """
    return scale(data, 1 / body_size(data, topology))


def fill_gaps(data: np.ndarray) -> np.ndarray:
    """Fills missing joints within each person's first to last valid frame.

    Linear between the nearest two observations of the same joint; before a joint's first and after its
    last observation the nearest one is held. Frames outside the person's interval, and joints never
    observed, stay NaN. A joint that lacks one coordinate counts as missing.

    Args:
        data: `[person, frame, joint, coordinate]`.

    Returns:
        An array of the same shape and unit.

    Source: ours.
    """
    missing = np.isnan(data).any(axis=-1)
    filled = np.where(missing[..., None], np.float32(np.nan), data)
    valid = ~missing.all(axis=2)
    present = np.logical_or.accumulate(valid, 1) & np.logical_or.accumulate(valid[:, ::-1], 1)[:, ::-1]
    gaps = missing & present[..., None] & ~missing.all(axis=1, keepdims=True)
    if not gaps.any():
        return filled
    n_frames = data.shape[1]
    frames = np.arange(n_frames)[:, None]
    before = np.maximum.accumulate(np.where(missing, -1, frames), axis=1)
    after = np.minimum.accumulate(np.where(missing, n_frames, frames)[:, ::-1], axis=1)[:, ::-1]
    person, frame, joint = np.nonzero(gaps)
    start, end = before[gaps], after[gaps]
    start, end = np.where(start < 0, end, start), np.where(end == n_frames, start, end)
    weight = (frame - start) / np.maximum(end - start, 1)
    filled[gaps] = _blend(data[person, start, joint], data[person, end, joint], weight[:, None])
    return filled


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


def trim(data: np.ndarray) -> np.ndarray:
    """Cuts off the frames before anybody is seen and after everybody is gone.

    A recording that shows nobody is returned as it is.

    Args:
        data: `[person, frame, joint, coordinate]`.

    Source: ours.
    """
    seen = np.flatnonzero(~np.isnan(data).all(axis=(0, 2, 3)))
    return data[:, seen[0] : seen[-1] + 1].copy() if seen.size else data.copy()


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
    _require(data, 3)
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    rotated: np.ndarray = data @ (about_z @ about_y @ about_x).T.astype(data.dtype)
    return rotated


def rotate_y(data: np.ndarray, angle: float) -> np.ndarray:
    """Rotates about the vertical: `x' = x cos a + z sin a`, `z' = z cos a - x sin a`. Undone by `-angle`."""
    return rotate(data, (0.0, angle, 0.0))


def rotate_2d(data: np.ndarray, angle: float) -> np.ndarray:
    """Rotates in the image plane, from x to y: `x' = x cos a - y sin a`, `y' = x sin a + y cos a`.

    Undone by `-angle`.

    Raises:
        ValueError: If the data are not two-dimensional.
    """
    _require(data, 2)
    c, s = np.cos(angle), np.sin(angle)
    rotated: np.ndarray = data @ np.array([[c, s], [-s, c]], data.dtype)
    return rotated


def translate(data: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Adds one vector `[coordinate]` to every joint. Undone by `-offset`."""
    moved: np.ndarray = data + offset
    return moved.astype(data.dtype)


def scale(data: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies every coordinate by one factor. Undone by `1 / factor`."""
    return (data * factor).astype(data.dtype)


def _blend(start: np.ndarray, end: np.ndarray, weight: np.ndarray) -> np.ndarray:
    between: np.ndarray = start * (1 - weight) + end * weight
    return between


def _require(data: np.ndarray, coordinates: int) -> None:
    if data.shape[-1] != coordinates:
        raise ValueError(f"expected {coordinates} coordinates a joint, saw {data.shape[-1]}")
