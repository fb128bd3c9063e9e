import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smarthome_files import write_smarthome

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.smarthome import CROSS_VIEW_ACTIONS, IDENTIFIERS
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Damaged, Sequence, SkeletonFileError

SMARTHOME, SMARTHOME2D = CORPORA["smarthome"], CORPORA["smarthome2d"]
NAME = "Drink.Fromcup_p03_r02_v11_c04"
TEA = "Maketea.Insertteabag"


def person(x: float = 0.0, **changes: Any) -> dict[str, Any]:
    """x, y and z of joint j are x + j, 20 + j and 40 + j; in the image 100 + x + j and 200 + j."""
    joints = np.arange(13.0)
    made = {
        "score": 9.5,
        "pose2d": [*(100 + x + joints), *(200 + joints)],
        "pose3d": [*(x + joints), *(20 + joints), *(40 + joints)],
    }
    return made | changes


def recording(*frames: Any) -> bytes:
    return json.dumps({"K": 100, "njts": 13, "frames": list(frames)}).encode()


def test_parse_name() -> None:
    assert SMARTHOME.parse_name(f"raw/{NAME}.json") == {
        "action": 8,
        "subject": 3,
        "camera": 4,
        "replication": 2,
        "video": 11,
    }
    for label, name in enumerate(IDENTIFIERS):
        assert SMARTHOME.parse_name(f"{name}_p25_r00_v00_c07")["action"] == label


@pytest.mark.parametrize(
    "name",
    ["Dance_p03_r02_v11_c04", "Walk_p3_r2_v11_c4", "Drink_p03_r02_v11_c04", "Walk_p03_r02_v11", "list"],
)
def test_foreign_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"expected a name such as Drink\.Fromcup_p03_r02_v11_c04"):
        SMARTHOME.parse_name(name + ".json")


def test_class_names() -> None:
    assert len(SMARTHOME.class_names) == len(set(SMARTHOME.class_names)) == 31
    assert SMARTHOME.class_names[0] == "cook: clean dishes"
    assert SMARTHOME.class_names[26:] == ("use laptop", "use telephone", "use tablet", "walk", "watch TV")
    assert SMARTHOME.class_names[SMARTHOME.parse_name(f"{TEA}_p03_r02_v11_c04")["action"]] == (
        "make tea: insert tea bag"
    )
    assert SMARTHOME2D.class_names == SMARTHOME.class_names


def test_names_in_words_are_the_identifiers_with_spaces() -> None:
    """Nothing is said that the files do not say, and in the order of both class lists."""

    def letters(text: str) -> str:
        return re.sub(r"\W", "", text).lower()

    for name, words in zip(IDENTIFIERS, SMARTHOME.class_names, strict=True):
        assert letters(words) == letters(name)
        assert re.fullmatch(r"[a-z]+( [a-z]+)?:?( [a-z]+| TV)*", words)
    cross_view = [SMARTHOME.class_names[action] for action in CROSS_VIEW_ACTIONS]
    assert len(cross_view) == 19
    assert cross_view[:2] + cross_view[-3:] == [
        *("cut bread", "drink from bottle"),
        *("use tablet", "use telephone", "walk"),
    ]


def index(subjects: range = range(1, 26), cameras: range = range(1, 8)) -> pd.DataFrame:
    names = [
        f"{action}_p{subject:02}_r00_v00_c{camera:02}"
        for action in IDENTIFIERS
        for subject in subjects
        for camera in cameras
    ]
    return pd.DataFrame([{"name": name, **SMARTHOME.parse_name(name)} for name in names])


def test_cross_subject() -> None:
    rows = index(cameras=range(1, 2))
    split = SMARTHOME.protocols["xsub"](rows, val_share=0)
    subjects = rows.groupby(split)["subject"].unique().map(set)
    assert subjects["train"] == {3, 4, 6, 7, 9, 12, 13, 15, 17, 19, 25}
    assert subjects["test"] == {2, 10, 11, 14, 16, 18, 20}
    assert rows[split == "test"]["action"].nunique() == 31


@pytest.mark.parametrize(("name", "cameras"), [("xview1", {1}), ("xview2", {1, 3, 4, 6, 7})])
def test_cross_view(name: str, cameras: set[int]) -> None:
    protocol = SMARTHOME.protocols[name]
    rows = index(subjects=range(3, 5))
    split = protocol(rows)
    found = rows.groupby(split)["camera"].unique().map(set)
    assert (found["train"], found["val"], found["test"]) == (cameras, {5}, {2})
    assert (split == "test").sum() == 19 * 2
    labels = protocol.labels(rows["action"])
    assert set(labels[split != "unused"]) == set(range(19))
    of = dict(zip(rows["action"].map(lambda action: IDENTIFIERS[action]), labels, strict=True))
    assert (of["Cutbread"], of["Leave"], of["Usetablet"], of["Usetelephone"]) == (0, 9, 16, 17)
    assert (of["Walk"], of["WatchTV"]) == (18, -1)


