"""Random variation of a sequence for training: what changes must leave the action what it is."""

import re
from cmath import rect
from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from llmar_pipeline.errors import UserError

_A_SIDE = re.compile(r"(?<![a-z])(left|right|(counter|anti)?clockwise)(?![a-z])")


Angle = Annotated[float, Field(ge=0)] | Literal["auto"]
_LITTLE, _MUCH = {"rotation": 0.35, "tilt": 0.09}, {"rotation": 1.5708, "tilt": 0.7854}


class AugmentationConfig(BaseModel):
    """Strength of each random change; zero (or a share of 1) switches it off.

    "auto" is little where the same cameras film training and test clips, and a quarter or an eighth of a turn
    each way where test clips come from cameras that training has not seen; see `settled`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_crop: float = Field(gt=0, le=1)  # shortest temporal crop, as a share of the clip
    rotation: Angle  # largest angle about the vertical, in 2D in the image plane, radians
    tilt: Angle  # largest angle about x, radians; 3D only
    roll: float | None = Field(default=None, ge=0)  # largest angle about z; None: as tilt
    scale: float = Field(ge=0, lt=1)  # body size is multiplied by 1 +- this
    noise: float = Field(ge=0)  # standard deviation of joint noise, in the data's unit
    mirror: bool  # exchange left and right for half of the clips
    joint_dropout: float = Field(default=0, ge=0, lt=1)  # probability of a joint, not the root, to be missing
    axis_dropout: float = Field(default=0, ge=0, le=1)  # probability that one axis, after the turns, is zero
    speed: float = Field(default=0, ge=0, lt=1)  # largest change of speed within a reading, as a share of it
    sampling: Literal["even", "random"] = "even"  # frames at equal distances, or anywhere, in their order
    swap_persons: bool = False  # any person who is there may come first; of two each in half of the readings

    def settled(self, new_cameras: bool, coordinates: int) -> Self:
        """The same with a number in place of "auto".

        Args:
            new_cameras: Whether test clips come from other cameras than training clips.
            coordinates: 2 or 3; a picture that is turned in its plane is none from another camera.

        Source: ours; both were chosen on folds of training clips (docs/lab_log.md).
        """
        chosen = _MUCH if new_cameras and coordinates == 3 else _LITTLE
        return self.model_copy(update={k: v for k, v in chosen.items() if getattr(self, k) == "auto"})

    def check_names(self, names: Iterable[str]) -> None:
        """Refuse to mirror what a class name tells the side or the sense of rotation of.

        Args:
            names: Classes of the training.

        Raises:
            UserError: `mirror` is on, and a name has such a word.
        """
        sided = [name for name in names if _A_SIDE.search(name.lower())]
        if self.mirror and sided:
            raise UserError(
                "augmentation.mirror exchanges left and right: expected class names that tell no side, saw "
                f"{sided[0]!r} ({len(sided)} such): set augmentation.mirror=false"
            )


@dataclass(frozen=True, eq=False)
class Augmentation:
    """The numbers of one reading of a clip.

    Attributes:
        start: First frame of the temporal crop.
        length: Its number of frames.
        matrix: Rotation, then the changed sign of x where mirrored, then scale: `x' = matrix @ x`,
            `[coordinate, coordinate]` float32. A row of zeros: that axis is dropped.
        mirror: Whether left and right joints change places.
        noise: Standard deviation of joint noise, in the data's unit.
        seed: What noise, missing joints and random frames are made from.
        joint_dropout: Probability of a joint to be missing.
        sway: Size and phase of the wave in speed: at share s of the crop it is 1 + Re(sway e^(2 pi i s)).
        scattered: Whether frames are drawn at random.
        first: Who comes first, as a share of the persons who are there; the others follow in a circle.
    """

    start: int
    length: int
    matrix: np.ndarray
    mirror: bool = False
    noise: float = 0.0
    seed: int = 0
    joint_dropout: float = 0.0
    sway: complex = 0.0
    scattered: bool = False
    first: float = 0.0


def plain(frames: int, coordinates: int) -> Augmentation:
    """The reading of a clip of so many frames as it is."""
    return Augmentation(0, frames, np.eye(coordinates, dtype=np.float32))


def draw(
    config: AugmentationConfig, seen: np.ndarray, coordinates: int, rng: np.random.Generator
) -> Augmentation:
    """The numbers of one random reading.

    Args:
        config: strengths, settled.
        seen: which frames of the clip show somebody, [frame] bool.
        coordinates: 2 or 3.
        rng: drawn from in a fixed order, whatever is switched on: crop length, crop start, turns about x, y
            and z, scale, mirror; then, if anything needs them, the seed, and whether and which axis is
            dropped, size and phase of the sway, who comes first. Equal generators give equal readings.

    Returns:
        The reading. A crop that would show nobody is not made.

    Source: crop and rotation as the field trains (CTR-GCN, Shift-GCN: one limit for all axes); dropped axis
    and joints: SkateFormer, joints there for some of the frames; random frames: the field's loaders of
    NW-UCLA; the others ours.
    """
    share, first, x, y, z, size, flip = rng.random(7).tolist()
    frames = len(seen)
    length = max(1, round((config.min_crop + (1 - config.min_crop) * share) * frames))
    start = int(first * (frames - length + 1))
    if not seen[start : start + length].any():
        start, length = 0, frames
    assert not isinstance(config.rotation, str), "to be settled first"
    assert not isinstance(config.tilt, str), "to be settled first"
    limits = (config.tilt, config.rotation, config.tilt if config.roll is None else config.roll)
    angles = [(2 * turn - 1) * limit for turn, limit in zip((x, y, z), limits, strict=True)]
    matrix = _turn(angles[1]) if coordinates == 2 else _turn_3d(*angles)
    matrix *= 1 + config.scale * (2 * size - 1)
    mirror = config.mirror and flip < 0.5
    if mirror:
        matrix[0] *= -1
    # What came later draws after what was there before, and only where it is on: earlier readings stay.
    scattered = config.sampling == "random"
    further = bool(config.axis_dropout or config.speed or config.swap_persons)
    seed = int(rng.integers(2**62)) if config.noise or config.joint_dropout or scattered or further else 0
    drop, axis, wave, phase, leader = rng.random(5).tolist() if further else (1.0, 0.0, 0.0, 0.0, 0.0)
    if drop < config.axis_dropout:
        matrix[int(axis * coordinates)] = 0
    sway = rect(config.speed * wave, 2 * pi * phase)
    leader *= config.swap_persons
    return Augmentation(
        start, length, matrix, mirror, config.noise, seed, config.joint_dropout, sway, scattered, leader
    )


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
