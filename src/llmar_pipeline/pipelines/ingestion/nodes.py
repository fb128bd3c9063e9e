"""Raw recordings -> one store of sequences, its index, and what was left out."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.demo.recordings import DemoConfig, demo_corpus, generate_recordings
from llmar_pipeline.ingestion.acceptance import accept as accept_clips
from llmar_pipeline.ingestion.acceptance import tell
from llmar_pipeline.ingestion.completeness import compare as compare_with_official
from llmar_pipeline.ingestion.ingest import IngestionConfig, read_listing
from llmar_pipeline.ingestion.ingest import ingest as ingest_recordings


def provide_recordings(demo_recordings: DemoConfig | None) -> Callable[[Path], object]:
    """What fills the folder of recordings: in the demo they are made up, elsewhere they lie there."""
    if demo_recordings is None:
        return lambda folder: folder
    return partial(generate_recordings, config=demo_recordings)


def ingest(raw_recordings: Path, corpus: str, ingestion: IngestionConfig) -> Callable[[Path], object]:
    """What reads every recording once."""
    return partial(ingest_recordings, CORPORA[corpus], raw_recordings, config=ingestion)


def list_clips(recordings: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """What was read, and what was not."""
    read = read_listing(recordings)
    return read.index, read.quarantine, read.bodies, read.facts.model_dump(mode="json")


def compare(
    recordings: Path,
    clips: pd.DataFrame,
    quarantine: pd.DataFrame,
    corpus: dict[str, Any],
    name: str,
    demo_recordings: DemoConfig | None,
) -> tuple[pd.DataFrame, str]:
    """Hold what was read against the official numbers; in the demo, against what was made up."""
    if demo_recordings is None:
        gaps, amiss = compare_with_official(clips, quarantine, CORPORA[name], corpus["class_names"])
    else:
        gaps, amiss = compare_with_official(clips, quarantine, demo_corpus(demo_recordings))
    return pd.concat([amiss, read_listing(recordings).remarks], ignore_index=True), gaps


def accept(
    clips: pd.DataFrame,
    quarantine: pd.DataFrame,
    gaps: str,
    raw_recordings: Path,
    corpus: dict[str, Any],
    ingestion: IngestionConfig,
    allow_incomplete: bool,
    protocol: str,
) -> pd.DataFrame:
    """Stop where the run should not go on; by now all lists of what is wrong are on disk."""
    accepted = accept_clips(
        clips,
        quarantine,
        gaps,
        raw_recordings,
        ingestion.max_quarantined_share,
        allow_incomplete,
        protocol,
        corpus["protocols"],
    )
    tell(accepted, quarantine, gaps)
    return accepted
