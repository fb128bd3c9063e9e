"""How often an action is done within a segment: excursions from the pose in which the body rests."""

import numpy as np

from llmar_pipeline.skeletons.placement import body_size
from llmar_pipeline.skeletons.topology import Topology
from llmar_pipeline.skeletons.transforms import fill_gaps

_SMOOTH_S = 0.23  # seconds; what is faster is the sensor's noise
_STILL = 0.1  # of the frames, those of least motion, show where the body rests
_AWAY, _BACK = 0.7, 0.5  # of the farthest distance: there, and again at rest
_MOVES = 0.03  # metres on an ordinary body; less is no motion


def repetitions(person: np.ndarray, topology: Topology, fps: float) -> int:
    """Count how often an action is done.

    One repetition leads away from the pose in which the body rests, and back to it, or on to another pose of
    rest, as sitting down does. What swings about a pose that is held meanwhile, such as claps of raised
    hands, is part of one repetition.

    Args:
        person: `[frame, joint, coordinate]` of one segment, y up, NaN where missing.
        topology: Of the joints.
        fps: Frames a second.

    Returns:
        1 at least.

    Source: ours, after self-similarity of poses (Cutler and Davis 2000); two thresholds as of `segments`.
    """
    poses = _poses(person, topology)
    width = max(1, round(_SMOOTH_S * fps))
    if len(poses) < 3 * width:
        return 1
    smooth = np.stack([_moving_mean(track, width) for track in poses.T], axis=1)
    speed = _moving_mean(np.linalg.norm(np.gradient(smooth, axis=0), axis=1), width)
    still = smooth[np.argsort(speed, kind="stable")[: max(1, round(_STILL * len(smooth)))]]
    between = np.linalg.norm(still[:, None] - still[None], axis=-1)
    distance = np.linalg.norm(smooth - still[between.sum(axis=1).argmin()], axis=1)
    farthest = np.percentile(distance, 95)
    if farthest < _MOVES:
        return 1
    return max(_crossings(distance / farthest), 1)


def _crossings(distance: np.ndarray) -> int:
    """How often it goes away, or comes back, whichever is more."""
    away, back = (distance > _AWAY).tolist(), (distance < _BACK).tolist()
    gone, count = None, {True: 0, False: 0}
    for far, near in zip(away, back, strict=True):
        if far or near:
            if gone is not None and gone is not far:
                count[far] += 1
            gone = far
    return max(count.values())


def _moving_mean(track: np.ndarray, width: int) -> np.ndarray:
    padded = np.pad(track, (width // 2, width - 1 - width // 2), mode="edge")
    mean: np.ndarray = np.convolve(padded, np.full(width, 1 / width), mode="valid")
    return mean


def _poses(person: np.ndarray, topology: Topology) -> np.ndarray:
    """Poses as numbers that depend neither on where a person stands nor, in 3D, where he or she faces.

    Returns:
        `[frame, numbers]`, metres on an ordinary body; the Euclidean distance of two is the root of the mean
        square over the joints.
    """
    data = fill_gaps(person[None])
    data = data[:, ~np.isnan(data[0]).all(axis=(1, 2))]
    whole = ~np.isnan(data[0]).any(axis=(0, 2))
    root = [topology.root] if whole[topology.root] else whole
    data = data[0] / body_size(data, topology)
    joints = data[:, whole]
    if whole.any():
        joints = joints - data[:, root].mean(axis=1, keepdims=True)
    if topology.coordinates == 3:
        joints = np.stack([np.hypot(joints[..., 0], joints[..., 2]), joints[..., 1]], axis=-1)
    poses: np.ndarray = joints.reshape(len(joints), 2 * whole.sum()) / np.sqrt(max(whole.sum(), 1))
    return poses
