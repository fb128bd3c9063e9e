"""Stage 1: the VQ-VAE learns to write motion in codes."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import TrainerCallback, set_seed

from llmar_pipeline.code_digest import CODE, code_of
from llmar_pipeline.errors import UserError
from llmar_pipeline.files import json_checksum
from llmar_pipeline.machine import kept_memory
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.training import processes
from llmar_pipeline.training.callbacks import LogFunction
from llmar_pipeline.training.config import TrainingConfig, micro_batch_of
from llmar_pipeline.training.digests import tensor_checksum
from llmar_pipeline.training.stream import SampleStream
from llmar_pipeline.training.trainer import train
from llmar_pipeline.vqvae.config import VQVAEConfig, check_continuous_steps
from llmar_pipeline.vqvae.initial_weights import InitialWeights, start_from
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.validation import validation
from llmar_pipeline.vqvae.windows import Clips, Reading, joint_positions, stacked


class Language(NamedTuple):
    """What stage 1 takes from the language model.

    Attributes:
        words: Input word embeddings, `[N, du]`, for the MMD of Eq. 7.
        class_texts: Mean word embedding of each class's name, `[classes, du]`, for an auxiliary head that
            reads them.
    """

    words: Tensor | None = None
    class_texts: Tensor | None = None


NO_LANGUAGE = Language()


class CodebookStart(TrainerCallback):
    """Lets the codebook take its place after the continuous steps, and the encoder stay as it then is.

    Args:
        model: What is trained.
        place: Places its codes.
    """

    def __init__(self, model: VQVAE, place: Callable[[], None]):
        self.model, self.place = model, place

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before a checkpoint of this step is written."""
        if state.global_step == self.model.settings.continuous_steps:
            self.place()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What is not trained has no gradient: momentum and weight decay would move it all the same."""
        if self.model.frozen:
            for parameter in self.model.encoder.parameters():
                parameter.grad = None


_CLIPS_A_PASS = 256
_FEATURES_A_CODE = 96  # that the codes start from, after the continuous steps


def train_vqvae(
    sequences: Path,
    names: list[str],
    labels: list[int],
    config: VQVAEConfig,
    augmentation: AugmentationConfig,
    training: TrainingConfig,
    checkpoints: Path,
    language: Language = NO_LANGUAGE,
    on_log: LogFunction | None = None,
    model_folder: Path | None = None,
    val_names: Sequence[str] = (),
    val_labels: Sequence[int] = (),
    others: Sequence[Path] = (),
    initial: InitialWeights | None = None,
) -> tuple[VQVAE, list[dict[str, float]]]:
    """Train on random readings of the named sequences, continuing from the newest checkpoint.

    Args:
        sequences: folder of the normalised store.
        names: clips of the train split.
        labels: the class of each clip, read by the auxiliary heads, and where classes are balanced.
        config: the model.
        augmentation: strength of the random readings.
        training: the schedule.
        checkpoints: where they are kept.
        language: words of the language model; without them the MMD is left out.
        on_log: called with (record, step) at every log.
        model_folder: where the model will be saved, if it will; an earlier one there is set aside.
        val_names: clips of the validation split, whose loss is logged at every checkpoint (`validation`);
            the weights do not depend on them.
        val_labels: the class of each.
        others: checkpoints of other runs, from which a training of exactly the same is taken over.
        initial: a trained VQ-VAE to start from (`start_from`).

    Returns:
        (the trained model in evaluation mode on the CPU, log history). Besides the loss terms the history has
        `error`: the mean distance between joints and their reconstruction, in the unit of the sequences.

    Raises:
        UserError: no training clip, no embeddings for a term that needs them, a model to start from that does
            not fit, or a loss or gradient that is not finite.

    Source: first stage of Sec. 3.2 of the paper.
    """
    missing = [
        f"vqvae.{name}"
        for name, needed, given in (
            ("mmd_weight", config.reads_words, language.words),
            (f"auxiliary={config.auxiliary}", config.reads_names, language.class_texts),
        )
        if needed and given is None
    ]
    if missing:
        raise UserError(
            f"{missing[0]} needs the language model's word embeddings, and got none: switch it off"
        )
    check_continuous_steps(config.continuous_steps, training.max_steps)
    store = SequenceStore.open(sequences)
    body = store.body
    clips = Clips.load(store, names, processes.device())
    set_seed(training.seed)
    model = VQVAE(
        config,
        body,
        classes=max(labels, default=-1) + 1,
        words=language.words,
        class_texts=language.class_texts,
    )
    if initial is not None:
        start_from(model, initial)
    if training.compile:
        for network in (model.encoder, model.decoder):
            network.compile()

    def read(index: int, rng: np.random.Generator) -> tuple[Reading, int]:
        return clips.random(index, augmentation, rng), labels[index]

    def collate(samples: list[tuple[Reading, int]]) -> dict[str, Any]:
        return {
            "readings": stacked([r for r, _ in samples]),
            "labels": torch.tensor([x for _, x in samples]),
        }

    def prepare(batch: dict[str, Any]) -> dict[str, Tensor]:
        motion, mask = clips.windows(batch["readings"], config.frames, *config.streams)
        return {"motion": motion, "mask": mask, "labels": batch["labels"]}

    def measure(batch: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Tensor]:
        with torch.no_grad():
            before, after = (
                joint_positions(motion.float(), batch["mask"], body.topology, config.stream)
                for motion in (batch["motion"][..., : body.channels], outputs["reconstruction"])
            )
            gap = (before - after).norm(dim=-1)
            return {"error": processes.mean(gap, ~gap.isnan())}

    def place_codes() -> None:
        wanted = _FEATURES_A_CODE * config.codes // (config.frames // config.stride)
        rng = np.random.default_rng([training.seed, 2])
        number = max(wanted, len(names))
        number += -number % training.batch_size  # of which every process has as many
        own = set(processes.own_rows(torch.arange(number)).tolist())
        drawn = (read(index % len(names), rng) for index in range(number))
        kept = (reading for index, reading in enumerate(drawn) if index in own)
        passes = iter(lambda: list(islice(kept, _CLIPS_A_PASS)), [])
        batches = (prepare(collate(readings)) for readings in passes)
        model.place_codes((batch["motion"], batch["mask"]) for batch in batches)

    classes = labels if training.balance == "classes" else None
    stream = SampleStream(len(names), training.max_steps * training.batch_size, training.seed, read, classes)
    batches = training.batch_size, training.micro_batch_size
    fingerprint = {
        "data": store.digest_of(map(store.number, names)),
        "body": asdict(body),
        "clips": {"number": len(names), "names": json_checksum(names)},
        "model": config.model_dump(),
        "language": {
            name: None if tensor is None else tensor_checksum(tensor)
            for name, tensor in language._asdict().items()
        },
        "labels": json_checksum(labels if config.auxiliary != "none" or classes else []),
        "augmentation": augmentation.model_dump(),
        "clips_together": processes.count() * micro_batch_of(*batches, processes.count()),
        CODE: code_of(__name__),
    }
    if initial is not None:
        fingerprint["initial"] = initial.identity()
    with kept_memory():
        history = train(
            model,
            stream,
            training,
            checkpoints,
            fingerprint,
            collate,
            prepare,
            measure,
            on_log,
            model_folder,
            callbacks=[CodebookStart(model, place_codes)] if config.continuous_steps else [],
            validate=validation(model, store, val_names, val_labels, training),
            others=others,
        )
    return model.eval().cpu(), history
