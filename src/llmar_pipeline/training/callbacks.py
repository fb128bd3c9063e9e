"""What happens beside the steps of a training: its progress bar, its records, and its stop where it fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from llmar_pipeline.errors import UserError
from llmar_pipeline.progress import Progress
from llmar_pipeline.training.checkpoints import complete
from llmar_pipeline.training.sharding import put_together

LogFunction = Callable[[dict[str, float], int], None]

_BESIDE_THE_LOSS = {
    "error": "{:.3f}",
    "codes_in_use": "{:.0%}",
    "perplexity": "{:.0f}",
    "dead_codes": "{:.0f}",
    "zipf_js": "{:.3f}",
}
"""What the bar shows of a record beside the loss, where the record has it."""


class LiveProgressBar(TrainerCallback):
    """Shows the newest record within the bar; in a `with` statement it is closed whatever happens."""

    def __init__(self) -> None:
        self._bar: Progress | None = None

    def __enter__(self) -> "LiveProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar where the training begins, which need not be its first step."""
        if state.is_world_process_zero:
            done, total = state.global_step, state.max_steps
            self._bar = Progress(title="training", unit=" steps", initial=done, total=total)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Replace the text beside the bar."""
        if self._bar is not None and logs and "loss" in logs:
            shown = {"loss": f"{float(logs['loss']):.3g}"}
            shown |= {k: form.format(logs[k]) for k, form in _BESIDE_THE_LOSS.items() if k in logs}
            self._bar.set_postfix_str(", ".join(f"{k} {v}" for k, v in shown.items()))


class Checkpoints(TrainerCallback):
    """Marks a checkpoint complete once all its files are written, and logs before it is."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save and log as often as is asked for now, not as the checkpoint's own training did."""
        state.compute_steps(args, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start a new average at a checkpoint, so that a resumed training logs what it would have."""
        if control.should_save:
            control.should_log = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the mark last."""
        if state.is_world_process_zero:
            complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class LiveLog(TrainerCallback):
    """Hands every logged record on, so that curves are live wherever the caller shows them."""

    def __init__(self, forward: LogFunction):
        self.forward = forward

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Hand the record on."""
        if logs and "loss" in logs and state.is_world_process_zero:
            self.forward({k: float(v) for k, v in logs.items()}, state.global_step)


def check_terms(terms: dict[str, Tensor], step: int) -> None:
    """Find loss terms that are not finite, with one wait for the device.

    Raises:
        UserError: with the step and the terms.
    """
    if terms and not torch.stack([v.float() for v in terms.values()]).isfinite().all():
        bad = ", ".join(f"{k}={v.item():g}" for k, v in terms.items() if not torch.isfinite(v))
        raise UserError(stopped(step, f"{bad} is not finite"))


def check_gradients(model: nn.Module, step: int, terms: Callable[[], dict[str, Tensor]]) -> None:
    """Find gradients that are not finite, with one wait for the device.

    Args:
        model: after a backward pass.
        step: which.
        terms: computes the step's loss terms once more, with their graph, to find the guilty one.

    Raises:
        UserError: with the step, the parameter, and the terms that cause it.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if not gradients or put_together(torch.nn.utils.get_total_norm(gradients)).isfinite():
        return
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not put_together(parameter.grad.isfinite().all()):
            guilty = [k for k, term in terms().items() if k != "loss" and _spoils(term, parameter)]
            cause = f" (caused by {', '.join(guilty)})" if guilty else ""
            where = name.removeprefix("module.")
            raise UserError(stopped(step, f"the gradient of {where} is not finite{cause}"))


class LateChecks:
    """Whether losses and gradients are finite, kept on the device until the host looks: each look is a wait.

    From the first step that is not finite on, the optimiser changes no weight any more: fused AdamW has that
    from its use with scaled gradients. So the step can be computed once more when the host looks.

    Args:
        optimizer: torch's fused AdamW.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer: Any = optimizer
        self._kept: list[tuple[int, Any]] = []
        self._spoilt: list[Tensor] = []

    @torch.no_grad()
    def keep(self, step: int, inputs: Any, terms: dict[str, Tensor], model: nn.Module) -> None:
        """Note a pass.

        Args:
            step: which.
            inputs: what it read, to read it again.
            terms: its loss terms.
            model: after its backward pass.
        """
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = [torch.nn.utils.get_total_norm(gradients)] if gradients else []
        spoilt = (~torch.stack([x.float() for x in [*terms.values(), *norm]]).isfinite().all()).float()
        if self._spoilt:
            spoilt = torch.maximum(spoilt, self._spoilt[-1])
        self._kept.append((step, inputs))
        self._spoilt.append(spoilt)
        self._optimizer.found_inf = spoilt

    def first_spoilt(self) -> tuple[int, Any] | None:
        """Step and inputs of the first pass since the last look that was not finite, with one wait."""
        flags = torch.stack(self._spoilt).tolist() if self._spoilt else []
        found = self._kept[flags.index(1)] if 1 in flags else None
        self._kept, self._spoilt = [], []
        return found


def _spoils(term: Tensor, parameter: Tensor) -> bool:
    if not term.requires_grad or put_together(parameter) is not parameter:  # a part has no gradient alone
        return False
    (gradient,) = torch.autograd.grad(term, parameter, retain_graph=True, allow_unused=True)
    return gradient is not None and not bool(gradient.isfinite().all())


def stopped(step: int, reason: str) -> str:
    """What a training says that ends where it went wrong."""
    return (
        f"training stopped at step {step}: {reason}; "
        "nothing of this step was saved; a lower learning_rate or a warm-up usually helps"
    )
