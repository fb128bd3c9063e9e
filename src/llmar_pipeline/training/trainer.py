"""The training engine of both stages: Hugging Face's Trainer, made resumable after `kill -9`."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from llmar_pipeline.errors import UserError
from llmar_pipeline.training.config import TrainingConfig

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
COMPLETE = "complete.json"
FINGERPRINT = "fingerprint.json"

LogFunction = Callable[[dict[str, float], int], None]


class SampleStream(Dataset[Any]):
    """An endless shuffled reading of `n_items` items, as a finite dataset of `n_samples` positions.

    What position i holds is a pure function of (seed, i): epoch after epoch, each a new permutation, with
    a random generator of its own for augmentation. So a resumed run reads exactly what the killed run would
    have read, whatever the data loader prefetched. Source: ours.
    """

    def __init__(
        self, n_items: int, n_samples: int, seed: int, read: Callable[[int, np.random.Generator], Any]
    ):
        if n_items <= 0:
            raise UserError(
                "training needs at least one clip in the train split, and there is none: "
                "look at splits.parquet and quarantine.parquet of this run"
            )
        self.n_items, self.n_samples, self.seed, self.read = n_items, n_samples, seed, read
        self._epoch = -1
        self._order = np.arange(0)

    def __len__(self) -> int:
        return self.n_samples

    def __getitem__(self, position: int) -> Any:
        """Item at a position of the stream, read with that position's own random generator."""
        epoch, within = divmod(position, self.n_items)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, 0, epoch]).permutation(self.n_items)
        return self.read(int(self._order[within]), np.random.default_rng([self.seed, 1, position]))


class ResumableTrainer(Trainer):
    """Trainer over a `SampleStream` whose checkpoints hold only what training changes.

    The model's forward returns a dict with "loss"; other scalar entries are averaged and logged beside it.
    """

    def __init__(self, *args: Any, config: TrainingConfig, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False
        self._config = config
        self._terms: dict[str, list[torch.Tensor]] = {}

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        stream: Any = train_dataset if train_dataset is not None else self.train_dataset
        return SequentialSampler(stream)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Learning-rate schedule of `TrainingConfig.learning_rate_factor`."""
        if self.lr_scheduler is None:
            used: Any = optimizer or self.optimizer
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(used, self._config.learning_rate_factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Forward pass; stops the run at the first loss term that is not finite."""
        outputs = model(**inputs)
        terms = {k: v.detach() for k, v in outputs.items() if torch.is_tensor(v) and v.ndim == 0}
        if not all(torch.isfinite(v) for v in terms.values()):
            bad = ", ".join(f"{k}={v.item():g}" for k, v in terms.items() if not torch.isfinite(v))
            raise UserError(
                f"training stopped at step {self.state.global_step + 1}: {bad} is not finite; "
                "nothing of this step was saved; a lower learning_rate or a warm-up usually helps"
            )
        for name, value in terms.items():
            if name != "loss":
                self._terms.setdefault(name, []).append(value)
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the averaged loss terms since the last log to what the Trainer logs."""
        if "loss" in logs:
            logs |= {k: torch.stack(v).mean().item() for k, v in self._terms.items()}
            self._terms = {}
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file(changing_state(self.accelerator.unwrap_model(self.model)), folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        restore_state(self.accelerator.unwrap_model(model or self.model), Path(resume_from_checkpoint))


class _CheckpointCallback(TrainerCallback):
    """Marks a checkpoint complete once all its files are written; stops on a gradient that is not finite."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_json(folder / COMPLETE, {"step": state.global_step})

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for name, parameter in kwargs["model"].named_parameters():
            if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                raise UserError(
                    f"training stopped at step {state.global_step + 1}: "
                    f"the gradient of {name} is not finite; "
                    "nothing of this step was saved; a lower learning_rate or a warm-up usually helps"
                )


class _LogCallback(TrainerCallback):
    """Hands every logged record on, so that curves are live wherever the caller shows them."""

    def __init__(self, forward: LogFunction):
        self.forward = forward

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.forward({k: float(v) for k, v in logs.items()}, state.global_step)


def changing_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Trainable parameters and persistent buffers of a model: all that training changes."""
    frozen = {name for name, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad}
    return {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items() if k not in frozen}


def restore_state(model: nn.Module, checkpoint: Path) -> None:
    """Load what `changing_state` saved; every entry must find its place.

    Raises:
        UserError: the checkpoint does not fit the model.
    """
    saved, expected = load_file(checkpoint / WEIGHTS), changing_state(model)
    if saved.keys() != expected.keys():
        differing = sorted(saved.keys() ^ expected.keys())[:3]
        raise UserError(
            f"checkpoint {checkpoint} does not fit the model (entries {differing} differ); "
            "delete it to start over"
        )
    model.load_state_dict(saved, strict=False)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a folder, or None."""
    complete = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=lambda path: int(path.name.split("-")[1]), default=None)


