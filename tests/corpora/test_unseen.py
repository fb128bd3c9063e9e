from itertools import product

import pandas as pd
import pytest

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.ntu import CLASS_NAMES, MISSING_60, NTU60
from llmar_pipeline.corpora.splits import split_clips
from llmar_pipeline.corpora.unseen import LITERATURE, UnseenConfig, draw_classes, hold_out, without_unseen
from llmar_pipeline.errors import UserError

FACTS = CorpusFacts.of(NTU60)
TEST_SUBJECTS = sorted(set(range(1, 41)) - NTU60.protocols["xsub"].train)


def index_of(names):
    return pd.DataFrame([{"name": name, **NTU60.parse_name(name)} for name in names])


def fully_recorded(actions=range(1, 61)):
    """56,880 made-up names with the official share of training subjects, but for the missing list."""
    sessions = {(name[:4], int(name[9:12])) for name in MISSING_60}
    missing_test = sum(int(name[9:12]) in TEST_SUBJECTS for name in MISSING_60)
    for subjects, clips in [
        (NTU60.protocols["xsub"].train, 40_091 + 302 - missing_test),
        (TEST_SUBJECTS, 16_487 + missing_test),
    ]:
        for setup, subject in product(range(1, 18), sorted(subjects)):
            if sum(person in subjects for _, person in sessions) < clips // 360:
                sessions.add((f"S{setup:03}", subject))
    return [
        name
        for (setup, subject), camera, replication, action in product(sessions, (1, 2, 3), (1, 2), actions)
        if (name := f"{setup}C00{camera}P{subject:03}R00{replication}A{action:03}") not in MISSING_60
    ]


def missing(actions, camera=None, test_subjects=False):
    return sum(
        int(name[17:20]) in actions
        and (camera is None or name[4:8] == camera)
        and (not test_subjects or int(name[9:12]) in TEST_SUBJECTS)
        for name in MISSING_60
    )


@pytest.mark.parametrize(("split", "seen"), [("55-5", 55), ("48-12", 48)])
def test_the_literatures_splits_of_all_of_ntu60(split, seen):
    index = index_of(fully_recorded())
    unseen = set(LITERATURE["ntu60"][split])
    for protocol, official_test in (("xsub", 16_487), ("xview", 18_932)):
        before = split_clips(index, FACTS, protocol)
        assert (before["split"] == "test").sum() == official_test
        after, lists = hold_out(before, FACTS, protocol, UnseenConfig(classes=split))
        assert len(lists.seen) == seen
        assert lists.unseen == tuple(CLASS_NAMES[action - 1] for action in sorted(unseen))
        count = after["split"].value_counts()
        if protocol == "xview":  # each class fills 56,880 / 60 / 3 clips a camera
            assert count["test"] == 316 * len(unseen) - missing(unseen, "C001")
            gone = missing(set(range(1, 61)) - unseen) - missing(set(range(1, 61)) - unseen, "C001")
            assert count["train"] + count["val"] == 2 * 316 * seen - gone
        else:
            per_class = (official_test + missing(range(1, 61), test_subjects=True)) // 60
            assert count["test"] == per_class * len(unseen) - missing(unseen, test_subjects=True)
        assert count["unused"] == len(index) - count["test"] - count["train"] - count["val"]


def test_the_literatures_classes_have_the_names_that_their_authors_give():
    def names(corpus, split):
        return [CLASS_NAMES[action - 1] for action in LITERATURE[corpus][split]]

    assert names("ntu60", "55-5") == [
        "reading",
        "writing",
        "put on a hat/cap",
        "jump up",
        "touch other person's pocket",
    ]
    assert names("ntu60", "48-12")[-2:] == ["walking towards each other", "walking apart from each other"]
    assert names("ntu120", "110-10") == [
        "drop",
        "wear jacket",
        "salute",
        "touch head (headache)",
        "punching/slapping other person",
        "juggling table tennis balls",
        "put something into a bag",
        "cross arms",
        "butt kicks (kick backward)",
        "wield knife towards other person",
    ]
    for corpus, splits in LITERATURE.items():
        for name, actions in splits.items():
            seen, unseen = map(int, name.split("-"))
            assert len(set(actions)) == unseen
            assert seen + unseen == len(CORPORA[corpus].class_names)
            assert list(actions) == sorted(actions)


def test_without_unseen_classes():
    split = pd.Series(["train", "train", "val", "val", "test", "test", "unused", "unused"])
    labels = pd.Series([0, 1, 0, 1, 0, 1, 0, 1])
    after = ["train", "unused", "val", "unused", "unused", "test", "unused", "unused"]
    assert without_unseen(split, labels, {1}).tolist() == after
    assert without_unseen(split, labels, ()).tolist() == split.tolist()
    after[4] = "test"  # of a seen class
    assert without_unseen(split, labels, {1}, generalized=True).tolist() == after


