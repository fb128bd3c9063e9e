"""Raw recordings -> one store of sequences, its index, and the quarantine."""

from pathlib import Path

import pandas as pd

from llmar_pipeline.corpora import CORPORA
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
) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """Read every recording once."""
    index, quarantine = ingest_recordings(CORPORA[corpus], raw_recordings, recordings_folder, ingestion)
    return recordings_folder, index, quarantine
