"""A protocol applied to an index: which clip is for training, validation and testing."""

import pandas as pd

from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.folds import NONE, needs_fold, take_fold
from llmar_pipeline.corpora.protocol import choose_protocol
from llmar_pipeline.corpora.shots import ShotsConfig, take_shots
from llmar_pipeline.corpora.unseen import ClassLists, UnseenConfig, hold_out
from llmar_pipeline.errors import UserError

SPLITS = ("train", "val", "test", "unused")
_SHOWN = 5  # classes that an error names


def split_run(
    index: pd.DataFrame,
    corpus: CorpusFacts,
    protocol: str,
    val_share: float = 0.1,
    fold: str = NONE,
    unseen: UnseenConfig = UnseenConfig(),  # noqa: B008  # frozen
    shots: ShotsConfig = ShotsConfig(),  # noqa: B008
) -> tuple[pd.DataFrame, ClassLists]:
    """The split of a run: by protocol, fold, unseen classes and shots; it can be trained and tested.

    Args:
        index: as `split_clips` takes it, as the next four.
        corpus: whose protocols and class names are meant.
        protocol: key of `corpus.protocols`.
        val_share: share of the training subjects that validate.
        fold: which training clips test in place of the test clips.
        unseen: which classes are kept from training, as `hold_out` takes it.
        shots: how many training clips of each class are kept, as `take_shots` takes it.

    Returns:
        What `hold_out` returns.

    Raises:
        UserError: as `split_clips` and `hold_out`; fewer than two test clips, without which no sentence can
            be given to another clip; a class that is tested or validates, but is neither trained nor unseen.

    Source: ours.
    """
    splits, classes = hold_out(
        split_clips(index, corpus, protocol, val_share, fold), corpus, protocol, unseen
    )
    splits = splits.assign(split=take_shots(splits, shots))
    if (tested := int((splits["split"] == "test").sum())) < 2:
        raise UserError(
            f"expected two test clips at least, saw {tested} test clip among the {len(splits)} of "
            f"{corpus.name} {protocol}: more of the corpus is needed, or another protocol "
            "(--params=protocol=)"
        )
    parts = pd.crosstab(splits["action"], splits["split"]).reindex(columns=list(SPLITS), fill_value=0)
    seen = parts.drop(index=list(classes.unseen), errors="ignore")
    lacking = seen[(seen["train"] == 0) & (seen["val"] + seen["test"] > 0)]
    if len(lacking):
        named = "; ".join(
            f"{name!r} ({row.val} validation and {row.test} test clips)"
            for name, row in zip(lacking.index[:_SHOWN], lacking.itertuples(index=False), strict=False)
        )
        raise UserError(
            f"{corpus.name} {protocol}: expected training clips of every class that is tested or validates, "
            f"saw none of {named}{', ...' if len(lacking) > _SHOWN else ''}: give them some, leave these "
            "classes' clips out, or choose another split (--params=protocol=, fold=)"
        )
    return splits, classes


def split_clips(
    index: pd.DataFrame, corpus: CorpusFacts, protocol: str, val_share: float = 0.1, fold: str = NONE
) -> pd.DataFrame:
    """Assign every clip of an index to a split.

    Args:
        index: one row a clip, as `ingest` returns it.
        corpus: whose protocols and class names are meant.
        protocol: key of `corpus.protocols`, as `choose_protocol` takes it.
        val_share: share of the training subjects that validate, as `Protocol` takes it.
        fold: which training clips test in place of the test clips, as `take_fold` takes it.

    Returns:
        Columns name, split, label (0-based class index of the protocol, -1 for a class that takes no part),
        action (class name), in the index's order.

    Raises:
        UserError: no such protocol or fold, or no clip left to train on or to test.
    """
    protocol = choose_protocol(protocol, corpus.protocols)
    rule = corpus.protocols[protocol]
    splits = pd.DataFrame(
        {
            "name": index["name"],
            "split": take_fold(index, rule(index, val_share), fold),
            "label": rule.labels(index["action"]),
            "action": [corpus.class_names[action] for action in index["action"]],
        }
    )
    if needs_fold(rule) and fold == NONE:
        raise UserError(
            f"protocol {protocol} has no test clips of its own: run all its folds by `kedro folds "
            f"--protocol={protocol}`, or one of them by --params=fold= (subject:<number>, 1of5)"
        )
    counts = {split: int((splits["split"] == split).sum()) for split in SPLITS}
    for needed in ("train", "test"):
        if not counts[needed]:
            raise UserError(
                f"protocol {protocol} of {corpus.name} leaves no {needed} clip among the {len(index)} read: "
                "more of the corpus is needed, or another protocol (--params=protocol=)"
            )
    return splits
