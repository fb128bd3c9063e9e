"""Reading a folder of recordings once, into one store; what cannot be read is listed, not lost."""

import logging
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Damaged
from llmar_pipeline.skeletons.store import StoreWriter

logger = logging.getLogger(__name__)

QUARANTINE_COLUMNS = ["name", "file", "line", "expected", "seen"]


class IngestionConfig(BaseModel):
    """How much damage is put up with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_quarantined_share: float = Field(ge=0, le=1)  # of all files; above it the run refuses to go on


def ingest(
    corpus: Corpus, raw: Path, target: Path, config: IngestionConfig
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read every recording of a folder into a store.

    Args:
        corpus: who knows the format.
        raw: folder of recordings.
        target: folder of the store; replaced.
        config: limits.

    Returns:
        (index, quarantine): one row a readable clip (name, frames, and what its name says: action,
        subject, camera, ...), and one row a file left out (name, file, line, expected, seen).

    Raises:
        UserError: no recordings there, or too large a share of them damaged.
    """
    rows: list[dict[str, object]] = []
    damaged: list[Damaged] = []
    with StoreWriter(
        target, corpus.persons, len(corpus.topology.joints), corpus.topology.coordinates
    ) as writer:
        for item in corpus.read(raw):
            if isinstance(item, Damaged):
                damaged.append(item)
                continue
            writer.append(item)
            rows.append({"name": item.name, "frames": item.n_frames, **corpus.parse_name(item.name)})
    total = len(rows) + len(damaged)
    quarantine = pd.DataFrame([vars(item) for item in damaged], columns=QUARANTINE_COLUMNS)
    quarantine["line"] = quarantine["line"].astype("Int64")
    if damaged:
        logger.warning("%d of %d recordings left out: see quarantine.parquet", len(damaged), total)
    if len(damaged) > config.max_quarantined_share * total:
        first = damaged[0]
        raise UserError(
            f"{len(damaged)} of {total} recordings in {raw} cannot be read, more than the share of "
            f"{config.max_quarantined_share} allowed (ingestion.max_quarantined_share); "
            f"the first: {first.file}, line {first.line}: expected {first.expected}, seen {first.seen}"
        )
    logger.info("%d recordings read from %s", len(rows), raw)
    return pd.DataFrame(rows), quarantine
