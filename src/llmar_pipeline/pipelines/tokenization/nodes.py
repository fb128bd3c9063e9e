"""Every clip of every split -> its action sentence."""

from pathlib import Path

import pandas as pd

from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.vqvae.config import TokenizationConfig


def tokenize(
    vqvae_model: Path,
    sequences: Path,
    splits: pd.DataFrame,
    tokenization: TokenizationConfig,
    augmentation: AugmentationConfig,
) -> pd.DataFrame:
    """Encode the clips of all splits; training clips also in random readings."""
    from llmar_pipeline.vqvae.tokenize import tokenize_clips

    return tokenize_clips(vqvae_model, sequences, splits, tokenization, augmentation)
