import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError

UTDMHAD = CORPORA["utdmhad"]
NAME = "a8_s3_t4_skeleton"
SKELETON = np.arange(20 * 3 * 2, dtype=np.float64).reshape(20, 3, 2)


def mat(**variables: Any) -> bytes:
    file = BytesIO()
    savemat(file, variables, do_compression=True)
    return file.getvalue()


def test_parse_name() -> None:
    assert UTDMHAD.parse_name(f"{NAME}.mat") == {"action": 7, "subject": 3, "replication": 4}
    assert UTDMHAD.parse_name("raw/a27_s8_t1_skeleton")["action"] == 26
    for foreign in ("a28_s1_t1_skeleton", "a0_s1_t1_skeleton", "a1_s1_t1_inertial", "a01_s01_t01_skeleton"):
        with pytest.raises(UserError, match="expected a name such as a12_s3_t4_skeleton, action 1 to 27"):
            UTDMHAD.parse_name(f"{foreign}.mat")


def test_class_names() -> None:
    assert len(UTDMHAD.class_names) == len(set(UTDMHAD.class_names)) == 27
    assert UTDMHAD.class_names[0] == "swipe left"
    assert UTDMHAD.class_names[10] == "draw triangle"
    assert UTDMHAD.class_names[26] == "squat"
    assert pickle.loads(pickle.dumps(UTDMHAD)).name == "utdmhad"  # worker processes get a copy


def test_the_plan_has_the_official_counts() -> None:
    subjects = pd.DataFrame({"subject": range(1, 9)})
    assert UTDMHAD.captured is not None
    names = UTDMHAD.captured(subjects)
    assert len(names) == UTDMHAD.clips == 861
    index = pd.DataFrame([{"name": name, **UTDMHAD.parse_name(name)} for name in names])
    split = UTDMHAD.protocols["xsub"](index, val_share=0)
    assert (
        ((split == "train").sum(), (split == "test").sum()) == UTDMHAD.protocols["xsub"].counts == (431, 430)
    )
    assert len(UTDMHAD.captured(subjects[:1])) == 27 * 4 - 1


def test_parse() -> None:
    sequence = UTDMHAD.parse(NAME, mat(other=np.ones(3), d_skel=SKELETON))
    assert sequence.data.shape == (1, 2, 20, 3)
    # Row-major 20 x 3 x 2: joint j, coordinate c, frame t is 6 j + 2 c + t.
    np.testing.assert_array_equal(sequence.data[0, 1, 4], [25, 27, 29])


NOT_A_NUMBER = SKELETON.copy()
NOT_A_NUMBER[7, 1, 1] = np.nan


@pytest.mark.parametrize(
    ("content", "expected", "seen"),
    [
        (mat(d_skel=SKELETON)[:-40], "an undamaged MATLAB 5 file", "claims"),
        (mat(other=SKELETON), "a variable d_skel", "none of that name"),
        (mat(d_skel=SKELETON[:19]), "d_skel of shape [20, 3, frames]", r"shape \[19, 3, 2\]"),
        (mat(d_skel=SKELETON[..., 0]), "d_skel of shape [20, 3, frames]", r"shape \[20, 3\]"),
        (mat(d_skel=SKELETON[..., :0]), "d_skel of shape [20, 3, frames]", r"\[20, 3, 0\]"),
        (mat(d_skel=NOT_A_NUMBER), "finite coordinates", "frame 1, joint 7"),
        (mat(d_skel=SKELETON * 1e300), "finite coordinates", "another value"),
    ],
)
def test_damage(content: bytes, expected: str, seen: str) -> None:
    with pytest.raises(SkeletonFileError, match=seen) as caught:
        UTDMHAD.parse(NAME, content)
    assert caught.value.expected == expected
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300


def test_real_recordings(shared_data: Path) -> None:
    sequences = [item for item in UTDMHAD.read(shared_data / "utd_mhad") if isinstance(item, Sequence)]
    assert len(sequences) == 861
    assert (min(item.n_frames for item in sequences), max(item.n_frames for item in sequences)) == (41, 125)
    joints = UTDMHAD.topology.joints
    for item in sequences:
        mean = dict(zip(joints, item.data[0].mean(axis=0), strict=True))
        assert 1.0 < mean["head"][1] - mean["left foot"][1] < 1.9  # metres, y up
        assert mean["left hip"][0] < mean["right hip"][0]  # they face the sensor
    index = pd.DataFrame([{"name": item.name, **UTDMHAD.parse_name(item.name)} for item in sequences])
    assert UTDMHAD.captured is not None
    assert UTDMHAD.captured(index) == set(index["name"])
    split = UTDMHAD.protocols["xsub"](index, val_share=0)
    assert split.value_counts().to_dict() == {"train": 431, "test": 430}
