import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmar_pipeline.corpora.formats.pyskl import forget, load_clip, protocols_of, read_pyskl
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import COCO17, NTU25

NAME = "S001C002P003R002A013"


def annotation(**changes: Any) -> dict[str, Any]:
    keypoint = np.arange(1, 1 + 2 * 3 * 25 * 3, dtype=np.float16).reshape(2, 3, 25, 3)
    return {"frame_dir": NAME, "label": 12, "total_frames": 3, "keypoint": keypoint} | changes


def write(folder: Path, *annotations: Any, split: Any = None) -> Path:
    path = folder / "ntu.pkl"
    path.write_bytes(pickle.dumps({"split": split or {}, "annotations": list(annotations)}))
    forget()
    return path


def load(path: Path, **changes: Any) -> Sequence:
    settings: dict[str, Any] = {"topology": NTU25, "persons": 2, "vertical": "up", "action": 12}
    return load_clip(path, 0, **settings | changes)


def test_a_clip_in_3d(tmp_path: Path) -> None:
    given = annotation()
    given["keypoint"][0, 1] = 0  # a frame without the first person
    given["keypoint"][1, 0, 7] = 0  # a joint not seen
    given["keypoint"][1, 0, 8, 0] = 0  # a joint in the middle of the picture
    sequence = load(write(tmp_path, given))
    assert sequence.name == NAME
    assert sequence.data.dtype == np.float32
    expected = given["keypoint"].astype(np.float32)
    expected[0, 1] = np.nan
    expected[1, 0, 7] = np.nan
    np.testing.assert_array_equal(sequence.data, expected)
    assert [(body.body, body.frames, body.decision) for body in sequence.bodies] == [
        ("1", 2, "actor 1"),
        ("2", 3, "actor 2"),
    ]


def test_an_absent_person_goes_and_a_third_one_is_dropped(tmp_path: Path) -> None:
    given = annotation()
    given["keypoint"][0] = 0
    sequence = load(write(tmp_path, given))
    assert sequence.data.shape == (1, 3, 25, 3)
    assert sequence.bodies == ()
    np.testing.assert_array_equal(sequence.data[0], given["keypoint"][1].astype(np.float32))

    three = np.ones((3, 4, 25, 3), np.float16)
    three[0, 0] = 0  # seen in three frames only
    three[2, 1] = 5  # moves
    sequence = load(write(tmp_path, annotation(keypoint=three, total_frames=4)))
    np.testing.assert_array_equal(sequence.data, three[1:])
    # 25 of 100 points at 5 and 75 at 1: variance 3 in each of x, y, z
    assert [(body.frames, body.motion, body.decision[:7]) for body in sequence.bodies] == [
        (3, 0.0, "dropped"),
        (4, 0.0, "actor 1"),
        (4, 9.0, "actor 2"),
    ]
    alone = load(write(tmp_path, annotation(keypoint=three, total_frames=4)), persons=1)
    np.testing.assert_array_equal(alone.data, three[2:])


def test_keypoints_of_an_image_are_turned_upright_and_scores_of_zero_are_missing(tmp_path: Path) -> None:
    keypoint = np.full((1, 2, 17, 2), [3.0, 4.0], np.float32)
    score = np.ones((1, 2, 17), np.float16)
    score[0, 1, 5] = 0
    path = write(tmp_path, annotation(keypoint=keypoint, keypoint_score=score, total_frames=2))
    sequence = load(path, topology=COCO17, vertical="down")
    expected = np.full((1, 2, 17, 2), [3.0, -4.0], np.float32)
    expected[0, 1, 5] = np.nan
    np.testing.assert_array_equal(sequence.data, expected)


