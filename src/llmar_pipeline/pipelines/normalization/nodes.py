"""Recorded sequences -> normalised sequences, and the protocol's split of them."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.shots import ShotsConfig
from llmar_pipeline.corpora.splits import SPLITS, split_run
from llmar_pipeline.corpora.unseen import UnseenConfig
from llmar_pipeline.skeletons.normalization import NormalizationConfig, normalize_store

logger = logging.getLogger(__name__)


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
    shots: ShotsConfig,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Assign every clip to train, val, test or unused; list the classes that train, and the unseen ones."""
    facts = CorpusFacts.model_validate(corpus)
    splits, class_lists = split_run(index, facts, protocol, val_share, fold, unseen, shots)
    parts = splits["split"].value_counts().reindex(list(SPLITS), fill_value=0)
    logger.info("%s %s: %s", facts.name, protocol, ", ".join(f"{n} {part}" for part, n in parts.items()))
    return splits, class_lists.model_dump(mode="json")
