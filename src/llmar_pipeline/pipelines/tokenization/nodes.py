"""Every clip of every split -> its action sentence; what the sentences are like."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.corpora.cameras import settle_turns
from llmar_pipeline.evaluation.config import EvaluationConfig
from llmar_pipeline.io.run_names import of_other_runs
from llmar_pipeline.language.config import AdapterConfig
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.vqvae.config import TokenizationConfig


def tokenize(
    vqvae_model: Path,
    sequences: Path,
    splits: pd.DataFrame,
    index: pd.DataFrame,
    tokenization: TokenizationConfig,
    augmentation: AugmentationConfig,
    lora: AdapterConfig,
    kept_sentences: Path,
) -> pd.DataFrame:
    """Encode the clips of all splits; training clips also in random readings."""
    from llmar_pipeline.training.launch import launch
    from llmar_pipeline.vqvae.tokenize import tokenize_clips

    features = kept_sentences / "features.npy" if lora.input == "features" else None
    # The file of features has one writer; codes are made by all processes that there are.
    shared = tokenize_clips if features else partial(launch, tokenize_clips, 1)
    made: pd.DataFrame = shared(
        vqvae_model,
        sequences,
        splits,
        tokenization,
        settle_turns(augmentation, index, splits, sequences),
        features=features,
        kept=kept_sentences,
        others=of_other_runs(kept_sentences),
    )
    return made


def describe_codes(
    vqvae_model: Path,
    sequences: Path,
    action_sentences: pd.DataFrame,
    evaluation: EvaluationConfig,
) -> tuple[Any, ...]:
    """How the codebook is used and what it keeps of test clips; statistics of training clips beside it."""
    from llmar_pipeline.reporting.code_description import describe_codes as describe

    return describe(vqvae_model, sequences, action_sentences, evaluation.film_strips)
