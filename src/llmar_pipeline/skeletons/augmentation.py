"""Random variation of a sequence for training: what changes must leave the action what it is."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from llmar_pipeline.skeletons import transforms
from llmar_pipeline.skeletons.topology import Topology


class AugmentationConfig(BaseModel):
    """Strength of each random change; zero (or a share of 1) switches it off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_crop: float = Field(gt=0, le=1)  # shortest temporal crop, as a share of the clip
    rotation: float = Field(ge=0)  # largest angle about each axis, radians
    scale: float = Field(ge=0, lt=1)  # body size is multiplied by 1 +- this
    noise: float = Field(ge=0)  # standard deviation of joint noise, metres
    mirror: bool  # exchange left and right for half of the clips


def augment(
    data: np.ndarray, topology: Topology, config: AugmentationConfig, rng: np.random.Generator
) -> np.ndarray:
    """One random reading of a sequence.

    Args:
        data: [person, frame, joint, coordinate], metres, centred, NaN where missing.
        topology: the body it is of.
        config: strengths.
        rng: consumed in a fixed order, so equal generators give equal readings.

    Returns:
        The changed copy, possibly with fewer frames.

    Source: crop and rotation as the field trains (CTR-GCN, Shift-GCN); scale, noise, mirror ours.
    """
    share = rng.uniform(config.min_crop, 1.0)
    start = rng.uniform()
    angles = rng.uniform(-config.rotation, config.rotation, size=3)
    scale = 1.0 + rng.uniform(-config.scale, config.scale)
    flip = rng.uniform() < 0.5

    frames = data.shape[1]
    length = max(1, round(share * frames))
    out = transforms.temporal_crop(data, int(start * (frames - length + 1)), length)
    if config.rotation and topology.coordinates == 3:
        out = transforms.rotate(out, angles)
    if config.mirror and flip:
        out = transforms.mirror(out, topology)
    out = out * np.float32(scale)
    if config.noise:
        out = out + rng.normal(0.0, config.noise, size=out.shape).astype(np.float32)
    return out
