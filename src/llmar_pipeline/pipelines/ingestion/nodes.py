"""Raw recordings -> one store of sequences, its index, and what was left out."""

from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.completeness import check_completeness
from llmar_pipeline.corpora.demo_recordings import DemoConfig, generate_recordings
from llmar_pipeline.corpora.ingestion import IngestionConfig
from llmar_pipeline.corpora.ingestion import ingest as ingest_recordings


def provide_recordings(raw_folder: Path, demo_recordings: DemoConfig | None) -> Path:
    """The folder of recordings; in the demo they are made up first."""
    if demo_recordings is not None:
        generate_recordings(raw_folder, demo_recordings)
    return raw_folder


def ingest(
    raw_recordings: Path, recordings_folder: Path, corpus: str, ingestion: IngestionConfig
) -> tuple[Path, pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Read every recording once."""
    read = ingest_recordings(CORPORA[corpus], raw_recordings, recordings_folder, ingestion)
    return recordings_folder, read.index, read.quarantine, read.bodies, read.facts.model_dump(mode="json")


def check(index: pd.DataFrame, quarantine: pd.DataFrame, corpus: str, allow_incomplete: bool) -> pd.DataFrame:
    """Refuse to go on with a part of a corpus, unless that is what is wanted."""
    return check_completeness(index, quarantine, CORPORA[corpus], allow_incomplete)