def test_generalized_every_class_is_tested_and_may_be_the_answer():
    before = split_clips(index_of(fully_recorded(actions=(8, 9, 23, 27))), FACTS, "xview")
    _, usual = hold_out(before, FACTS, "xview", UnseenConfig(classes=2))
    after, lists = hold_out(before, FACTS, "xview", UnseenConfig(classes=2, generalized=True))
    tested = after["split"] == "test"
    pd.testing.assert_series_equal(tested, before["split"] == "test")
    assert set(after.loc[after["split"] == "train", "action"]) == set(lists.seen)
    assert (lists.seen, lists.unseen) == (usual.seen, usual.unseen)
    assert lists.asked == lists.seen + lists.unseen
    assert usual.asked == usual.unseen


def test_draws_are_seeded_sorted_and_different():
    draws = [draw_classes(range(10), 3, seed) for seed in range(5)]
    assert draws == [draw_classes(range(10), 3, seed) for seed in range(5)]
    assert len(set(draws)) == 5
    assert all(len(set(draw)) == 3 and list(draw) == sorted(draw) for draw in draws)
    assert set().union(*(draw_classes(range(4), 2, seed) for seed in range(20))) == {0, 1, 2, 3}


def test_only_classes_with_test_clips_are_drawn():
    index = index_of(fully_recorded(actions=(8, 9, 23, 27, 31)))
    index = index[~(index["subject"].isin(TEST_SUBJECTS) & (index["action"] == 7))]  # A008: training only
    before = split_clips(index, FACTS, "xsub")
    for seed in range(6):
        after, lists = hold_out(before, FACTS, "xsub", UnseenConfig(classes=2, seed=seed))
        assert "sitting down" in lists.seen
        assert set(lists.unseen) == set(after.loc[after["split"] == "test", "action"])
        assert set(lists.seen) == set(after.loc[after["split"].isin(["train", "val"]), "action"])
        assert not set(lists.seen) & set(lists.unseen)


def test_without_unseen_classes_the_split_is_as_it_was():
    index = index_of(fully_recorded(actions=(8, 9, 23)))
    before = split_clips(index, FACTS, "xview")
    after, lists = hold_out(before, FACTS, "xview", UnseenConfig())
    pd.testing.assert_frame_equal(after, before)
    assert lists.unseen == ()
    assert lists.seen == ("sitting down", "standing up (from sitting position)", "hand waving")


def test_labels_are_the_protocols_own_where_it_has_fewer_classes():
    corpus = CORPORA["smarthome"]
    facts = CorpusFacts.of(corpus)
    own = corpus.protocols["xview1"].actions
    rows = [
        {"name": f"{camera}-{action}-{subject}", "action": action, "subject": subject, "camera": camera}
        for camera in (1, 2)
        for action in own
        for subject in (3, 4)
    ]
    before = split_clips(pd.DataFrame(rows), facts, "xview1")
    after, lists = hold_out(before, facts, "xview1", UnseenConfig(classes=4, seed=1))
    tested = after[after["split"] == "test"].drop_duplicates("label").sort_values("label")
    assert lists.unseen == tuple(tested["action"])
    assert len(lists.seen) == len(own) - 4


@pytest.mark.parametrize(
    ("config", "corpus", "expected"),
    [
        ({}, "nwucla", ""),
        ({"classes": 3, "seed": 2}, "nwucla", "-unseen3-seed2"),
        ({"classes": "48-12", "seed": 2}, "ntu60", "-unseen48-12"),
        ({"classes": 3, "generalized": True}, "nwucla", "-unseen3-seed0-generalized"),
    ],
)
def test_folders_of_runs_tell_unseen_classes_apart(config, corpus, expected):
    assert UnseenConfig(**config).suffix(corpus) == expected


def test_generalized_needs_unseen_classes():
    with pytest.raises(UserError, match="generalized=true: expected unseen classes"):
        UnseenConfig(generalized=True).suffix("ntu60")


@pytest.mark.parametrize(
    ("classes", "corpus"), [(1, "ntu60"), ("48-12", "ntu120"), ("48-12", "nwucla"), (0, "uav")]
)
def test_other_names_are_refused_with_the_choices(classes, corpus):
    with pytest.raises(UserError, match=f"unknown unseen classes '{classes}': choose none, a number"):
        UnseenConfig(classes=classes).suffix(corpus)


def test_two_classes_are_left_to_train_on():
    assert len(draw_classes(range(10), 8, 0)) == 8
    with pytest.raises(UserError, match="unseen=9: expected at most 8"):
        draw_classes(range(10), 9, 0)


def test_a_split_whose_classes_were_not_recorded_is_refused():
    before = split_clips(index_of(fully_recorded(actions=(8, 9))), FACTS, "xsub")
    with pytest.raises(UserError, match="unseen=55-5 leaves no test clip of ntu60 xsub among the"):
        hold_out(before, FACTS, "xsub", UnseenConfig(classes="55-5"))
