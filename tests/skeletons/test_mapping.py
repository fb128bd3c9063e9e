"""Joints of one skeleton found in another."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmar_pipeline.corpora.own.layout import find_layout
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.mapping import joint_weights, mapped
from llmar_pipeline.skeletons.topology import COCO17, KINECT20, KINECT20_HEAD_FIRST, LCRNET13, NTU25

SIDES = ("left", "right")
MEDIAPIPE33, OPENPOSE25 = (find_layout(name, Path())[0] for name in ("mediapipe33", "openpose25"))
MEDIAPIPE33_2D = MEDIAPIPE33.__class__(**{**MEDIAPIPE33.__dict__, "coordinates": 2})


def points(topology):
    """Two persons, three frames, every coordinate another number."""
    shape = (2, 3, len(topology.joints), topology.coordinates)
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) ** 1.5


def joint(data, topology, name):
    return data[:, :, topology.joints.index(name)]


@pytest.mark.parametrize(
    ("source", "target", "placed"),
    [
        (NTU25, KINECT20, {}),
        (
            KINECT20,
            NTU25,
            {
                "neck": ("spine shoulder", "head"),
                **{f"{side} {part}": (f"{side} hand",) for side in SIDES for part in ("hand tip", "thumb")},
            },
        ),
        (KINECT20_HEAD_FIRST, KINECT20, {}),
        (MEDIAPIPE33, KINECT20, {}),
        (
            MEDIAPIPE33,
            NTU25,
            {"neck": ("spine shoulder", "head"), **{f"{side} hand tip": (f"{side} hand",) for side in SIDES}},
        ),
        (NTU25, LCRNET13, {}),
        (
            COCO17,
            OPENPOSE25,
            {
                f"{side} {part}": (f"{side} ankle",)
                for side in SIDES
                for part in ("big toe", "small toe", "heel")
            },
        ),
        (OPENPOSE25, COCO17, {}),
        (MEDIAPIPE33_2D, COCO17, {}),
        (MEDIAPIPE33_2D, OPENPOSE25, {f"{side} small toe": (f"{side} big toe",) for side in SIDES}),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_what_is_there_is_taken_by_name_and_the_rest_lies_at_its_neighbours(source, target, placed):
    data = points(source)
    made = mapped(data, source, target)
    assert made.dtype == np.float32
    assert not np.isnan(made).any()
    weights = joint_weights(source, target)
    assert {name for name, row in zip(target.joints, weights, strict=True) if not row.any()} == placed.keys()
    for name, neighbours in placed.items():
        between = np.mean([joint(made, target, its) for its in neighbours], axis=0)
        np.testing.assert_allclose(joint(made, target, name), between, rtol=1e-6)
    shared = set(source.joints) & set(target.joints) - {"neck"}
    assert len(shared) >= 12
    for name in shared:
        np.testing.assert_array_equal(joint(made, target, name), joint(data, source, name))


def test_one_joint_of_two_sensors_and_the_middle_of_two():
    data = points(NTU25)
    made = mapped(data, NTU25, KINECT20)
    np.testing.assert_array_equal(joint(made, KINECT20, "hip centre"), joint(data, NTU25, "spine base"))
    np.testing.assert_array_equal(joint(made, KINECT20, "spine"), joint(data, NTU25, "spine mid"))
    np.testing.assert_array_equal(
        joint(made, KINECT20, "shoulder centre"), joint(data, NTU25, "spine shoulder")
    )
    data = points(MEDIAPIPE33)
    made = mapped(data, MEDIAPIPE33, NTU25)
    hips, shoulders, ears, palm = (
        (joint(data, MEDIAPIPE33, one) + joint(data, MEDIAPIPE33, other)) / 2
        for one, other in (
            ("left hip", "right hip"),
            ("left shoulder", "right shoulder"),
            ("left ear", "right ear"),
            ("left index", "left pinky"),
        )
    )
    for name, expected in {
        "spine base": hips,
        "spine shoulder": shoulders,
        "spine mid": (hips + shoulders) / 2,
        "head": ears,
        "left hand": palm,
        "left foot": joint(data, MEDIAPIPE33, "left foot index"),
    }.items():
        np.testing.assert_allclose(joint(made, NTU25, name), expected, rtol=1e-6)


def test_the_necks_of_two_sensors_are_two_joints():
    assert not joint_weights(MEDIAPIPE33, NTU25)[NTU25.joints.index("neck")].any()
    weights = joint_weights(COCO17, OPENPOSE25)[OPENPOSE25.joints.index("neck")]
    assert {COCO17.joints[place] for place in np.flatnonzero(weights)} == {"left shoulder", "right shoulder"}


def test_a_middle_of_which_one_end_is_missing_is_missing():
    data = points(MEDIAPIPE33)
    joint(data, MEDIAPIPE33, "left hip")[0, 1] = np.nan
    base = joint(mapped(data, MEDIAPIPE33, KINECT20), KINECT20, "hip centre")
    assert np.isnan(base).all(axis=-1).tolist() == [[False, True, False], [False, False, False]]


def test_a_joint_with_none_above_it_lies_at_what_hangs_on_it():
    """A nose that nobody recorded, where another joint is the root: the middle of the eyes and what else."""
    model = replace(COCO17, root=COCO17.joints.index("left hip"))
    noseless = replace(COCO17, name="noseless", joints=("hat", *COCO17.joints[1:]))
    data = points(noseless)
    names = zip(model.joints, model.parents, strict=True)
    hanging = [joint(data, model, name) for name, parent in names if parent == 0]
    assert len(hanging) > 1
    nose = joint(mapped(data, noseless, model), model, "nose")
    np.testing.assert_allclose(nose, np.mean(hanging, axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (COCO17, NTU25, "3 coordinates, as of ntu25, saw 2 .coco17.: pictures do not tell how far away"),
        (NTU25, COCO17, "2 coordinates, as of coco17, saw 3"),
        (NTU25, MEDIAPIPE33, "three quarters of the joints of mediapipe33.*saw 16 of 33.*it lacks nose, "),
        (COCO17, MEDIAPIPE33_2D, "saw 17 of 33"),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_what_cannot_be_mapped_is_refused_with_the_reason(source, target, reason):
    with pytest.raises(UserError, match=reason) as caught:
        mapped(points(source), source, target)
    assert "\n" not in caught.value.message


def test_without_the_joint_that_centring_subtracts_nothing_is_mapped():
    headless = KINECT20.__class__(
        **{**LCRNET13.__dict__, "name": "headless", "joints": (*LCRNET13.joints[:-1], "hat")}
    )
    with pytest.raises(UserError, match=r"among them head, .*saw 12 of 13 in a recording of headless"):
        mapped(points(headless), headless, LCRNET13)
