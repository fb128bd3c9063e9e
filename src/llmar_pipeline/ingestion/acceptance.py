"""Whether a run may go on with what was read, or must ask its user first."""

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from llmar_pipeline.corpora.protocol import choose_protocol
from llmar_pipeline.errors import UserError

logger = logging.getLogger(__name__)


def accept(
    clips: pd.DataFrame,
    quarantine: pd.DataFrame,
    gaps: str,
    raw: Path,
    max_quarantined_share: float,
    allow_incomplete: bool,
    protocol: str,
    protocols: Iterable[str],
) -> pd.DataFrame:
    """Whether a run may go on with these clips.

    Args:
        clips: one row a readable clip.
        quarantine: one row a clip left out: file, line, expected, seen.
        gaps: how the clips differ from the official numbers; empty where they do not.
        raw: where they were read, for the message.
        max_quarantined_share: of all clips; above it the run refuses to go on.
        allow_incomplete: go on although there are gaps.
        protocol: the protocol wanted.
        protocols: those that the corpus has.

    Returns:
        `clips`.

    Raises:
        UserError: nothing or too little could be read, the corpus is not complete, or it has no such
            protocol.
    """
    if damage := too_many_damaged(clips, quarantine, raw, max_quarantined_share):
        raise UserError(damage)
    if gaps and not allow_incomplete:
        raise UserError(
            f"{gaps} Results on other clips cannot be compared with those of others. "
            "Add or remove the files, or go on with --params=allow_incomplete=true"
        )
    choose_protocol(protocol, protocols)
    return clips


def tell(clips: pd.DataFrame, quarantine: pd.DataFrame, gaps: str) -> None:
    """Say what is wrong with clips although the run goes on; all is as in `accept`."""
    if len(quarantine):
        total = len(clips) + len(quarantine)
        logger.warning("%d of %d recordings left out: see quarantine.parquet", len(quarantine), total)
    if gaps:
        logger.warning("%s", gaps)


def too_many_damaged(
    clips: pd.DataFrame, quarantine: pd.DataFrame, raw: Path, max_quarantined_share: float
) -> str:
    """What to say where nothing or too little can be read; empty where enough can be.

    Args:
        clips: one row a readable clip.
        quarantine: one row a clip left out.
        raw: where they were read.
        max_quarantined_share: of all clips.
    """
    total = len(clips) + len(quarantine)
    if len(clips) and len(quarantine) <= max_quarantined_share * total:
        return ""
    first = quarantine.iloc[0]
    line = "" if pd.isna(first["line"]) else f", line {first['line']}"
    return (
        f"{len(quarantine)} of {total} recordings in {raw} cannot be read, more than the share of "
        f"{max_quarantined_share} allowed (ingestion.max_quarantined_share); "
        f"the first: {first['file']}{line}: expected {first['expected']}, saw {first['seen']}"
    )
