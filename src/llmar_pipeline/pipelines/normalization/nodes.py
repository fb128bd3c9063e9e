"""Recorded sequences -> normalised sequences, and the protocol's split of them."""

from pathlib import Path

import pandas as pd

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.splits import split_clips
from llmar_pipeline.skeletons.normalization import NormalizationConfig, normalize_store


def normalize(
    recordings: Path, sequences_folder: Path, corpus: str, normalization: NormalizationConfig
) -> Path:
    """Normalise every sequence."""
    return normalize_store(recordings, sequences_folder, CORPORA[corpus].topology, normalization)


def split(index: pd.DataFrame, corpus: str, protocol: str) -> pd.DataFrame:
    """Assign every clip to train, val, test or unused."""
    return split_clips(index, CORPORA[corpus], protocol)
