"""Recorded sequences -> normalised sequences, and the protocol's split of them."""

from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.splits import split_clips
from llmar_pipeline.skeletons.normalization import NormalizationConfig, normalize_store


def normalize(recordings: Path, sequences_folder: Path, normalization: NormalizationConfig) -> Path:
    """Normalise every sequence."""
    return normalize_store(recordings, sequences_folder, normalization)


def split(index: pd.DataFrame, corpus: dict[str, Any], protocol: str) -> pd.DataFrame:
    """Assign every clip to train, val, test or unused."""
    return split_clips(index, CorpusFacts.model_validate(corpus), protocol)
