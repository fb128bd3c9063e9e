"""Recorded sequences -> normalised sequences, and the protocol's split of them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.splits import split_clips
from llmar_pipeline.corpora.unseen import UnseenConfig, hold_out
from llmar_pipeline.skeletons.normalization import NormalizationConfig, normalize_store


def normalize(recordings: Path, normalization: NormalizationConfig) -> Callable[[Path], object]:
    """What normalises every sequence."""
    return partial(normalize_store, recordings, config=normalization)


def split(
    index: pd.DataFrame,
    corpus: dict[str, Any],
    protocol: str,
    val_share: float,
    fold: str,
    unseen: UnseenConfig,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Assign every clip to train, val, test or unused; list the classes that train, and the unseen ones."""
    facts = CorpusFacts.model_validate(corpus)
    splits = split_clips(index, facts, protocol, val_share, fold)
    splits, class_lists = hold_out(splits, facts, protocol, unseen)
    return splits, class_lists.model_dump(mode="json")