def train(
    model: nn.Module,
    stream: SampleStream,
    config: TrainingConfig,
    folder: Path,
    fingerprint: dict[str, Any],
    collate: Callable[[list[Any]], dict[str, torch.Tensor]] | None = None,
    on_log: LogFunction | None = None,
) -> list[dict[str, float]]:
    """Train a model in place, continuing from the newest complete checkpoint of `folder` if there is one.

    Args:
        model: forward(**batch) returns a dict with a scalar "loss".
        stream: `config.max_steps * config.batch_size` positions.
        config: the schedule.
        folder: where checkpoints are written.
        fingerprint: what the result depends on (configuration, data digest), JSON-able. Checkpoints of
            another fingerprint are discarded, so that a run never continues on changed data.
        collate: list of items -> batch; None for torch's default.
        on_log: called with (record, step) at every log.

    Returns:
        The log history, one record (loss terms, learning_rate, step) a log, from step 1 even when resumed.

    Raises:
        UserError: a loss or a gradient that is not finite.
    """
    resume = _prepare_folder(folder, fingerprint)
    if resume is not None:
        logger.info("continuing from %s", resume.name)
    micro_batch = min(config.micro_batch_size, config.batch_size)
    if config.batch_size % micro_batch:
        raise UserError(
            f"batch_size must be a multiple of micro_batch_size, seen {config.batch_size} and {micro_batch}"
        )
    trainer = ResumableTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=config.max_steps,
            per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=config.batch_size // micro_batch,
            learning_rate=config.learning_rate,
            adam_beta1=config.adam_betas[0],
            adam_beta2=config.adam_betas[1],
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_gradient_norm,
            logging_steps=config.log_every,
            logging_nan_inf_filter=False,
            save_steps=config.save_every,
            save_total_limit=2,
            seed=config.seed,
            report_to=[],
            remove_unused_columns=False,
            dataloader_pin_memory=torch.cuda.is_available(),
        ),
        train_dataset=stream,
        data_collator=collate,
        callbacks=[_CheckpointCallback(), *([_LogCallback(on_log)] if on_log else [])],
        config=config,
    )
    trainer.remove_callback(PrinterCallback)
    set_seed(config.seed)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return [record for record in trainer.state.log_history if "loss" in record]


def _prepare_folder(folder: Path, fingerprint: dict[str, Any]) -> Path | None:
    """Remove half-written checkpoints and those of another fingerprint; return the one to continue from."""
    known = folder / FINGERPRINT
    fingerprint = json.loads(json.dumps(fingerprint))
    if known.exists() and json.loads(known.read_text()) != fingerprint:
        logger.warning("data or parameters changed since the checkpoints in %s: starting over", folder)
        shutil.rmtree(folder)
    write_json(known, fingerprint)
    resume = latest_checkpoint(folder)
    for path in folder.glob("checkpoint-*"):
        if not (path / COMPLETE).exists():
            shutil.rmtree(path)
    return resume


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically: under a temporary name first, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(json.dumps(content, indent=1))
    os.replace(temporary, path)