def test_metric_and_size() -> None:
    for corpus, units, coordinates in [(SMARTHOME, "metres", 3), (SMARTHOME2D, "pixels", 2)]:
        assert (corpus.metric, corpus.clips, corpus.persons) == ("mean_class_accuracy", 16_115, 2)
        assert (corpus.units, corpus.topology.coordinates) == (units, coordinates)
        assert list(corpus.protocols) == ["xsub", "xview1", "xview2"]
        assert pickle.loads(pickle.dumps(corpus)).name == corpus.name  # worker processes get a copy


def test_blocks_of_coordinates() -> None:
    content = recording([person()], [person(1.0)])
    data = SMARTHOME.parse(NAME, content).data
    assert data.shape == (1, 2, 13, 3)
    np.testing.assert_array_equal(data[0, :, 12], [[12, 32, 52], [13, 32, 52]])
    data = SMARTHOME2D.parse(NAME, content).data
    assert data.shape == (1, 2, 13, 2)
    np.testing.assert_array_equal(data[0, :, 12], [[112, -212], [113, -212]])


def test_frames_keep_their_place() -> None:
    sequence = SMARTHOME.parse(NAME, recording([], [person()], [], [person(1.0)], []))
    absent = np.isnan(sequence.data).all(axis=(2, 3))
    assert absent.tolist() == [[True, False, True, False, True]]
    assert sequence.bodies == ()


def test_people_and_joints_of_zeros_are_not_there() -> None:
    nobody = person(pose3d=[0.0] * 39, pose2d=[0.0] * 26)
    half = person(1.0)
    for pose, n in (("pose3d", 39), ("pose2d", 26)):
        for coordinate in range(0, n, 13):
            half[pose][coordinate + 4] = 0.0
    for corpus in (SMARTHOME, SMARTHOME2D):
        data = corpus.parse(NAME, recording([nobody, person()], [nobody], [half])).data
        assert data.shape[:2] == (1, 3)
        assert np.isnan(data).any(axis=-1)[0].sum(axis=1).tolist() == [0, 13, 1]
        with pytest.raises(SkeletonFileError, match="a person in at least one frame"):
            corpus.parse(NAME, recording([nobody], [nobody]))


def test_people_change_places_in_the_list_but_not_in_the_sequence() -> None:
    content = recording(
        [person(0), person(90)], [person(91), person(1)], [person(2)], [person(3), person(92)]
    )
    for corpus in (SMARTHOME, SMARTHOME2D):
        sequence = corpus.parse(NAME, content)
        x = sequence.data[:, :, 0, 0] - sequence.data[0, 0, 0, 0]
        np.testing.assert_array_equal(x, [[0, 1, 2, 3], [90, 91, np.nan, 92]])
        assert [(body.body, body.frames, body.decision) for body in sequence.bodies] == [
            ("1", 4, "actor 1"),
            ("2", 3, "actor 2"),
        ]


def test_the_two_seen_most_stay() -> None:
    content = recording(
        [person(200), person(0), person(90)], [person(1), person(90)], [person(2), person(90)]
    )
    sequence = SMARTHOME.parse(NAME, content)
    np.testing.assert_array_equal(sequence.data[:, 0, 0, 0], [0, 90])  # equally long: who moves comes first
    assert [body.decision for body in sequence.bodies] == [
        "dropped: two others are seen in more frames",
        "actor 1",
        "actor 2",
    ]


