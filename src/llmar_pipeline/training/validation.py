"""Which validation clips a training looks at by the way, so that it costs little."""

import numpy as np

from llmar_pipeline.training.config import TrainingConfig

SHARE = 1 / 16
"""What validation may cost at most, as a share of the training."""
FORWARD = 1 / 3
"""What a clip costs whose pass is not followed by one backward, that of a training clip being 1."""
MOST = 500
"""Validation clips a checkpoint at most; more would hardly move the curve."""


def validated(clips: int, config: TrainingConfig, cost: float) -> list[int]:
    """The validation clips whose loss is logged at every checkpoint, always the same ones.

    All of them where they are few, else some that are drawn by the training's seed.

    Args:
        clips: Validation clips there are.
        config: The schedule.
        cost: Of a validation clip, that of a training clip being 1.

    Returns:
        Their numbers, ascending; one at least where there is one.

    Source: ours.
    """
    affordable = int(SHARE * config.save_every * config.batch_size / cost)
    drawn = np.random.default_rng([config.seed, 3]).permutation(clips)
    return sorted(drawn[: min(MOST, max(1, affordable))].tolist())
