"""The input streams of `vqvae/streams.py` written once more in numpy, to compare with.

Arrays are `[person, frame, joint, coordinate]`, NaN where missing. Missing stays missing, and what is
observed comes back exactly (but for rounding).
"""

import numpy as np

from llmar_pipeline.skeletons.topology import Topology
from llmar_pipeline.vqvae.config import Stream

_STEP_SCALE = np.float32(10.0)  # a person walks some centimetres a frame; limbs reach decimetres


def to_stream(data: np.ndarray, topology: Topology, stream: Stream) -> np.ndarray:
    """Writes joint positions as a stream.

    Args:
        data: Positions, `[person, frame, joint, coordinate]`, NaN where missing.
        topology: Names root and parents.
        stream: See `vqvae.streams.to_stream`.

    Returns:
        An array of the same shape.
    """
    if stream == "local":
        out = data - _held(data[:, :, [topology.root]])
        out[:, :, topology.root] = data[:, :, topology.root]
        return out
    if stream == "bones":
        out = data.copy()
        for child, parent in topology.bones:
            out[:, :, child] = data[:, :, child] - _held(data[:, :, parent])
        return out
    if stream == "local_motion":
        return _steps(to_stream(data, topology, "local"))
    return _steps(data) if stream == "motion" else data.copy()


def from_stream(values: np.ndarray, topology: Topology, stream: Stream) -> np.ndarray:
    """Inverse of `to_stream`.

    Args:
        values: The stream, `[person, frame, joint, coordinate]`, NaN where missing.
        topology: Names root and parents.
        stream: What `values` are.

    Returns:
        Joint positions, same shape, NaN where `values` are.
    """
    if stream == "local":
        out = values + _held(values[:, :, [topology.root]])
        out[:, :, topology.root] = values[:, :, topology.root]
        return out
    if stream == "bones":
        out = values.copy()
        for child, parent in _top_down(topology):
            out[:, :, child] = values[:, :, child] + _held(out[:, :, parent])
        return out
    if stream == "local_motion":
        return from_stream(_path(values), topology, "local")
    return _path(values) if stream == "motion" else values.copy()


def _held(positions: np.ndarray) -> np.ndarray:
    """Where missing, the last observation before; zero before the first. Frames are axis 1."""
    missing = np.isnan(positions).any(axis=-1, keepdims=True)
    if not missing.any():
        return positions
    frames = np.arange(positions.shape[1]).reshape(1, -1, *[1] * (positions.ndim - 2))
    last = np.maximum.accumulate(np.where(missing, -1, frames), axis=1)
    held = np.take_along_axis(positions, last.clip(min=0), axis=1)
    return np.where(last < 0, np.zeros_like(held), held)


def _steps(positions: np.ndarray) -> np.ndarray:
    before = np.zeros_like(positions)
    before[:, 1:] = _held(positions)[:, :-1]
    return (positions - before) * _STEP_SCALE


def _path(steps: np.ndarray) -> np.ndarray:
    path = np.cumsum(np.nan_to_num(steps), axis=1, dtype=np.float64).astype(steps.dtype) / _STEP_SCALE
    return np.where(np.isnan(steps), np.nan, path).astype(steps.dtype)


def _top_down(topology: Topology) -> list[tuple[int, int]]:
    """(child, parent) of every bone, parents before their children."""
    placed = {joint for joint, parent in enumerate(topology.parents) if parent < 0}
    ordered: list[tuple[int, int]] = []
    while len(ordered) < len(topology.bones):
        ready = [bone for bone in topology.bones if bone[1] in placed and bone[0] not in placed]
        ordered += ready
        placed |= {child for child, _ in ready}
    return ordered
