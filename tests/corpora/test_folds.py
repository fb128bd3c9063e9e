"""Training clips that test, and test clips that nobody reads."""

from dataclasses import replace

import pandas as pd
import pytest

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.cameras import new_cameras
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.folds import needs_fold, suffix, take_fold
from llmar_pipeline.corpora.protocol import Protocol
from llmar_pipeline.corpora.splits import split_clips
from llmar_pipeline.errors import UserError

XVIEW = Protocol("xview", by="camera", train=frozenset({1, 2}), test=frozenset({3}))
ALL = Protocol("k_fold", by="action", train=frozenset(range(3)), test=frozenset(), val=frozenset())
FACTS = CorpusFacts.of(
    replace(CORPORA["nwucla"], class_names=("a", "b", "c"), protocols={"xview": XVIEW, "k_fold": ALL})
)


def index(subjects: int = 6, cameras: int = 3) -> pd.DataFrame:
    rows = [(s, c, a) for s in range(1, subjects + 1) for c in range(1, cameras + 1) for a in range(3)]
    frame = pd.DataFrame(rows, columns=["subject", "camera", "action"])
    return frame.assign(name=[f"s{s}c{c}a{a}" for s, c, a in rows])


def split(fold: str, protocol: str = "xview", val_share: float = 0.1, clips: pd.DataFrame | None = None):
    clips = index() if clips is None else clips
    return split_clips(clips, FACTS, protocol, val_share, fold).set_index("name")["split"]


@pytest.mark.parametrize("val_share", [0, 0.1, 0.5])
@pytest.mark.parametrize(
    ("fold", "column", "value"), [("camera:1", "camera", 1), ("subject:5", "subject", 5)]
)
def test_a_value_of_the_training_clips_tests_and_no_test_clip_is_read(val_share, fold, column, value):
    rows = index().set_index("name")
    found = split(fold, val_share=val_share)
    official = split("none", val_share=0)
    assert set(found[official == "test"]) == {"unused"}
    assert set(found[(official == "train") & (rows[column] == value)]) == {"test"}
    assert set(found[(official == "train") & (rows[column] != value)]) == {"train"}
    assert found.value_counts().sum() == len(rows)


def test_clips_that_take_no_part_stay_out():
    rule = replace(XVIEW, excluded=frozenset({"s1c1a0"}), val=frozenset({4}))
    clips = index(cameras=4)
    found = take_fold(clips, rule(clips), "subject:1")
    assert found[clips["name"] == "s1c1a0"].item() == "unused"
    assert set(found[(clips["camera"] == 4) & (clips["subject"] == 1)]) == {"test"}  # the official val part
    assert set(found[(clips["camera"] == 4) & (clips["subject"] == 2)]) == {"train"}


def test_parts_are_whole_subjects_each_once_whatever_the_order_of_the_rows():
    clips = index()
    parts = [split(f"{part}of3", "k_fold") for part in (1, 2, 3)]
    whose = [set(part[part == "test"].index.str[:2]) for part in parts]
    assert [len(subjects) for subjects in whose] == [2, 2, 2]
    assert len(set.union(*whose)) == 6
    again = split("1of3", "k_fold", clips=clips.sample(frac=1, random_state=1).reset_index(drop=True))
    assert again.sort_index().equals(parts[0].sort_index())


@pytest.mark.parametrize("subjects", ["one", "each clip its own"])
def test_parts_are_drawn_from_each_class_where_there_are_no_subjects(subjects):
    clips = index()
    clips["subject"] = 1 if subjects == "one" else range(len(clips))
    parts = [split(f"{part}of4", "k_fold", clips=clips) for part in range(1, 5)]
    tested = [part[part == "test"].index for part in parts]
    assert sorted(name for names in tested for name in names) == sorted(clips["name"])
    for names in tested:
        counts = names.str[-1].value_counts()
        assert set(counts.index) == {"0", "1", "2"}
        assert counts.max() - counts.min() <= 1
    again = split("2of4", "k_fold", clips=clips.iloc[::-1].reset_index(drop=True))
    assert again.sort_index().equals(parts[1].sort_index())


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        ("camera:3", "36 training clips, of which there are subject 1, 2, 3, 4, 5, 6; camera 1, 2 "),
        ("setup:1", "subject 1, 2, 3, 4, 5, 6; camera 1, 2 "),
        ("action:1", "subject 1, 2, 3, 4, 5, 6; camera 1, 2 "),
        ("7of7", "of 2 to 6 parts, as many as there are subjects"),
        ("0of2", "a part from 1 on"),
        ("3of2", "a part from 1 on"),
        ("1of1", "of 2 to 6 parts"),
        ("camera=1", "expected none, a column and a value"),
        ("camera:", "expected none, a column and a value"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(fold, expected):
    with pytest.raises(UserError) as error:
        split(fold)
    assert str(error.value).startswith(f"fold={fold}: ")
    assert expected in str(error.value)


def test_a_column_of_one_value_leaves_nothing_to_train():
    with pytest.raises(UserError, match="there are none with two values"):
        split("camera:1", clips=index(subjects=1).query("camera != 2"))


def test_a_protocol_without_test_clips_asks_for_a_fold():
    assert needs_fold(ALL)
    assert not any(needs_fold(rule) for corpus in CORPORA.values() for rule in corpus.protocols.values())
    with pytest.raises(UserError, match="run all its folds by `kedro folds --protocol=k_fold`"):
        split("none", "k_fold")


def test_names_of_folders():
    assert [suffix(fold) for fold in ("none", "camera:1", "2of5")] == ["", "-fold-camera1", "-fold-2of5"]


@pytest.mark.parametrize(("fold", "new"), [("none", True), ("camera:1", True), ("subject:5", False)])
def test_whether_the_test_clips_come_from_other_cameras(fold, new):
    assert new_cameras(index(), split(fold).reset_index()) is new
    assert not new_cameras(index().drop(columns="camera"), split(fold).reset_index())
    assert not new_cameras(index().assign(camera=float("nan")), split(fold).reset_index())
