import pytest

from llmar_pipeline.skeletons.topology import KINECT20, NTU25, Topology

pytestmark = pytest.mark.parametrize("topology", [NTU25, KINECT20], ids=lambda topology: topology.name)


def test_every_joint_hangs_on_one_tree(topology: Topology) -> None:
    assert len(topology.parents) == len(topology.joints) == len(topology.mirror) == len(set(topology.joints))
    assert len(topology.bones) == len(topology.joints) - 1
    for joint in range(len(topology.joints)):
        path = [joint]
        while (parent := topology.parents[path[-1]]) >= 0:
            assert parent not in path
            path.append(parent)
        assert path[-1] == 0


def test_mirror_pairs_left_with_right_and_bones_with_bones(topology: Topology) -> None:
    bones = set(topology.bones)
    for joint, partner in enumerate(topology.mirror):
        assert topology.mirror[partner] == joint
        name = topology.joints[joint]
        swapped = name.replace("left", "*").replace("right", "left").replace("*", "right")
        assert topology.joints[partner] == swapped
    assert {(topology.mirror[child], topology.mirror[parent]) for child, parent in bones} == bones


def test_named_joints(topology: Topology) -> None:
    assert [topology.joints[i] for i in topology.shoulders] == ["left shoulder", "right shoulder"]
    assert [topology.joints[i] for i in topology.hips] == ["left hip", "right hip"]
    assert topology.joints[topology.root] in ("spine mid", "spine")
    assert topology.root == 1