@pytest.mark.parametrize(
    ("given", "expected", "seen"),
    [
        (3, "an annotation with a name", "3"),
        (annotation(frame_dir=None), "an annotation with a name", "None"),
        (annotation(frame_dir="\ud800"), "an annotation with a name", r"'.ud800'"),
        (annotation(frame_dir="\x1b[8m"), "an annotation with a name", r"'.x1b\[8m'"),
        (annotation(frame_dir=b"name"), r"written as str\(name\)", "a bytes"),
        (annotation(keypoint=np.ones((30, 2, 25, 3)), total_frames=2), "in this order", "more persons than"),
        (annotation(label=11), f"label 12, the action of {NAME}", "label 11"),
        (annotation(label=[12]), "label 12", "label a list"),
        (annotation(keypoint=None), "an array keypoint", "None"),
        (annotation(keypoint=[[1]]), "an array keypoint", "a list"),
        (annotation(keypoint=np.ones((2, 3, 17, 2))), "--env=custom", r"shape \[2, 3, 17, 2\]"),
        (annotation(keypoint=np.ones((3, 25, 3))), "25, 3", r"shape \[3, 25, 3\]"),
        (annotation(keypoint=np.ones((1, 0, 25, 3)), total_frames=0), "25, 3", r"shape \[1, 0, 25, 3\]"),
        (annotation(keypoint=np.zeros((1, 3, 25, 3))), "at least one keypoint", "none"),
        (
            annotation(keypoint=np.full((1, 3, 25, 3), np.inf)),
            "coordinates that are numbers",
            "inf in person 0",
        ),
        (
            annotation(keypoint=np.full((1, 3, 25, 3), 1e39)),
            "coordinates that are numbers",
            r"1e\+39 in person",
        ),
        (annotation(total_frames=4), "4 frames, its total_frames", "3"),
        (annotation(total_frames=np.arange(2)), "its total_frames", "3"),
        (annotation(keypoint_score=np.ones((2, 3, 24))), r"scores \[2, 3, 25\]", r"shape \[2, 3, 24\]"),
        (annotation(keypoint_score=7), "an array keypoint_score", "7"),
    ],
)
def test_damage(tmp_path: Path, given: Any, expected: str, seen: str) -> None:
    with pytest.raises(SkeletonFileError, match=f"{expected}.*, saw .*{seen}") as caught:
        load(write(tmp_path, given))
    assert "\n" not in caught.value.message


def test_names_are_given_to_annotations_that_have_none(tmp_path: Path) -> None:
    path = write(tmp_path, annotation(), 3, {}, split={"xsub_train": [NAME]})
    pickled = read_pyskl(path)
    assert pickled.names == [NAME, "annotation 1", "annotation 2"]
    assert pickled.split == {"xsub_train": [NAME]}
    assert read_pyskl(path) is pickled


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ([annotation()], "a list"),
        ({"a": 1}, r"the keys \['a'\]"),
        ({"annotations": []}, "the keys"),
        ({"annotations": [1], "split": [1]}, "a list"),
        ({"annotations": [1], "split": {"train": [1]}}, r"1 in it; write each as str\(name\)"),
        ({"annotations": [1], "split": {"train": [b"a"]}}, r"a bytes in it; .*name\.decode\(\)"),
        ({"annotations": [1], "split": {b"train": ["a"]}}, "a bytes in it"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, content: Any, seen: str) -> None:
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=rf"other\.pkl: expected .* saw {seen}"):
        read_pyskl(path)


def test_names_of_numpy_and_tuples_are_names(tmp_path: Path) -> None:
    path = tmp_path / "n.pkl"
    name = np.array([NAME])[0]
    for protocol in (2, 5):
        for members in (np.array([NAME]), (NAME,), {NAME}):
            content = {"split": {"xsub_train": members}, "annotations": (annotation(frame_dir=name),)}
            path.write_bytes(pickle.dumps(content, protocol))
            forget()
            assert read_pyskl(path)[::2] == ([NAME], {"xsub_train": [NAME]})


def test_parts_become_protocols() -> None:
    split = {
        **{"xsub_train": ["a"], "xsub_val": ["b"], "xset_train": ["c"]},
        **{"train": ["d"], "val": ["e"], "test": ["f"]},
        **{"train1": ["g"], "test1": ["h"], "train2": ["i"], "test2": ["j"]},
        **{"whatever": ["k"], "1_train": ["l"], "1_test": ["m"]},
    }
    assert protocols_of(split) == {
        "xsub": {"train": ["a"], "test": ["b"]},
        "split": {"train": ["d"], "val": ["e"], "test": ["f"]},
        "split1": {"train": ["g"], "test": ["h"]},
        "split2": {"train": ["i"], "test": ["j"]},
    }
