from dataclasses import replace

import pytest

from llmar_pipeline.skeletons.topology import (
    COCO17,
    KINECT20,
    KINECT20_HEAD_FIRST,
    LCRNET13,
    LCRNET13_2D,
    NTU25,
    Body,
    Topology,
)

ALL = [NTU25, KINECT20, KINECT20_HEAD_FIRST, LCRNET13, LCRNET13_2D, COCO17]
every_topology = pytest.mark.parametrize("topology", ALL, ids=lambda topology: topology.name)


@every_topology
def test_every_joint_hangs_on_one_tree(topology: Topology) -> None:
    assert len(topology.parents) == len(topology.joints) == len(topology.mirror) == len(set(topology.joints))
    assert len(topology.bones) == len(topology.joints) - 1
    top = topology.parents.index(-1)
    for joint in range(len(topology.joints)):
        path = [joint]
        while (parent := topology.parents[path[-1]]) >= 0:
            assert parent not in path
            path.append(parent)
        assert path[-1] == top


@every_topology
def test_mirror_pairs_left_with_right_and_bones_with_bones(topology: Topology) -> None:
    bones = set(topology.bones)
    for joint, partner in enumerate(topology.mirror):
        assert topology.mirror[partner] == joint
        name = topology.joints[joint]
        swapped = name.replace("left", "*").replace("right", "left").replace("*", "right")
        assert topology.joints[partner] == swapped
    assert {(topology.mirror[child], topology.mirror[parent]) for child, parent in bones} == bones
    assert topology.mirror[topology.root] == topology.root


@every_topology
def test_named_joints(topology: Topology) -> None:
    assert [topology.joints[i] for i in topology.shoulders] == ["left shoulder", "right shoulder"]
    assert [topology.joints[i] for i in topology.hips] == ["left hip", "right hip"]
    spine = {"spine mid", "spine"} & set(topology.joints)
    assert topology.joints[topology.root] in (spine or {"head", "nose"})


def test_limbs_are_chains() -> None:
    for topology in ALL:
        for child, parent in [("elbow", "shoulder"), ("wrist", "elbow"), ("knee", "hip"), ("ankle", "knee")]:
            for side in ("left", "right"):
                joint = topology.joints.index(f"{side} {child}")
                assert topology.joints[topology.parents[joint]] == f"{side} {parent}"


def test_the_two_kinect_orders_are_one_body() -> None:
    def bones(topology: Topology) -> set[tuple[str, str]]:
        return {(topology.joints[child], topology.joints[parent]) for child, parent in topology.bones}

    assert bones(KINECT20) == bones(KINECT20_HEAD_FIRST)


def test_coordinates() -> None:
    assert [topology.coordinates for topology in ALL] == [3, 3, 3, 3, 2, 2]


def test_a_body_counts_and_names_its_channels() -> None:
    body = Body(NTU25, 2)
    assert body.channels == 150
    assert str(body) == "ntu25 (25 joints of 3 coordinates), 2 persons"
    assert body == Body(replace(NTU25), 2) != Body(NTU25, 1)
    assert body.part_channels(by_part=False) == [list(range(150))]
    assert body.part_channels()[0] == [3 * joint + 75 * person + axis for person in (0, 1)
                               for joint in (0, 1, 2, 3, 20) for axis in (0, 1, 2)]  # fmt: skip
