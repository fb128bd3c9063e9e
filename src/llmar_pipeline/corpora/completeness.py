"""Whether all of a corpus is there: its clips against the official numbers."""

import logging

import pandas as pd

from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.errors import UserError

logger = logging.getLogger(__name__)

_SHOWN = 5  # names that an error quotes


def check_completeness(
    index: pd.DataFrame, quarantine: pd.DataFrame, corpus: Corpus, allow_incomplete: bool
) -> pd.DataFrame:
    """Compare what was read with what the corpus officially has.

    Args:
        index: one row a readable clip, as `ingest` gives it.
        quarantine: one row a clip left out.
        corpus: whose official numbers are meant; one without any is always complete.
        allow_incomplete: go on all the same, with a warning.

    Returns:
        One row a clip amiss: name, problem ("missing", "quarantined" or "too many"). Missing clips are named
        as far as the corpus's plan tells; the message has their number.

    Raises:
        UserError: the numbers differ, and `allow_incomplete` is False.
    """
    message, amiss = compare(index, quarantine, corpus)
    if not message:
        return amiss
    if not allow_incomplete:
        raise UserError(
            f"{message} Results on other clips cannot be compared with published ones. "
            "Add or remove the files, or go on with --params=allow_incomplete=true"
        )
    logger.warning("%s", message)
    return amiss


def compare(index: pd.DataFrame, quarantine: pd.DataFrame, corpus: Corpus) -> tuple[str, pd.DataFrame]:
    """What a corpus lacks or has too many of.

    Args:
        index: one row a clip: `name` and what it says.
        quarantine: one row a clip left out.
        corpus: whose official numbers are meant.

    Returns:
        One or two sentences, empty where all numbers are the official ones; and the clips amiss, as
        `check_completeness` returns them.
    """
    amiss = _clips_amiss(index, quarantine, corpus)
    differences = _differences(index, corpus)
    if not differences:
        return "", amiss[amiss["problem"] == "quarantined"]
    named = "; ".join(
        f"{len(clips)} {problem} by name: {', '.join(clips['name'].head(_SHOWN))}"
        + (", ..." if len(clips) > _SHOWN else "")
        for problem, clips in amiss.groupby("problem")
    )
    message = f"{corpus.name} is not complete: {'; '.join(differences)}."
    return message + (f" {named}." if named else ""), amiss


def _differences(index: pd.DataFrame, corpus: Corpus) -> list[str]:
    """Official against seen numbers where they differ, and classes or training values without a clip."""
    found = [("clips", corpus.clips, len(index))]
    for protocol in corpus.protocols.values():
        if protocol.counts is not None:
            split = protocol(index, val_share=0)
            for part, official in zip(("train", "test"), protocol.counts, strict=True):
                found.append((f"{part} clips of {protocol.name}", official, int((split == part).sum())))
    differences = [
        f"expected {official:,} {what}, saw {seen:,} ({_gap(official, seen)})"
        for what, official, seen in found
        if official is not None and official != seen
    ]
    empty = len(set(range(len(corpus.class_names))) - set(index["action"]))
    if empty:
        differences.append(f"{empty} of {len(corpus.class_names)} classes have no clip")
    for protocol in corpus.protocols.values():
        absent = len(protocol.train - set(index[protocol.by]))
        if absent:
            differences.append(
                f"{absent} of the {len(protocol.train)} {protocol.by}s that train in {protocol.name} "
                "have no clip"
            )
    return differences


def _gap(official: int, seen: int) -> str:
    return f"{official - seen:,} missing" if seen < official else f"{seen - official:,} too many"


def _clips_amiss(index: pd.DataFrame, quarantine: pd.DataFrame, corpus: Corpus) -> pd.DataFrame:
    present, damaged = set(index["name"]), set(quarantine["name"])
    captured = corpus.captured(index) - corpus.excluded if corpus.captured else None
    rows = [(name, "quarantined") for name in damaged if captured is None or name in captured]
    if captured is not None:
        rows += [(name, "missing") for name in captured - present - damaged]
        rows += [(name, "too many") for name in present - captured]
    return pd.DataFrame(sorted(rows), columns=["name", "problem"]).astype("str")
