"""Joint trees: which joints a skeleton has, how they hang together, and which is whose mirror image."""

from dataclasses import dataclass, replace

_MIN_JOINTS = 3  # a shorter limb, such as hips without legs, has too little motion of its own


@dataclass(frozen=True)
class Topology:
    """A skeleton's joints and how they hang together. All indices are 0-based.

    Attributes:
        name: Short name.
        joints: Joint names in file order.
        parents: Index of each joint's parent in the kinematic tree, -1 for the joint that has none.
        mirror: Index of each joint's left-right partner; a joint on the midline is its own.
        root: The joint that centring subtracts (the field's choice, not always the tree's top).
        shoulders: Left and right shoulder, which say where a person faces.
        hips: Left and right hip, the second choice for the same.
        coordinates: 2 (x, y) or 3 (x, y, z).
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    mirror: tuple[int, ...]
    root: int
    shoulders: tuple[int, int]
    hips: tuple[int, int]
    coordinates: int = 3

    @property
    def bones(self) -> list[tuple[int, int]]:
        """(child, parent) of every joint that has a parent."""
        return [(child, parent) for child, parent in enumerate(self.parents) if parent >= 0]


def body_parts(topology: Topology) -> dict[str, tuple[int, ...]]:
    """The trunk and the limbs; every joint belongs to exactly one.

    An arm is what hangs below a shoulder, a leg what hangs below a hip; legs that hang from the shoulders,
    for want of a spine, are no part of the arms. All else is the trunk, head included.

    Args:
        topology: Names shoulders, hips and parents.

    Returns:
        Joints of `trunk`, `left arm`, `right arm`, `left leg`, `right leg`, in ascending order; without the
        parts that the skeleton lacks.

    Source: the field's five parts (Du et al. 2015, hierarchical RNN); ours for trees without a spine.
    """
    names = ("left arm", "right arm", "left leg", "right leg")
    limbs = dict(zip((*topology.shoulders, *topology.hips), names, strict=True))

    def part(joint: int) -> str:
        while joint >= 0 and joint not in limbs:
            joint = topology.parents[joint]
        return limbs.get(joint, "trunk")

    of_joint = [part(joint) for joint in range(len(topology.joints))]
    short = {name for name in names if of_joint.count(name) < _MIN_JOINTS}
    of_joint = ["trunk" if name in short else name for name in of_joint]
    return {
        name: tuple(joint for joint, its in enumerate(of_joint) if its == name)
        for name in ("trunk", *names)
        if name in of_joint
    }


@dataclass(frozen=True)
class Body:
    """What a model works on: the joints of a skeleton, and how many people have them.

    A channel is one coordinate of one joint of one person. Channels are numbered persons first, of each the
    joints, of each the coordinates.

    Attributes:
        topology: The joints.
        persons: People in every clip; absent ones are missing (NaN).
    """

    topology: Topology
    persons: int

    def __str__(self) -> str:
        joints = f"{len(self.topology.joints)} joints of {self.topology.coordinates} coordinates"
        return f"{self.topology.name} ({joints}), {self.persons} person{'s' * (self.persons > 1)}"

    @property
    def channels(self) -> int:
        """Numbers a frame: persons x joints x coordinates (NTU RGB+D: 2 x 25 x 3 = 150)."""
        return self.persons * len(self.topology.joints) * self.topology.coordinates

    def part_channels(self, by_part: bool = True) -> list[list[int]]:
        """The channels of each body part, those of all persons together.

        Args:
            by_part: False takes the whole body for one part.

        Returns:
            Channels of each part, in the order of `body_parts`.

        Source: ours.
        """
        joints, coordinates = len(self.topology.joints), self.topology.coordinates
        first = [[(p * joints + j) * coordinates for j in range(joints)] for p in range(self.persons)]
        return [
            [place[joint] + axis for place in first for joint in members for axis in range(coordinates)]
            for members in self.members(by_part)
        ]

    def members(self, by_part: bool = True) -> list[tuple[int, ...]]:
        """The joints of each body part; by_part=False takes the whole body for one part."""
        if not by_part:
            return [tuple(range(len(self.topology.joints)))]
        return list(body_parts(self.topology).values())


NTU25 = Topology(
    name="ntu25",
    joints=(
        *("spine base", "spine mid", "neck", "head"),
        *("left shoulder", "left elbow", "left wrist", "left hand"),
        *("right shoulder", "right elbow", "right wrist", "right hand"),
        *("left hip", "left knee", "left ankle", "left foot"),
        *("right hip", "right knee", "right ankle", "right foot"),
        *("spine shoulder", "left hand tip", "left thumb", "right hand tip", "right thumb"),
    ),
    parents=(-1, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 7, 7, 11, 11),
    mirror=(0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 20, 23, 24, 21, 22),
    root=1,
    shoulders=(4, 8),
    hips=(12, 16),
)
"""Kinect v2, as in NTU RGB+D (25 joints)."""

KINECT20 = Topology(
    name="kinect20",
    joints=(
        *("hip centre", "spine", "shoulder centre", "head"),
        *("left shoulder", "left elbow", "left wrist", "left hand"),
        *("right shoulder", "right elbow", "right wrist", "right hand"),
        *("left hip", "left knee", "left ankle", "left foot"),
        *("right hip", "right knee", "right ankle", "right foot"),
    ),
    parents=(-1, 0, 1, 2, 2, 4, 5, 6, 2, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18),
    mirror=(0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15),
    root=1,
    shoulders=(4, 8),
    hips=(12, 16),
)
"""Kinect v1, as in Northwestern-UCLA (20 joints)."""

KINECT20_HEAD_FIRST = Topology(
    name="kinect20_head_first",
    joints=(
        *("head", "shoulder centre", "spine", "hip centre"),
        *("left shoulder", "left elbow", "left wrist", "left hand"),
        *("right shoulder", "right elbow", "right wrist", "right hand"),
        *("left hip", "left knee", "left ankle", "left foot"),
        *("right hip", "right knee", "right ankle", "right foot"),
    ),
    parents=(1, 2, 3, -1, 1, 4, 5, 6, 1, 8, 9, 10, 3, 12, 13, 14, 3, 16, 17, 18),
    mirror=(0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15),
    root=2,
    shoulders=(4, 8),
    hips=(12, 16),
)
"""Kinect v1 in the order of UTD-MHAD: the trunk from the head down (20 joints)."""

LCRNET13 = Topology(
    name="lcrnet13",
    joints=(
        *("right ankle", "left ankle", "right knee", "left knee", "right hip", "left hip"),
        *("right wrist", "left wrist", "right elbow", "left elbow", "right shoulder", "left shoulder"),
        "head",
    ),
    parents=(2, 3, 4, 5, 10, 11, 8, 9, 10, 11, 12, 12, -1),
    mirror=(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12),
    root=12,
    shoulders=(11, 10),
    hips=(5, 4),
)
"""LCR-Net, as in Toyota Smarthome (13 joints); of the trunk it has the head alone."""

LCRNET13_2D = replace(LCRNET13, name="lcrnet13_2d", coordinates=2)
"""The same in the image."""

COCO17 = Topology(
    name="coco17",
    joints=(
        *("nose", "left eye", "right eye", "left ear", "right ear"),
        *("left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist"),
        *("left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle"),
    ),
    parents=(-1, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14),
    mirror=(0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15),
    root=0,
    shoulders=(5, 6),
    hips=(11, 12),
    coordinates=2,
)
"""COCO's keypoints, as in UAV-Human (17 joints).

The official code of UAV-Human centres on joint 1, which is the spine in NTU RGB+D but the left eye here; the
nose next to it lies on the midline, so that a mirrored body stays centred.
"""
