"""A protocol applied to an index: which clip is for training, validation and testing."""

import logging

import pandas as pd

from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.folds import NONE, needs_fold, take_fold
from llmar_pipeline.corpora.protocol import choose_protocol
from llmar_pipeline.errors import UserError

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test", "unused")


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
    logger.info("%s %s: %s", corpus.name, protocol, ", ".join(f"{n} {split}" for split, n in counts.items()))
    for needed in ("train", "test"):
        if not counts[needed]:
            raise UserError(
                f"protocol {protocol} of {corpus.name} leaves no {needed} clip among the {len(index)} read: "
                "more of the corpus is needed, or another protocol (--params=protocol=)"
            )
    return splits
