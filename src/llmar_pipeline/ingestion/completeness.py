"""Whether all of a corpus is there: its clips against the official numbers."""

from collections.abc import Sequence

import pandas as pd

from llmar_pipeline.corpora.corpus import Corpus

_SHOWN = 5  # names that an error quotes


def compare(
    index: pd.DataFrame,
    quarantine: pd.DataFrame,
    corpus: Corpus,
    class_names: Sequence[str] | None = None,
) -> tuple[str, pd.DataFrame]:
    """What a corpus lacks or has too many of.

    Args:
        index: one row a clip: `name` and what it says.
        quarantine: one row a clip left out.
        corpus: whose official numbers are meant.
        class_names: of users' own recordings, whose classes are known from their folder; else the corpus's.

    Returns:
        One or two sentences, empty where all numbers are the official ones; and one row a clip amiss: name,
        problem ("missing", "quarantined" or "too many"). Missing clips are named as far as the corpus's
        plan tells; the sentences have their number.
    """
    if index.empty:
        return "no recording could be read.", pd.DataFrame(columns=["name", "problem"], dtype="str")
    amiss = _clips_amiss(index, quarantine, corpus)
    differences = _differences(index, corpus, corpus.class_names if class_names is None else class_names)
    if not differences:
        return "", amiss[amiss["problem"] == "quarantined"]
    named = "; ".join(
        f"{len(clips)} {problem} by name: {', '.join(clips['name'].head(_SHOWN))}"
        + (", ..." if len(clips) > _SHOWN else "")
        for problem, clips in amiss.groupby("problem")
    )
    message = f"{corpus.name} is not complete: {'; '.join(differences)}."
    return message + (f" {named}." if named else ""), amiss


def _differences(index: pd.DataFrame, corpus: Corpus, class_names: Sequence[str]) -> list[str]:
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
    expected = {k for k in range(len(class_names)) if corpus.class_clips is None or corpus.class_clips[k]}
    if empty := sorted(expected - set(index["action"])):
        some = ", ".join(class_names[label] for label in empty[:_SHOWN])
        some += ", ..." if len(empty) > _SHOWN else ""
        differences.append(f"{len(empty)} of {len(expected)} classes have no clip ({some})")
    seen = index["action"].value_counts()
    wrong = [
        f"{corpus.class_names[label]} {seen.get(label, 0):,} of {official:,}"
        for label, official in enumerate(corpus.class_clips or ())
        if seen.get(label, 0) not in (0, official)
    ]
    if wrong:
        some = ", ".join(wrong[:_SHOWN]) + (", ..." if len(wrong) > _SHOWN else "")
        differences.append(f"classes that differ: {some}")
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
