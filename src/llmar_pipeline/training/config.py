"""How long and how fast a stage trains."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmar_pipeline.errors import UserError


class TrainingConfig(BaseModel):
    """How long and how fast one stage trains; every number's source stands beside it in the YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    micro_batch_size: Annotated[int, Field(gt=0)] | Literal["auto"]
    learning_rate: float = Field(gt=0)
    adam_betas: tuple[float, float]
    weight_decay: float = Field(ge=0)
    warmup_steps: int = Field(ge=0)
    schedule: Literal["constant", "step", "cosine"]
    step_decay_at: int = Field(ge=0)
    step_decay_factor: float = Field(gt=0)
    max_gradient_norm: float = Field(ge=0)
    save_every: int = Field(gt=0)
    log_every: int = Field(gt=0)
    seed: int
    precision: Literal["float32", "bfloat16"] = "float32"  # bfloat16: mixed
    compile: bool = False
    processes: int = Field(default=1, gt=0)  # which share each batch
    balance: Literal["none", "classes"] = "none"  # classes: each is drawn equally often

    def identity(self) -> dict[str, Any]:
        """What the trained weights depend on, JSON-able.

        How often something is saved or logged is not in it, nor how many processes share a batch and what
        each reads at a time; and the number of steps only where the schedule stretches over it: elsewhere a
        longer training begins as a shorter one does.
        """
        neutral = {"save_every", "log_every", "processes", "micro_batch_size"}
        if self.schedule != "cosine":
            neutral.add("max_steps")
        if self.schedule != "step":
            neutral |= {"step_decay_at", "step_decay_factor"}
        return self.model_dump(mode="json", exclude=neutral)

    def learning_rate_factor(self, step: int) -> float:
        """Multiplier of the learning rate at a step: linear warm-up, then the schedule.

        Source: warm-up and the step decay from the lineage (T2M-GPT); cosine is ours, for short budgets.
        """
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.schedule == "step":
            return self.step_decay_factor if step >= self.step_decay_at else 1.0
        if self.schedule == "cosine":
            progress = (step - self.warmup_steps) / max(1, self.max_steps - self.warmup_steps)
            return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
        return 1.0


def micro_batch_of(batch: int, micro_batch: int | Literal["auto"], processes: int, prefix: str = "") -> int:
    """Clips that each process reads at a time.

    Args:
        batch: `batch_size`.
        micro_batch: `micro_batch_size`; where a process's share of the batch is smaller, all of it, and at
            most with "auto".
        processes: That share the batch.
        prefix: Of the parameters' names in the message.

    Raises:
        UserError: They do not divide.
    """
    share = batch // processes
    read = max(1, share if micro_batch == "auto" else min(micro_batch, share))
    if batch % (read * processes):
        raise UserError(
            f"expected {prefix}batch_size as a multiple of {prefix}micro_batch_size x {prefix}processes, saw "
            f"{batch}, {read} and {processes}; change one of them"
        )
    return read
