"""The split of a run: every class that is tested or validates is trained."""

import pandas as pd
import pytest

from llmar_pipeline.corpora.draws import spare
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.protocol import Protocol
from llmar_pipeline.corpora.shots import ShotsConfig
from llmar_pipeline.corpora.splits import split_run
from llmar_pipeline.corpora.unseen import UnseenConfig
from llmar_pipeline.errors import UserError

PARTS = {"train": 0, "val": 1, "test": 2}
RULE = Protocol("own", by="split", train=frozenset({0}), test=frozenset({2}), val=frozenset({1}))
FACTS = CorpusFacts(
    name="custom",
    class_names=("clap", "jump", "wave", "kick"),
    protocols={"own": RULE},
    units="pixels",
    vertical="down",
    metric="accuracy",
)


def index_of(**parts: str) -> pd.DataFrame:
    """Class -> the parts of its clips."""
    rows = [
        {"action": FACTS.class_names.index(name), "subject": number, "split": PARTS[part]}
        for name, words in parts.items()
        for number, part in enumerate(words.split())
    ]
    return pd.DataFrame(rows).assign(name=[f"clip{i}" for i in range(len(rows))])


@pytest.mark.parametrize(
    ("jump", "clips"), [("test test", "0 validation and 2 test"), ("val", "1 validation and 0 test")]
)
def test_a_class_without_training_clips_is_named(jump: str, clips: str) -> None:
    index = index_of(clap="train test", wave="train test", jump=jump)
    with pytest.raises(UserError, match=rf"saw none of 'jump' \({clips} clips\)"):
        split_run(index, FACTS, "own")


def test_a_class_that_only_trains_or_has_no_clip_passes() -> None:
    splits, _ = split_run(index_of(clap="train test", wave="train test", jump="train"), FACTS, "own")
    assert set(splits["action"]) == {"clap", "wave", "jump"}


def test_a_single_test_clip_is_refused() -> None:
    with pytest.raises(UserError, match="two test clips at least, saw 1 test clip among the 3"):
        split_run(index_of(clap="train test", wave="train"), FACTS, "own")


def test_unseen_classes_are_meant_to_be_without() -> None:
    names = dict.fromkeys(FACTS.class_names, "train train test test")
    splits, classes = split_run(index_of(**names), FACTS, "own", unseen=UnseenConfig(classes=2))
    assert len(classes.unseen) == 2
    assert not set(splits.loc[splits["split"] == "train", "action"]) & set(classes.unseen)


def test_few_clips_of_each_class_train() -> None:
    index = index_of(clap="train train train test", wave="train train test", jump="train test")
    splits, _ = split_run(index, FACTS, "own", shots=ShotsConfig(clips=2))
    trained = splits[splits["split"] == "train"]["action"].value_counts()
    assert trained.to_dict() == {"clap": 2, "wave": 2, "jump": 1}
    assert (splits["split"] == "unused").sum() == 1
    assert (splits["split"] == "test").sum() == 3


def test_drawn_subjects_leave_every_class_its_training_clips() -> None:
    units, actions = ["a", "a", "b", "b", "c", "c"], ["wave", "only a", "wave", "clap", "wave", "clap"]
    assert spare("abc", units, actions, 1) == {"b"}  # a holds a class of its own
    assert spare("abc", units, actions, 3) == {"b"}  # then c has the last clap
    assert spare("cba", units, actions, 1) == {"c"}
    assert spare("a", units, actions, 1) == set()


def test_validation_subjects_are_drawn_as_ever_where_all_do_everything() -> None:
    index = pd.DataFrame({"subject": [1, 2, 3, 4] * 3, "action": [0] * 4 + [1] * 4 + [2] * 4})
    index = index.assign(name=range(12))
    rule = Protocol("xsub", by="subject", train=frozenset({1, 2, 3, 4}))
    whole = rule(index, 0.5, seed=3)
    assert list(whole) == list(rule(index.drop(columns="action"), 0.5, seed=3))
    lone = index.assign(
        action=index["action"].where(index["subject"] != index["subject"][whole == "val"].iloc[0], 9)
    )
    assert set(lone[rule(lone, 0.5, seed=3) == "train"]["action"]) == set(lone["action"])


def test_unseen_classes_of_a_fold_are_tested_on_training_clips_alone() -> None:
    """What is chosen so has read no test clip."""
    index = index_of(**dict.fromkeys(FACTS.class_names, "train train train test"))
    splits, classes = split_run(index, FACTS, "own", fold="1of3", unseen=UnseenConfig(classes=2))
    trained_in = index.set_index("name")["split"] == PARTS["train"]
    tested = splits[splits["split"] == "test"]
    assert set(tested["action"]) == set(classes.unseen)
    assert trained_in[tested["name"]].all()
    assert not set(splits.loc[splits["split"] == "train", "action"]) & set(classes.unseen)
