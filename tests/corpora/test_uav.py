import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Damaged, Sequence, SkeletonFileError

UAV = CORPORA["uav"]
NAME = "P070S01G10B00H00UC102000LC092000A031R0_09131758"
STANDING = np.zeros((17, 3), np.float32)
STANDING[:, 0] = 900 + np.arange(17)
STANDING[:, 1] = 500 + 10 * np.arange(17)


def shifted(right: float) -> np.ndarray:
    return STANDING + np.array([right, 0, 0])


def test_parse_name() -> None:
    expected = {"action": 31, "subject": 70, "setup": 1, "replication": 0}
    assert UAV.parse_name(f"raw/{NAME}.txt") == expected
    assert UAV.parse_name(NAME.replace("A031", "A154"))["action"] == 154


@pytest.mark.parametrize("name", ["README", NAME.replace("A031", "A155"), NAME[1:], NAME + "_x", NAME[:-9]])
def test_foreign_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="expected a name such as P070S01G10B00H00UC102000LC092000A031R0_091"):
        UAV.parse_name(f"{name}.txt")


def test_class_names() -> None:
    assert len(UAV.class_names) == len(set(UAV.class_names)) == 155
    assert UAV.class_names[0] == "drink"
    assert UAV.class_names[3] == "drop something"
    assert UAV.class_names[81] == "steal something from other\u2019s pocket"
    assert UAV.class_names[153] == "open an umbrella"
    assert UAV.class_names[154] == "close an umbrella"


def test_protocols() -> None:
    subjects = pd.DataFrame({"name": [f"{s}" for s in range(119)], "subject": range(119)})
    splits = {name: protocol(subjects, val_share=0) for name, protocol in UAV.protocols.items()}
    assert list(splits) == ["csv1", "csv2"]  # the first is the default
    for split in splits.values():
        assert split.value_counts().to_dict() == {"train": 89, "test": 30}
    assert set(subjects["subject"][splits["csv1"] == "test"].head(5)) == {1, 3, 4, 9, 22}
    assert set(subjects["subject"][splits["csv2"] == "test"].head(5)) == {1, 2, 7, 9, 13}


def test_pixels_with_y_up(skeleton_text: Callable[..., str]) -> None:
    text = skeleton_text([[("000", STANDING)], [("000", STANDING + np.array([2, 3, 0]))]])
    sequence = UAV.parse(NAME, text.encode())
    assert sequence.data.shape == (1, 2, 17, 2)
    np.testing.assert_array_equal(sequence.data[0, :, 16], [[916, -660], [918, -663]])
    assert sequence.bodies == ()
    assert UAV.units == "pixels"
    assert pickle.loads(pickle.dumps(UAV)).name == "uav"  # worker processes get a copy


def test_frames_keep_their_place_and_joints_at_zero_are_missing(skeleton_text: Callable[..., str]) -> None:
    partial = STANDING.copy()
    partial[[3, 5]] = 0
    partial[4, 0] = 0  # a joint on the image's left edge is there
    text = skeleton_text([[], [("000", partial)], [], [("000", 0 * STANDING)], [("000", STANDING)]])
    data = UAV.parse(NAME, text.encode()).data
    assert np.isnan(data).all(axis=(2, 3)).tolist() == [[True, False, True, True, False]]
    missing = np.isnan(data[0, 1])
    assert missing.all(axis=1).nonzero()[0].tolist() == [3, 5]
    assert missing.sum() == 4
    np.testing.assert_array_equal(data[0, 1, 4], [0, -540])


def test_who_moves_most_is_actor_1(skeleton_text: Callable[..., str]) -> None:
    def frame(time: int) -> list[tuple[str, np.ndarray]]:
        steps = [0, 9, 4, 1, 50]  # of the person at each place of the list; the fifth is not looked at
        return [("000", shifted(100 * place + step * time)) for place, step in enumerate(steps)]

    sequence = UAV.parse(NAME, skeleton_text([frame(0), frame(10), frame(20)]).encode())
    np.testing.assert_array_equal(sequence.data[:, :, 0, 0], [[1000, 1090, 1180], [1100, 1140, 1180]])
    assert [(body.body, body.decision) for body in sequence.bodies] == [
        ("1", "dropped: two others move more"),
        ("2", "actor 1"),
        ("3", "actor 2"),
        ("4", "dropped: two others move more"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("", 1, "the number of frames"),
        ("2\n0\n0\n", None, "a person in at least one frame"),
        ("FULL", None, "a person in at least one frame"),
        ("1\n1\n000 0 0 0 0 0 0 0 0 0\n25\n", 4, "17 joints of body 1 of 1 in frame 1 of 1"),
        ("1000000000\n0\n", 1, "at most 1048576 frames"),
        ("1000000\n0\n", 3, "the number of bodies of frame 2"),
    ],
)
def test_damage(text: str, line: int | None, expected: str, skeleton_text: Callable[..., str]) -> None:
    if text == "FULL":
        text = skeleton_text([[("000", 0 * STANDING)]])
    with pytest.raises(SkeletonFileError) as caught:
        UAV.parse(NAME, text.encode())
    assert expected in caught.value.expected
    assert caught.value.line == line


def test_foreign_text_files_are_listed_not_fatal(tmp_path: Path, skeleton_text: Callable[..., str]) -> None:
    (tmp_path / f"{NAME}.txt").write_text(skeleton_text([[("000", STANDING)]]))
    (tmp_path / "README.txt").write_text("How to use this data")
    first, second = UAV.read(tmp_path)
    assert isinstance(first, Sequence)
    assert isinstance(second, Damaged)
    assert (second.file, second.seen) == ("README.txt", "'README'")


def test_real_recordings(shared_data: Path) -> None:
    sequences = [item for item in UAV.read(shared_data / "uav_human") if isinstance(item, Sequence)]
    assert len(sequences) == 527
    for sequence in sequences[::25]:
        with (shared_data / "uav_human" / f"{sequence.name}.txt").open() as file:
            assert sequence.n_frames == int(file.readline())
    assert sum(sequence.n_frames for sequence in sequences) == 69_717 + 1_105
    assert sum(int(np.isnan(sequence.data).all(axis=(2, 3)).sum()) for sequence in sequences) == 1_105
    nose, ankle = UAV.topology.joints.index("nose"), UAV.topology.joints.index("left ankle")
    assert all(
        (np.nanmean(item.data[0, :, nose] - item.data[0, :, ankle], axis=0)[1]) > 0 for item in sequences
    )
    index = pd.DataFrame([{"name": item.name, **UAV.parse_name(item.name)} for item in sequences])
    assert set(index["action"]) == {0, 1, 2, 3, 153}
    assert UAV.protocols["csv2"](index, val_share=0).value_counts().to_dict() == {"train": 367, "test": 160}
    split = UAV.protocols["csv2"](index)
    assert (split == "test").sum() == 160
    assert not set(index["subject"][split == "val"]) & set(index["subject"][split != "val"])
