"""The rule that makes training, validation and test clips of an index."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from llmar_pipeline.corpora.draws import spare
from llmar_pipeline.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


logger = logging.getLogger(__name__)

FOLDED = ("leave_one_subject_out", "k_fold")
"""Protocols of users' own recordings that have test clips once a fold is named."""

_USUAL = "split"  # what conf/custom asks for where nobody names another


def choose_protocol(wanted: str, known: Iterable[str]) -> str:
    """The protocol of that name.

    Where nobody names one, and there is just one beside the `FOLDED` ones, it is that, and it is said.

    Raises:
        UserError: If there is none of that name.
    """
    known = list(known)
    if wanted in known:
        return wanted
    if wanted == _USUAL and len(proper := [name for name in known if name not in FOLDED]) == 1:
        _tell(wanted, proper[0])
        return proper[0]
    raise UserError(
        f"unknown protocol '{wanted}': choose one of {', '.join(known)} (--params=protocol=<protocol>)"
    )


@functools.cache
def _tell(wanted: str, taken: str) -> None:
    logger.warning("no protocol '%s': taking %s, the only one that there is", wanted, taken)


@dataclass(frozen=True)
class Protocol:
    """A rule from the index of a corpus to training, validation and test clips.

    Where the corpus has no official validation part, it is whole training subjects: no person is in both,
    test clips are never touched, and every class keeps training clips.

    Attributes:
        name: Short name, as on the command line.
        by: The index column that decides.
        train: Its values that train.
        test: Its values that test; None stands for all others.
        val: Its values that validate, where the corpus's authors fixed them.
        actions: The corpus's labels that take part, in the order of the protocol's own labels; None stands
            for all, in the corpus's order.
        counts: Official numbers of training and test clips (a carved validation part counts as training),
            None where no source gives them.
        excluded: Names of clips that the corpus's authors ask everyone to leave out.
    """

    name: str
    by: str
    train: frozenset[int]
    test: frozenset[int] | None = None
    val: frozenset[int] | None = None
    actions: tuple[int, ...] | None = None
    counts: tuple[int, int] | None = None
    excluded: frozenset[str] = field(default=frozenset(), repr=False)

    def __call__(self, index: pd.DataFrame, val_share: float = 0.1, seed: int = 0) -> pd.Series:
        """Splits an index.

        Args:
            index: One row a clip: `name`, `subject`, the deciding column, and `action`, whose values then
                keep training clips each, as `Corpus.parse_name` gives them.
            val_share: Share of the training subjects that validate instead: at least one, unless the share
                is 0, or each subject is the only one to train some class. 0 gives the official split.
            seed: Picks the subjects; the order of the rows does not matter.

        Returns:
            "train", "val", "test" or "unused" for each row, indexed like `index`.

        Raises:
            UserError: If a column is missing.
        """
        import pandas as pd

        needed = ["name", "subject", self.by] + (["action"] if self.actions is not None else [])
        lacking = sorted(set(needed) - set(index.columns))
        if lacking:
            raise UserError(
                f"Protocol {self.name!r}: expected the index columns {', '.join(dict.fromkeys(needed))}; "
                f"saw no {', '.join(lacking)}; make the index with Corpus.parse_name."
            )
        decides = index[self.by]
        usable = decides.notna() & ~index["name"].isin(self.excluded)
        if self.actions is not None:
            usable &= index["action"].isin(self.actions)
        train = usable & decides.isin(self.train)
        val = usable & decides.isin(self.val or ()) & ~train
        others = ~(decides.isin(self.train) | decides.isin(self.val or ()))
        test = usable & (others if self.test is None else decides.isin(self.test))
        if self.val is None:
            subjects = np.array(sorted(index.loc[train.to_numpy(), "subject"].unique()))
            n_val = max(1, round(val_share * len(subjects))) if val_share > 0 and len(subjects) > 1 else 0
            drawn = np.random.default_rng(seed).permutation(subjects).tolist()
            training = index[train.to_numpy()]
            actions = training["action"].tolist() if "action" in index else []
            val = train & index["subject"].isin(spare(drawn, training["subject"].tolist(), actions, n_val))
        split = np.select([val, train, test], ["val", "train", "test"], "unused")
        return pd.Series(split, index=index.index, name="split", dtype="str")

    def labels(self, actions: pd.Series) -> pd.Series:
        """The protocol's own labels of the corpus's labels; -1 for an action that takes no part."""
        if self.actions is None:
            return actions
        own = {action: label for label, action in enumerate(self.actions)}
        return actions.map(lambda action: own.get(action, -1)).astype("int64")
