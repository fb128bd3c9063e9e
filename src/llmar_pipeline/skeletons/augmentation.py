"""Random variation of a sequence for training: what changes must leave the action what it is."""

from dataclasses import dataclass
from math import cos, sin

import numpy as np
from pydantic import BaseModel, ConfigDict, Field


class AugmentationConfig(BaseModel):
    """Strength of each random change; zero (or a share of 1) switches it off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_crop: float = Field(gt=0, le=1)  # shortest temporal crop, as a share of the clip
    rotation: float = Field(ge=0)  # largest angle about the vertical, in 2D in the image plane, radians
    tilt: float = Field(ge=0)  # largest angle about x, radians; 3D only
    roll: float | None = Field(default=None, ge=0)  # largest angle about z; None: as tilt
    scale: float = Field(ge=0, lt=1)  # body size is multiplied by 1 +- this
    noise: float = Field(ge=0)  # standard deviation of joint noise, in the data's unit
    mirror: bool  # exchange left and right for half of the clips


@dataclass(frozen=True, eq=False)
class Augmentation:
    """The numbers of one reading of a clip.

    Attributes:
        start: First frame of the temporal crop.
        length: Its number of frames.
        matrix: Rotation, then the changed sign of x where mirrored, then scale: `x' = matrix @ x`,
            `[coordinate, coordinate]` float32.
        mirror: Whether left and right joints change places.
        noise: Standard deviation of joint noise, in the data's unit.
        seed: What the noise is made from.
    """

    start: int
    length: int
    matrix: np.ndarray
    mirror: bool = False
    noise: float = 0.0
    seed: int = 0


def plain(frames: int, coordinates: int) -> Augmentation:
    """The reading of a clip of so many frames as it is."""
    return Augmentation(0, frames, np.eye(coordinates, dtype=np.float32))


def draw(
    config: AugmentationConfig, seen: np.ndarray, coordinates: int, rng: np.random.Generator
) -> Augmentation:
    """The numbers of one random reading.

    Args:
        config: strengths.
        seen: which frames of the clip show somebody, [frame] bool.
        coordinates: 2 or 3.
        rng: drawn from in a fixed order, whatever is switched on: crop length, crop start, turns about x, y
            and z, scale, mirror; last the seed of the noise, if any. Equal generators give equal readings.

    Returns:
        The reading. A crop that would show nobody is not made.

    Source: crop and rotation as the field trains (CTR-GCN, Shift-GCN: one limit for all axes); scale, noise,
    mirror ours.
    """
    share, first, x, y, z, size, flip = rng.random(7).tolist()
    frames = len(seen)
    length = max(1, round((config.min_crop + (1 - config.min_crop) * share) * frames))
    start = int(first * (frames - length + 1))
    if not seen[start : start + length].any():
        start, length = 0, frames
    limits = (config.tilt, config.rotation, config.tilt if config.roll is None else config.roll)
    angles = [(2 * turn - 1) * limit for turn, limit in zip((x, y, z), limits, strict=True)]
    matrix = _turn(angles[1]) if coordinates == 2 else _turn_3d(*angles)
    matrix *= 1 + config.scale * (2 * size - 1)
    mirror = config.mirror and flip < 0.5
    if mirror:
        matrix[0] *= -1
    seed = int(rng.integers(2**62)) if config.noise else 0
    return Augmentation(start, length, matrix, mirror, config.noise, seed)


def _turn(angle: float) -> np.ndarray:
    """The matrix of `transforms.rotate_2d`."""
    c, s = cos(angle), sin(angle)
    return np.array([[c, -s], [s, c]], np.float32)


def _turn_3d(x: float, y: float, z: float) -> np.ndarray:
    """The matrix of `transforms.rotate`, written out, because one is made for every sample of a training."""
    cx, sx, cy, sy, cz, sz = cos(x), sin(x), cos(y), sin(y), cos(z), sin(z)
    return np.array(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ],
        np.float32,
    )
