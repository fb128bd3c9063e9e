"""Folds: a part of the training clips that tests in place of the test clips, which are then not read."""

import re

import numpy as np
import pandas as pd

from llmar_pipeline.corpora.protocol import Protocol
from llmar_pipeline.errors import UserError

NONE = "none"
COLUMNS = ("subject", "camera", "setup", "replication")
"""Of an index: those whose values may be left out."""
SEED = 0

_FORM = re.compile(r"(?P<column>[a-z]+):(?P<value>-?\d+)|(?P<part>\d+)of(?P<parts>\d+)")


def suffix(fold: str) -> str:
    """What tells folders of different folds apart; empty without one.

    Args:
        fold: "none", `<column>:<value>` or `<part>of<parts>`.

    Raises:
        UserError: Something else.

    Source: ours.
    """
    if fold == NONE:
        return ""
    if not _FORM.fullmatch(str(fold)):
        raise UserError(
            f"fold={fold}: expected none, a column and a value such as subject:5, or a part such as 1of5 "
            "(--params=fold=)"
        )
    return f"-fold-{fold.replace(':', '')}"


def needs_fold(protocol: Protocol) -> bool:
    """Whether all clips of the protocol train, so that only its folds can be tested. Source: ours."""
    return protocol.test == frozenset()


def take_fold(index: pd.DataFrame, split: pd.Series, fold: str) -> pd.Series:
    """Test on a part of the training clips, and train on the others.

    Args:
        index: One row a clip: `name`, `action`, `subject` and whatever else its name says.
        split: "train", "val", "test" or "unused" of each, as a `Protocol` gives it.
        fold: `<column>:<value>` tests the training clips with that value; `<part>of<parts>` tests a drawn
            part: of the subjects, or of each class's clips where there are no two subjects or each clip has
            one of its own. "none" leaves the split as it is.

    Returns:
        The split. Training and validation clips are "train" or "test", all others "unused".

    Raises:
        UserError: No training clip has the value, or all have; or there are not as many parts.

    Source: ours.
    """
    if fold == NONE:
        return split
    training = split.isin(["train", "val"])
    clips = index[training]
    suffix(fold)
    form = _FORM.fullmatch(fold)
    assert form is not None
    if form["column"]:
        there = training_values(clips)
        value = int(form["value"])
        if value not in there.get(form["column"], []):
            values = "; ".join(f"{column} {', '.join(map(str, all_))}" for column, all_ in there.items())
            raise UserError(
                f"fold={fold}: expected a column and a value of the {len(clips)} training clips, of which "
                f"there are {values or 'none with two values'} (--params=fold=<column>:<value>)"
            )
        tests = clips[form["column"]] == value
    else:
        tests = _parts(clips, fold, int(form["parts"])) == int(form["part"]) - 1
    tested = tests.reindex(index.index, fill_value=False)
    chosen = np.select([~training, tested], ["unused", "test"], "train")
    return pd.Series(chosen, index=index.index, name=split.name, dtype="str")


def training_values(clips: pd.DataFrame) -> dict[str, list[int]]:
    """Column -> its values in some clips, in order, where there are two at least. Source: ours."""
    values = {column: sorted(clips[column].dropna().unique()) for column in COLUMNS if column in clips}
    return {column: [int(value) for value in all_] for column, all_ in values.items() if len(all_) > 1}


def _parts(clips: pd.DataFrame, fold: str, parts: int) -> pd.Series:
    """The part of each clip, from 0; the order of the rows does not matter."""
    by_subject = 1 < clips["subject"].nunique() < len(clips)
    units = clips.drop_duplicates("subject").sort_values("subject") if by_subject else clips
    if not 1 <= int(fold.partition("of")[0]) <= parts or not 2 <= parts <= len(units):
        raise UserError(
            f"fold={fold}: expected a part from 1 on, of 2 to {len(units)} parts, as many as there are "
            f"{'subjects' if by_subject else 'clips'} to train (--params=fold=1of2)"
        )
    rng = np.random.default_rng(SEED)
    if by_subject:
        drawn = {subject: i % parts for i, subject in enumerate(rng.permutation(units["subject"]))}
        return clips["subject"].map(drawn)
    shuffled = clips.sort_values("name").iloc[rng.permutation(len(clips))]
    by_class = shuffled.sort_values("action", kind="stable")
    return pd.Series(np.arange(len(by_class)) % parts, index=by_class.index).reindex(clips.index)
