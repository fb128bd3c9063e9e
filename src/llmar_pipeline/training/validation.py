"""Which validation clips are looked at, while a training goes on and behind it, so that it costs little."""

import numpy as np

from llmar_pipeline.training.config import TrainingConfig

SHARE = 1 / 16
"""What validation may cost at most, as a share of the training's operations: by the way, and again behind it.

Behind it scores are in float32, in which an A100 takes 16 times as long as in bfloat16: so even then it takes
no longer than the training.
"""
FORWARD = 1 / 3
"""What a clip costs whose pass is not followed by one backward, that of a training clip being 1."""
MOST = 500
"""Validation clips a checkpoint at most; more would hardly move the curve. Behind it, as many always."""


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
    return _drawn(clips, config.seed, min(MOST, max(1, _affordable(config.save_every, config, cost))))


def validated_behind(clips: int, config: TrainingConfig, cost: float) -> list[int]:
    """The validation clips that are answered once the training is over; those of `validated` are among them.

    All of them where they are few, as with small corpora, else some that are drawn by the training's seed.

    Args:
        clips: Validation clips there are.
        config: The schedule.
        cost: As `validated` takes it.

    Returns:
        Their numbers, ascending.

    Source: ours.
    """
    return _drawn(clips, config.seed, max(MOST, _affordable(config.max_steps, config, cost)))


def _affordable(steps: int, config: TrainingConfig, cost: float) -> int:
    return int(SHARE * steps * config.batch_size / cost)


def _drawn(clips: int, seed: int, most: int) -> list[int]:
    return sorted(np.random.default_rng([seed, 3]).permutation(clips)[:most].tolist())
