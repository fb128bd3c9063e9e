"""Classes that training never sees: which they are, and the split without them."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.protocol import choose_protocol
from llmar_pipeline.errors import UserError

NONE = "none"

LITERATURE: dict[str, dict[str, tuple[int, ...]]] = {
    "ntu60": {
        "55-5": (11, 12, 20, 27, 57),
        "48-12": (4, 6, 10, 13, 16, 41, 43, 48, 52, 57, 59, 60),
    },
    "ntu120": {
        "110-10": (5, 14, 38, 44, 50, 66, 89, 96, 100, 107),
        "96-24": (
            *(6, 10, 12, 17, 19, 21, 23, 30, 36, 40, 46, 50),
            *(60, 69, 71, 82, 85, 88, 94, 95, 105, 114, 115, 120),
        ),
    },
}
"""Corpus -> name of the split (seen-unseen) -> unseen actions, counted from 1 as in file names.

Source: `config.py` of github.com/YujieOuO/SMIE (unseen_label_5, 12, 10 and 24, there from 0), as used by the
methods that followed. The splits are those of SynSE (Gupta et al., ICIP 2021); the README of
github.com/skelemoa/synse-zsl lists the same classes for the first three, and other ones for 96-24.
"""


class UnseenConfig(BaseModel):
    """Which classes are kept from training.

    Attributes:
        classes: "none", a number of classes drawn at random, or the name of a split of the literature.
        seed: Of the draw.
        generalized: Seen classes are tested too, and a clip may be called by the name of any class. Else, as
            in the paper, unseen ones alone are tested and their names are the whole list.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: int | str = NONE
    seed: int = Field(default=0, ge=0)
    generalized: bool = False

    def suffix(self, corpus: str) -> str:
        """What tells folders of runs with different unseen classes apart; empty without any.

        Args:
            corpus: Key of CORPORA, which decides which named splits there are.

        Raises:
            UserError: Neither "none" nor a number from 2 on nor a split of that corpus; or generalized
                without unseen classes.
        """
        asked = "-generalized" if self.generalized else ""
        if self.classes == NONE:
            if asked:
                raise UserError(
                    "generalized=true: expected unseen classes beside the seen ones, saw none; add "
                    "unseen=<number> (--params=unseen=)"
                )
            return ""
        if isinstance(self.classes, int) and self.classes >= 2:
            return f"-unseen{self.classes}-seed{self.seed}{asked}"
        named = LITERATURE.get(corpus, {})
        if self.classes not in named:
            choices = ["none", "a number of classes from 2 on", *named]
            raise UserError(
                f"unknown unseen classes '{self.classes}': choose {', '.join(choices)} (--params=unseen=)"
            )
        return f"-unseen{self.classes}{asked}"


class ClassLists(BaseModel):
    """The classes of a split.

    Attributes:
        seen: Names of the classes that train, in label order.
        unseen: Names of those that only the test knows, in label order; none as a rule.
        asked: What a test clip may be called where that is not as in training: the unseen ones, or all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    asked: tuple[str, ...] = ()


def told_apart(class_lists: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """The unseen classes of a run whose test asks for seen ones beside them; else none.

    Args:
        class_lists: As `ClassLists` is written.
    """
    return class_lists["unseen"] if len(class_lists["asked"]) > len(class_lists["unseen"]) else ()


def hold_out(
    splits: pd.DataFrame, corpus: CorpusFacts, protocol: str, unseen: UnseenConfig
) -> tuple[pd.DataFrame, ClassLists]:
    """Train and validate on seen classes only, and test on unseen ones only, or on all where generalized.

    All other clips become "unused". Subjects, cameras and setups of the protocol stay apart, too: a test clip
    shows an unseen class and a person (or camera, or setup) that was not in training.

    Args:
        splits: As `split_clips` returns it: name, split, label, action.
        corpus: Whose class names are meant.
        protocol: Key of `corpus.protocols`.
        unseen: Which classes; "none" leaves the table as it is.

    Returns:
        The table with another column `split`, and both class lists. A drawn class has test clips; a class of
        the literature's split is in the list whether its clips are there or not.

    Raises:
        UserError: No such split, more classes than there are, or no clip left to train on or to test.

    Source: "Evaluation on unseen activity classes" of the paper (Table 8): 3 classes of NTU RGB+D 120, drawn
        at random, form the list of testing classes, all others train. The paper names neither a protocol nor
        the classes; that the protocol's split of subjects (or setups) holds as well is ours.
    """
    labels = _choose(splits, corpus.name, unseen)
    parts = without_unseen(splits["split"], splits["label"], labels, unseen.generalized)
    result = splits.assign(split=parts)
    for needed in ("train", "test"):
        if not (result["split"] == needed).any():
            raise UserError(
                f"unseen={unseen.classes} leaves no {needed} clip of {corpus.name} {protocol} among the "
                f"{len(splits)} read: more of the corpus is needed, or other classes (--params=unseen=)"
            )
    train = result[result["split"] == "train"].drop_duplicates("label").sort_values("label")
    own = corpus.protocols[choose_protocol(protocol, corpus.protocols)].actions or range(
        len(corpus.class_names)
    )
    names = tuple(corpus.class_names[own[label]] for label in labels)
    seen = tuple(train["action"])
    asked = (*seen, *names) if names and unseen.generalized else names
    return result, ClassLists(seen=seen, unseen=names, asked=asked)


def without_unseen(
    split: pd.Series, labels: pd.Series, unseen: Collection[int], generalized: bool = False
) -> pd.Series:
    """A split in which unseen classes do not train or validate, and seen ones do not test.

    Args:
        split: "train", "val", "test" or "unused" of every clip.
        labels: Class of every clip.
        unseen: Unseen classes; none of them leaves the split as it is.
        generalized: Seen classes test as well.
    """
    if not unseen:
        return split
    tested = split == "test"
    kept = ~labels.isin(unseen) | tested if generalized else labels.isin(unseen) == tested
    return split.where(kept, "unused")


def draw_classes(labels: Sequence[int], count: int, seed: int) -> tuple[int, ...]:
    """Draw classes without replacement.

    Args:
        labels: Classes to draw from, in ascending order.
        count: How many.
        seed: Of the draw.

    Returns:
        The drawn classes in ascending order.

    Raises:
        UserError: Fewer than two classes would be left to train on.
    """
    if count > len(labels) - 2:
        raise UserError(
            f"unseen={count}: expected at most {max(len(labels) - 2, 0)}, two less than the {len(labels)} "
            "classes with test clips; choose fewer (--params=unseen=)"
        )
    return tuple(sorted(np.random.default_rng(seed).choice(labels, count, replace=False).tolist()))


def _choose(splits: pd.DataFrame, corpus: str, unseen: UnseenConfig) -> tuple[int, ...]:
    if not unseen.suffix(corpus):
        return ()
    if isinstance(unseen.classes, int):
        tested = splits.loc[splits["split"] == "test", "label"]
        return draw_classes(sorted(tested.unique().tolist()), unseen.classes, unseen.seed)
    return tuple(action - 1 for action in LITERATURE[corpus][unseen.classes])
