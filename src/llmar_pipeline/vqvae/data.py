"""Sequences as the VQ-VAE's input."""

import numpy as np

from llmar_pipeline.skeletons import transforms
from llmar_pipeline.skeletons.streams import Stream, from_stream, to_stream
from llmar_pipeline.skeletons.topology import Topology


def motion_window(
    data: np.ndarray, topology: Topology, frames: int, stream: Stream
) -> tuple[np.ndarray, np.ndarray]:
    """Resample a whole sequence to a fixed number of frames, write it as a stream, flatten each frame.

    Args:
        data: [person, frame, joint, coordinate], NaN where missing.
        topology: the body it is of.
        frames: V.
        stream: what the channels are.

    Returns:
        (motion [V, persons * joints * coordinates] float32, zero where missing; mask of the same shape,
        True where observed).

    Source: input channels as in the lineage; resampling ours.
    """
    values = to_stream(transforms.resample(data, frames), topology, stream)
    window = values.transpose(1, 0, 2, 3).reshape(frames, -1)
    mask = ~np.isnan(window)
    return np.where(mask, window, 0.0).astype(np.float32), mask


def positions(motion: np.ndarray, mask: np.ndarray, topology: Topology, stream: Stream) -> np.ndarray:
    """Inverse of `motion_window`, but for the resampling.

    Args:
        motion: [V, channels].
        mask: True where the original was observed, [V, channels].
        topology: the body it is of.
        stream: what the channels are.

    Returns:
        Joint positions, [person, V, joint, coordinate], NaN where not observed.
    """
    shape = (len(motion), -1, len(topology.joints), topology.coordinates)
    values = np.where(mask, motion, np.nan).reshape(shape).transpose(1, 0, 2, 3)
    return from_stream(values, topology, stream)