@pytest.mark.parametrize(
    ("content", "expected", "seen"),
    [
        (b'{"frames": [[\n}', "JSON", "Expecting value"),
        (b"[" * 100_000, "JSON", "RecursionError"),
        (b'{"frames": [' + b"1" * 5_000 + b"]}", "JSON", "ValueError"),
        (b"[]", "an object with frames, a list of at least one", r"\[\]"),
        (b'{"frame": [[]]}', "an object with frames", "frame"),
        (b'{"frames": {}}', "an object with frames", "frames"),
        (recording(), "a list of at least one", "frames"),
        (recording([], [], []), "a person in at least one frame", "3 frames without one"),
        (recording([], None), "a list of at most 100 people as frame 2 of 2", "None"),
        (recording([person()] * 101), "a list of at most 100 people as frame 1 of 1", r"\[\{'score'"),
        (recording([person(), 7]), "39 finite numbers as pose3d of person 2 in frame 1 of 1", "a NoneType"),
        (recording([[]]), "as pose3d of person 1", "a NoneType"),
        (recording([{"pose2d": []}]), "as pose3d of person 1", "a NoneType"),
        (recording([person(pose3d=[0.0] * 38)]), "39 finite", "38 values of float"),
        (recording([person(pose3d=[[0.0] * 13] * 3)]), "39 finite", "3 values of list"),
        (recording([person(pose3d=[0.0, [0.0]])]), "39 finite", "2 values of float, list"),
        (recording([person(pose3d=["0"] * 39)]), "39 finite", "39 values of str"),
        (recording([person(pose3d=[None] * 39)]), "39 finite", "39 values of NoneType"),
        (recording([person(pose3d=[True] * 39)]), "39 finite", "39 values of bool"),
        (recording([person(pose3d=[10**400] * 39)]), "39 finite", "not finite"),
        (recording([person(pose3d="x" * 39)]), "39 finite", "a str"),
        (recording([person(pose3d=[0.0] * 38 + [float("nan")])]), "39 finite", "not finite"),
        (recording([person(pose3d=[1e39] * 39)]), "39 finite", "not finite"),
    ],
)
def test_damage(content: bytes, expected: str, seen: str) -> None:
    with pytest.raises(SkeletonFileError, match=seen) as caught:
        SMARTHOME.parse(NAME, content)
    assert expected in caught.value.expected
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300


def test_each_pose_is_checked_by_its_own_corpus() -> None:
    content = recording([person(pose2d=[0.0] * 25)])
    assert SMARTHOME.parse(NAME, content).n_frames == 1
    with pytest.raises(
        SkeletonFileError, match="expected 26 finite numbers as pose2d of person 1 in frame 1 of 1"
    ):
        SMARTHOME2D.parse(NAME, content)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_damage_is_one_clear_error(data: st.DataObject) -> None:
    content = recording([person(), person(5)], [], [person(1)])
    at = data.draw(st.integers(0, len(content) - 1))
    junk = data.draw(
        st.sampled_from([b"", b"NaN", b"1e999", b"null", b"[", b"]", b"{}", b'"', b"\xff", b"-"])
    )
    keep = data.draw(st.integers(0, 8))
    damaged = content[:at] + junk + (content[at + keep :] if keep < 8 else b"")
    for corpus in (SMARTHOME, SMARTHOME2D):
        try:
            sequence = corpus.parse(NAME, damaged)
        except (SkeletonFileError, UnicodeDecodeError):
            continue
        assert np.isfinite(sequence.data[~np.isnan(sequence.data).all(axis=(2, 3))]).all()


def test_generated_files_in_the_official_layout(tmp_path: Path) -> None:
    names = write_smarthome(tmp_path, ["Walk", "Enter", "Cook.Cut"], [3, 2], [1, 2, 5])
    assert len(set(names)) == 18
    (tmp_path / "smarthome_CS_51.json").write_text("{}")
    (tmp_path / "Walk_p03_r00_v99_c01.json").write_text("")
    for corpus, highest in [(SMARTHOME, 1.7), (SMARTHOME2D, 300.0)]:
        items = list(corpus.read(tmp_path))
        sequences = [item for item in items if isinstance(item, Sequence)]
        assert sorted(sequence.name for sequence in sequences) == sorted(names)
        assert {item.file for item in items if isinstance(item, Damaged)} == {
            "smarthome_CS_51.json",
            "Walk_p03_r00_v99_c01.json",
        }
        assert sum(len(sequence.bodies) == 2 for sequence in sequences) == 18 // 5
        joints = corpus.topology.joints
        for sequence in sequences:
            head, ankle = (sequence.data[0, :, joints.index(name), 1] for name in ("head", "left ankle"))
            assert 0.3 * highest < np.nanmean(head - ankle) < 1.2 * highest  # upright
            assert np.isnan(sequence.data[0, :, 0, 0]).sum() == 3
    split = SMARTHOME.protocols["xview1"](
        pd.DataFrame([{"name": name, **SMARTHOME.parse_name(name)} for name in names])
    )
    assert split.value_counts().to_dict() == {"unused": 6, "train": 4, "val": 4, "test": 4}
    assert re.fullmatch(r"Walk_p03_r00_v\d\d_c01", names[0])
