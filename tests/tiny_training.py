"""A schedule of a few steps, for every test that trains, and what a supervised stage 1 has switched on."""

from collections.abc import Callable, Sequence
from typing import Any

from llmar_pipeline.training.config import TrainingConfig

GRAPH: dict[str, Any] = {  # all of it is random, or decides something in the middle of the training
    "encoder": "graph",
    "further_streams": ("bones", "motion"),
    "dropout": 0.1,
    "initialisation": "kmeans",
    "codebook_update": "ema",
    "max_norm": 1.5,
    "auxiliary": "class",
    "auxiliary_reads": "both",
    "auxiliary_dropout": 0.1,
}


def one_after_another(trainings: Sequence[Callable[[], Any]]) -> list[Any]:
    """Several trainings in each process of a group: what takes longest is to start it."""
    return [train() for train in trainings]


def schedule(**changes: Any) -> TrainingConfig:
    """Eight steps of two micro-batches of two, with a checkpoint each third one; but for `changes`."""
    values: dict[str, Any] = {
        "max_steps": 8,
        "batch_size": 4,
        "micro_batch_size": 2,
        "learning_rate": 1e-3,
        "adam_betas": (0.9, 0.99),
        "weight_decay": 0.01,
        "warmup_steps": 2,
        "schedule": "cosine",
        "step_decay_at": 4,
        "step_decay_factor": 0.1,
        "max_gradient_norm": 1.0,
        "save_every": 3,
        "log_every": 1,
        "seed": 0,
    }
    return TrainingConfig(**values | changes)
