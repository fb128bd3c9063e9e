"""The training engine of both stages: Hugging Face's Trainer, made resumable after `kill -9`."""

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import room_for
from llmar_pipeline.training import processes
from llmar_pipeline.training.callbacks import (
    Checkpoints,
    LateChecks,
    LiveLog,
    LiveProgressBar,
    LogFunction,
    check_gradients,
    check_terms,
    stopped,
)
from llmar_pipeline.training.checkpoints import (
    checkpoint_bytes,
    keep_threads,
    prepare_folder,
    restore_state,
    save_state,
)
from llmar_pipeline.training.config import TrainingConfig, micro_batch_of
from llmar_pipeline.training.sharding import (
    in_parts,
    is_sharded,
    load_training,
    put_together,
    read_weights,
    save_training,
    spread_moments,
)
from llmar_pipeline.training.stream import SampleStream

logger = logging.getLogger(__name__)

Batch = dict[str, Any]


class ResumableTrainer(Trainer):
    """Trainer over a `SampleStream` whose checkpoints hold only what training changes.

    The model's forward returns a dict with "loss"; other scalar entries are averaged and logged beside it.
    """

    def __init__(
        self,
        *args: Any,
        config: TrainingConfig,
        prepare: Callable[[Batch], Batch] | None,
        measure: Callable[[Batch, Batch], dict[str, Tensor]] | None,
        validate: Callable[[], dict[str, float]] | None,
        join: Callable[[list[Batch]], None] | None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False
        self._config, self._prepare, self._measure, self._validate = config, prepare, measure, validate
        self._join = join
        self._late: LateChecks | None = None
        self._terms: dict[str, list[Tensor]] = {}
        self._step, self._passes = -1, 0  # which one it is, and micro-batches of it that were read
        self._sharded = is_sharded(cast(nn.Module, self.model))
        if self._sharded:  # accelerate would have each process hold all of it
            prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)
            self.accelerator.prepare_model = prepare_model

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        stream: Any = train_dataset if train_dataset is not None else self.train_dataset
        return SequentialSampler(stream)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The micro-batches of a step, which are told what they are parts of."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        if self._join:
            self._join(batches)
        return batches, items

    def _prepare_inputs(self, inputs: Any) -> Any:
        on_device = super()._prepare_inputs(inputs)
        return self._prepare(on_device) if self._prepare else on_device

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW; for a model that keeps points of a manifold, geoopt's Riemannian Adam."""
        trained: Any = self.model if model is None else model
        if self.optimizer is None and any(map(_on_manifold, trained.parameters())):
            decayed = self.get_decay_parameter_names(trained)
            self.optimizer = riemannian_adam(trained, decayed, self._config, self.args.adam_epsilon)
        return super().create_optimizer(model)

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
        """Forward pass; stops the run at the first loss term that is not finite, on a GPU by the next log."""
        outputs = model(**inputs)
        terms = {k: v.detach() for k, v in _scalars(outputs).items()}
        step = self.state.global_step + 1
        if self._late is None:
            check_terms(terms, step)
        self._last_terms = dict(terms)
        if self._measure and (step % self._config.log_every == 0 or step % self._config.save_every == 0):
            terms |= self._measure(inputs, outputs)
        for name, value in terms.items():
            if name != "loss":
                self._terms.setdefault(name, []).append(value)
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """A pass over a micro-batch; the run stops where a gradient is not finite, on a GPU by the next log.

        What is drawn at random depends on the seed and on how far the training is, not on what was drawn
        before: so it is the same in every process, and however many there are when a training goes on.
        """
        self._passes = self._passes + 1 if self._step == self.state.global_step else 0
        self._step = self.state.global_step
        clips = self._passes * self.args.train_batch_size * self.args.world_size
        drawn = np.random.SeedSequence([self._config.seed, 4, self._step, clips])
        torch.manual_seed(int(drawn.generate_state(1, np.uint64)[0]))
        step = self.state.global_step + 1
        optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)  # without accelerate's wrapper
        if (
            not self._sharded
            and self._late is None
            and waits(self.args.device)
            and optimizer.defaults.get("fused")
        ):
            self._late = LateChecks(optimizer)
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self._late is None:
            check_gradients(model, step, lambda: self._terms_of(model, inputs))
            return loss
        self._late.keep(step, inputs, self._last_terms, model)
        asked = (self._config.log_every, self._config.save_every)
        if (
            self.accelerator.sync_gradients
            and (any(step % every == 0 for every in asked) or step == self._config.max_steps)
            and (spoilt := self._late.first_spoilt())
        ):
            self._stop_at(model, *spoilt)
        return loss

    def _terms_of(self, model: nn.Module, inputs: Any) -> dict[str, Tensor]:
        with self.compute_loss_context_manager():
            return _scalars(model(**self._prepare_inputs(inputs)))

    def _stop_at(self, model: nn.Module, step: int, inputs: Any) -> None:
        """Compute a pass that was not finite once more, to say what was not.

        Raises:
            UserError: Always.
        """
        model.zero_grad()
        terms = self._terms_of(model, inputs)
        check_terms(terms, step)
        terms["loss"].backward()
        check_gradients(model, step, lambda: self._terms_of(model, inputs))
        raise UserError(stopped(step, "a loss or a gradient is not finite"))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the loss terms, averaged since the last log and over the processes, to the Trainer's log.

        At a checkpoint also what validation gives, as if the training had not stopped for it: random streams
        go on where they were, and what is compiled sees no other shapes.
        """
        if "loss" in logs and self._terms:
            means = torch.stack([torch.stack(values).float().mean() for values in self._terms.values()])
            means = self.accelerator.reduce(means, reduction="mean")
            logs |= dict(zip(self._terms, means.tolist(), strict=True))
            self._terms = {}
        if "loss" in logs and self._validate and self.control.should_save:
            devices = [self.args.device] if self.args.device.type == "cuda" else []
            with torch.random.fork_rng(devices), torch.compiler.set_stance("force_eager"):
                torch.manual_seed(self._config.seed)
                logs |= self._validate()
        super().log(logs, start_time)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        return put_together(super()._get_grad_norm(model, grad_norm))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not self._sharded:  # by the first process alone; `save_training` is by all
            save_state(
                self.accelerator.unwrap_model(self.model), Path(output_dir or str(self.args.output_dir))
            )

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        folder = Path(str(self.args.output_dir), f"checkpoint-{self.state.global_step}")
        model, optimizer = self.accelerator.unwrap_model(self.model), cast(Any, self.optimizer)
        with room_for(folder, checkpoint_bytes(model, optimizer), partial=folder):
            super()._save_checkpoint(*args, **kwargs)
        self.accelerator.wait_for_everyone()  # each process may write a part; then it is complete

    def _save_optimizer_and_scheduler(self, output_dir: Any) -> None:
        if self._sharded:
            save_training(
                cast(nn.Module, self.model), cast(Any, self.optimizer), self.lr_scheduler, Path(output_dir)
            )
        else:
            super()._save_optimizer_and_scheduler(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        model, optimizer = cast(nn.Module, self.model), cast(Any, self.optimizer)
        if checkpoint is not None and in_parts(Path(checkpoint)):
            load_training(model, optimizer, self.lr_scheduler, Path(checkpoint))
        else:
            super()._load_optimizer_and_scheduler(checkpoint)
            if self._sharded:
                spread_moments(optimizer)

    def _save_rng_state(self, output_dir: Any) -> None:
        """Nothing: `training_step` says what is drawn."""

    def _load_rng_state(self, checkpoint: Any) -> None:
        """Nothing, as it was not saved."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoint, whole = Path(resume_from_checkpoint), self.accelerator.unwrap_model(model or self.model)
        if in_parts(checkpoint):  # with the moments, see `_load_optimizer_and_scheduler`
            return
        if self._sharded:
            read_weights(whole, checkpoint)
        else:
            restore_state(whole, checkpoint)


