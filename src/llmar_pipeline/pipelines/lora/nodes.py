"""Action sentences of the train split -> the large language model, and with it the whole recogniser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.folds import NONE
from llmar_pipeline.io.tracking import log_live
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.skeletons.normalization import NormalizationConfig
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.vqvae.config import TokenizationConfig


def train(
    action_sentences: pd.DataFrame,
    class_lists: dict[str, Any],
    vqvae_model: Path,
    sequences: Path,
    splits: pd.DataFrame,
    corpus: dict[str, Any],
    llm_cache: Path,
    lora_checkpoints: Path,
    llm: LLMConfig,
    lora: AdapterConfig,
    lora_training: TrainingConfig,
    normalization: NormalizationConfig,
    tokenization: TokenizationConfig,
    init_from: str | None,
    fold: str,
) -> Callable[[Path], object]:
    """What fine-tunes by LoRA, continuing where a killed run stopped, and completes the recogniser.

    What validates, or tests in a fold, is held out from its training: it says when a recording is none of the
    classes. With `init_from` it starts from the adapters of that trained model.
    """
    from llmar_pipeline.evaluation.baselines import drawn_to_fit
    from llmar_pipeline.language.lora import train_lora
    from llmar_pipeline.language.trained_model import save_model
    from llmar_pipeline.recognition.known_classes import learn_known
    from llmar_pipeline.recognizer_folder import check_initial, complete_recognizer
    from llmar_pipeline.training.launch import launch, train_and_save
    from llmar_pipeline.vqvae.trained import code_votes, codebook_of

    if init_from:
        check_initial(Path(init_from))

    def write(folder: Path) -> None:
        launch(
            train_and_save,
            lora_training.processes,
            train_lora,
            save_model,
            folder,
            sentences=action_sentences,
            codebook=codebook_of(vqvae_model),
            votes=code_votes(vqvae_model) if lora.answers == "head" else None,
            llm_config=llm,
            llm_cache=llm_cache,
            adapter=lora,
            training=lora_training,
            checkpoints=lora_checkpoints,
            on_log=log_live("lora"),
            instruction="recognize_from_list" if class_lists["unseen"] else "recognize",
            initial=Path(init_from) if init_from else None,
            others=class_lists["unseen"] if lora.listed == "all" else (),
        )
        trained = splits[splits["split"] == "train"]
        held = splits[splits["split"].isin(["val"] if fold == NONE else ["val", "test"])]
        learn_known(
            folder,
            vqvae_model,
            sequences,
            drawn_to_fit(trained, tokenization.seed),
            held[held["action"].isin(trained["action"])],
        )
        facts = CorpusFacts.model_validate(corpus)
        complete_recognizer(folder, vqvae_model, normalization, facts, tokenization.test_readings)

    return write
