"""Training clips -> the action-based VQ-VAE."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.corpora.cameras import settle_turns
from llmar_pipeline.io.run_names import of_other_runs
from llmar_pipeline.io.tracking import log_live, tag_live
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.vqvae.config import VQVAEConfig


def train(
    sequences: Path,
    splits: pd.DataFrame,
    index: pd.DataFrame,
    vqvae_checkpoints: Path,
    llm_cache: Path,
    llm: LLMConfig,
    vqvae: VQVAEConfig,
    augmentation: AugmentationConfig,
    vqvae_training: TrainingConfig,
    init_from: str | None,
) -> Callable[[Path], object]:
    """What trains the VQ-VAE on the train split, continuing where a killed run stopped.

    One that another run of the protocol has made from exactly the same is taken over. With `init_from` it
    starts from the VQ-VAE of that trained model.
    """
    from llmar_pipeline.language.words import class_texts, word_embeddings
    from llmar_pipeline.recognizer_folder import initial_vqvae
    from llmar_pipeline.training.launch import train_and_save
    from llmar_pipeline.vqvae.model import VQVAE
    from llmar_pipeline.vqvae.train import Language, train_vqvae

    rows = splits[splits["split"] == "train"]
    classes = rows.drop_duplicates("label").sort_values("label")
    augmentation.check_names(classes["action"])
    augmentation = settle_turns(augmentation, index, splits, sequences)
    language = Language()
    if vqvae.reads_words or vqvae.reads_names:
        words = word_embeddings(llm, llm_cache)
        names = classes["action"].tolist()
        language = Language(
            words if vqvae.reads_words else None,
            class_texts(words, llm, llm_cache, names) if vqvae.reads_names else None,
        )
    numbers = {label: index for index, label in enumerate(classes["label"])}
    unseen = set(splits.loc[splits["split"] == "test", "action"]) - set(classes["action"])
    validating = splits[(splits["split"] == "val") & splits["label"].isin(numbers)]
    return partial(
        _launch,
        train_and_save,
        vqvae_training.processes,
        train_vqvae,
        VQVAE.save,
        sequences=sequences,
        names=rows["name"].tolist(),
        labels=rows["label"].map(numbers).tolist(),
        config=vqvae,
        augmentation=augmentation,
        training=vqvae_training,
        checkpoints=vqvae_checkpoints,
        language=language,
        on_log=log_live("vqvae"),
        val_names=validating["name"].tolist(),
        val_labels=validating["label"].map(numbers).tolist(),
        others=of_other_runs(vqvae_checkpoints),
        initial=initial_vqvae(Path(init_from), classes["action"].tolist(), unseen) if init_from else None,
    )


def _launch(*arguments: Any, checkpoints: Path, **settings: Any) -> None:
    from llmar_pipeline.training.checkpoints import taken_from
    from llmar_pipeline.training.launch import launch

    launch(*arguments, checkpoints=checkpoints, **settings)
    if (run := taken_from(checkpoints)) is not None:
        tag_live("stage1_taken_from", run)