def train(
    model: nn.Module,
    stream: SampleStream,
    config: TrainingConfig,
    folder: Path,
    fingerprint: dict[str, Any],
    collate: Callable[[list[Any]], Batch] | None = None,
    prepare: Callable[[Batch], Batch] | None = None,
    measure: Callable[[Batch, Batch], dict[str, Tensor]] | None = None,
    on_log: LogFunction | None = None,
    model_folder: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    validate: Callable[[], dict[str, float]] | None = None,
    others: Sequence[Path] = (),
    join: Callable[[list[Batch]], None] | None = None,
) -> list[dict[str, float]]:
    """Train a model in place, continuing from the newest complete checkpoint of `folder` if there is one.

    Under several processes (`training/launch.py`) each takes its share of every batch; their number may be
    another one each time that a training goes on.

    Args:
        model: forward(**batch) returns a dict with a scalar "loss".
        stream: `config.max_steps * config.batch_size` positions.
        config: the schedule.
        folder: where checkpoints are written.
        fingerprint: what the result depends on beside the schedule (data, settings, code), JSON-able.
            Checkpoints of another one are set aside, so that a run never continues on changed data.
        collate: list of items -> batch; None for torch's default.
        prepare: batch on the device -> arguments of the model; None: the batch itself.
        measure: (arguments, outputs) -> further numbers, `[]` each, computed at steps that are logged: every
            `log_every` steps and at every checkpoint, so that no average spans one.
        on_log: called with (record, step) at every log.
        model_folder: where the trained model will be written, if it will.
        callbacks: what else happens beside the steps.
        validate: gives further numbers of the model as it then is, logged at every checkpoint and the last
            step; called by all processes, and to leave weights, buffers and modes as they are.
        others: folders of checkpoints of other runs: a training of the same fingerprint that is finished in
            one of them is taken over.
        join: called at each step with its micro-batches on the device, by all processes, to add to each what
            it takes from the whole batch; by default they are alike.

    Returns:
        The log history, one record (loss terms, learning_rate, step) a log, from step 1 even when resumed.

    Raises:
        UserError: a loss or a gradient that is not finite, or sizes of batches that do not divide.
    """
    processes.device()  # joins the others
    number = processes.count()
    micro_batch = micro_batch_of(config.batch_size, config.micro_batch_size, number)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=config.max_steps,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=config.batch_size // (micro_batch * number),
        learning_rate=config.learning_rate,
        adam_beta1=config.adam_betas[0],
        adam_beta2=config.adam_betas[1],
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_gradient_norm,
        bf16=config.precision == "bfloat16",
        logging_steps=config.log_every,
        logging_nan_inf_filter=False,
        save_steps=config.save_every,
        seed=config.seed,
        report_to=[],
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
        ddp_backend="gloo"
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available()
        else None,
        optim="adamw_torch_fused",
        accelerator_config={"non_blocking": torch.cuda.is_available()},  # batches are pinned
        # Buffers are equal by construction, and the words of a language model are large.
        ddp_broadcast_buffers=False,
        ddp_find_unused_parameters=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # DataParallel's replicas would lose what the codebook learns
    with arguments.main_process_first(local=False):
        whole = {**fingerprint, "training": config.identity()}
        resume = prepare_folder(folder, whole, config.max_steps, model_folder, others)
        keep_threads(resume)
    if resume is not None:
        logger.info("continuing from %s", resume.name)
    trainer = ResumableTrainer(
        model=model,
        args=arguments,
        train_dataset=stream,
        data_collator=collate,
        callbacks=[
            Checkpoints(),
            *([LiveLog(on_log)] if on_log else []),
            *callbacks,
        ],
        config=config,
        prepare=prepare,
        measure=measure,
        validate=validate,
        join=join,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    set_seed(config.seed)
    with LiveProgressBar() as bar:
        trainer.add_callback(bar)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return [record for record in trainer.state.log_history if "loss" in record]


def waits(device: torch.device) -> bool:
    """Whether the host waits for a device each time that it reads a value."""
    return device.type == "cuda"


def riemannian_adam(
    model: nn.Module, decayed: list[str], config: TrainingConfig, epsilon: float
) -> torch.optim.Optimizer:
    """Riemannian Adam for points of manifolds, AdamW for all other parameters, as one optimiser.

    A point's step is as long as the learning rate in the manifold's metric, whatever the number of its
    coordinates; weight decay would pull points to the origin of their coordinates, and leaves them alone.

    Args:
        model: Some of its parameters are `geoopt.ManifoldParameter`.
        decayed: Names of the parameters that weight decay applies to; points among them are skipped.
        config: Rate, betas and weight decay.
        epsilon: Added to the denominator.

    Returns:
        The optimiser; one that its saved state is loaded into goes on to the last bit.

    Source: Becigneul and Ganea 2019, as geoopt has it, whose steps end on the manifold without `stabilize`;
    AdamW: Loshchilov and Hutter 2019.
    """
    from geoopt.optim import RiemannianAdam  # its import takes seconds

    plain, shrinking = list[nn.Parameter](), list[nn.Parameter]()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = name in decayed and not _on_manifold(parameter)
            (shrinking if decays else plain).append(parameter)
            if _on_manifold(parameter):  # the curvature is a tensor, and no part of the model
                parameter.manifold.to(parameter.device)  # type: ignore[attr-defined]
    groups = [{"params": shrinking, "decay": config.weight_decay}, {"params": plain, "decay": 0.0}]
    optimizer: torch.optim.Optimizer = RiemannianAdam(
        groups, lr=config.learning_rate, betas=config.adam_betas, eps=epsilon
    )

    @torch.no_grad()
    def decay(*_: Any) -> None:
        """As AdamW: geoopt's `weight_decay` is that of Adam, which goes through the moments."""
        for group in optimizer.param_groups:
            for parameter in group["params"] if group["decay"] else []:
                parameter.mul_(1 - group["lr"] * group["decay"])

    def count_in_integers(*_: Any) -> None:
        """Loading makes float32 tensors of the step counters: other last digits than in an unbroken run."""
        for state in optimizer.state.values():
            state["step"] = int(state["step"])

    optimizer.register_step_pre_hook(decay)
    optimizer.register_load_state_dict_post_hook(count_in_integers)
    return optimizer


def _on_manifold(parameter: nn.Parameter) -> bool:
    return hasattr(parameter, "manifold")  # asked so, geoopt need not be imported


def _scalars(outputs: Any) -> dict[str, Tensor]:
    return {k: v for k, v in outputs.items() if torch.is_tensor(v) and v.ndim == 0}
