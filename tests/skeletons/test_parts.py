from dataclasses import replace
from pathlib import Path

import pytest

from llmar_pipeline.corpora.own.layout import find_layout
from llmar_pipeline.skeletons.topology import (
    COCO17,
    KINECT20,
    KINECT20_HEAD_FIRST,
    LCRNET13,
    LCRNET13_2D,
    NTU25,
    Topology,
    body_parts,
)

LAYOUTS = [find_layout(name, Path())[0] for name in ("mediapipe33", "openpose25")]
ALL = [NTU25, KINECT20, KINECT20_HEAD_FIRST, LCRNET13, LCRNET13_2D, COCO17, *LAYOUTS]


def names(topology: Topology, part: str) -> set[str]:
    return {topology.joints[joint] for joint in body_parts(topology)[part]}


def test_the_parts_of_kinect_v2() -> None:
    assert body_parts(NTU25) == {
        "trunk": (0, 1, 2, 3, 20),
        "left arm": (4, 5, 6, 7, 21, 22),
        "right arm": (8, 9, 10, 11, 23, 24),
        "left leg": (12, 13, 14, 15),
        "right leg": (16, 17, 18, 19),
    }


@pytest.mark.parametrize("topology", ALL, ids=lambda t: t.name)
def test_every_joint_is_in_one_part_and_sides_mirror_each_other(topology: Topology) -> None:
    parts = body_parts(topology)
    assert list(parts) == ["trunk", "left arm", "right arm", "left leg", "right leg"]
    assert sorted(joint for joints in parts.values() for joint in joints) == list(range(len(topology.joints)))
    for limb in ("arm", "leg"):
        assert {topology.mirror[joint] for joint in parts[f"left {limb}"]} == set(parts[f"right {limb}"])
    for side in ("left", "right"):
        limbs = names(topology, f"{side} arm") | names(topology, f"{side} leg")
        assert all(joint.split()[0] == side for joint in limbs)
        assert f"{side} wrist" in names(topology, f"{side} arm")
        assert {f"{side} knee", f"{side} ankle"} <= names(topology, f"{side} leg")


def test_legs_that_hang_from_shoulders_are_no_arms() -> None:
    assert names(LCRNET13, "trunk") == {"head"}
    assert names(LCRNET13, "left arm") == {"left shoulder", "left elbow", "left wrist"}
    assert names(COCO17, "right leg") == {"right hip", "right knee", "right ankle"}


def test_faces_belong_to_the_trunk() -> None:
    assert names(COCO17, "trunk") == {"nose", "left eye", "right eye", "left ear", "right ear"}
    mediapipe, openpose = LAYOUTS
    assert len(body_parts(mediapipe)["trunk"]) == 11
    assert names(openpose, "trunk") == {
        "nose", "neck", "mid hip", "left eye", "right eye", "left ear", "right ear"
    }  # fmt: skip


def test_hips_without_legs_join_the_trunk() -> None:
    legless = replace(
        COCO17, joints=COCO17.joints[:13], parents=COCO17.parents[:13], mirror=COCO17.mirror[:13]
    )
    parts = body_parts(legless)
    assert list(parts) == ["trunk", "left arm", "right arm"]
    assert {11, 12} <= set(parts["trunk"])
