"""Random variation of a sequence for training: what changes must leave the action what it is."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from llmar_pipeline.skeletons import transforms
from llmar_pipeline.skeletons.topology import Topology


class AugmentationConfig(BaseModel):
    """Strength of each random change; zero (or a share of 1) switches it off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_crop: float = Field(gt=0, le=1)  # shortest temporal crop, as a share of the clip
    rotation: float = Field(ge=0)  # largest angle about the vertical, in 2D in the image plane, radians
    tilt: float = Field(ge=0)  # largest angle about x and about z, radians; 3D only
    scale: float = Field(ge=0, lt=1)  # body size is multiplied by 1 +- this
    noise: float = Field(ge=0)  # standard deviation of joint noise, in the data's unit
    mirror: bool  # exchange left and right for half of the clips


def augment(
    data: np.ndarray, topology: Topology, config: AugmentationConfig, rng: np.random.Generator
) -> np.ndarray:
    """One random reading of a sequence.

    Args:
        data: [person, frame, joint, coordinate], centred, y up, NaN where missing.
        topology: the body it is of.
        config: strengths.
        rng: drawn from in a fixed order, whatever is switched on: crop length, crop start, turns about x, y
            and z, scale, mirror; last the noise, if any. Equal generators give equal readings.

    Returns:
        The changed copy, possibly with fewer frames. A crop that would show nobody is not made.

    Source: crop and rotation as the field trains (CTR-GCN, Shift-GCN: one limit for all axes); scale, noise,
    mirror ours.
    """
    share = rng.uniform(config.min_crop, 1.0)
    start = rng.uniform()
    x, y, z = rng.uniform(-1.0, 1.0, size=3) * (config.tilt, config.rotation, config.tilt)
    scale = 1.0 + rng.uniform(-config.scale, config.scale)
    flip = rng.uniform() < 0.5

    frames = data.shape[1]
    length = max(1, round(share * frames))
    out = transforms.temporal_crop(data, int(start * (frames - length + 1)), length)
    if np.isnan(out).all():
        out = data
    flat = topology.coordinates == 2
    out = transforms.rotate_2d(out, y) if flat else transforms.rotate(out, (x, y, z))
    if config.mirror and flip:
        out = transforms.mirror(out, topology)
    out = transforms.scale(out, scale)
    if config.noise:
        out = out + rng.normal(0.0, config.noise, size=out.shape).astype(np.float32)
    return out
