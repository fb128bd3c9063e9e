"""Sequences as the VQ-VAE's input."""

import numpy as np

from llmar_pipeline.skeletons import transforms


def motion_window(data: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Resample a whole sequence to a fixed number of frames and flatten each frame.

    Args:
        data: [person, frame, joint, coordinate], NaN where missing.
        frames: V.

    Returns:
        (motion [V, persons * joints * coordinates] float32, zero where missing; mask of the same shape,
        True where observed).

    Source: input channels as in the lineage; resampling ours.
    """
    window = transforms.resample(data, frames).transpose(1, 0, 2, 3).reshape(frames, -1)
    mask = ~np.isnan(window)
    return np.where(mask, window, 0.0).astype(np.float32), mask


def as_sequence(motion: np.ndarray, persons: int, joints: int) -> np.ndarray:
    """Inverse of the flattening: [V, channels] -> [person, frame, joint, coordinate]."""
    return motion.reshape(len(motion), persons, joints, -1).transpose(1, 0, 2, 3)
