"""Joint trees: which joints a skeleton has, how they hang together, and which is whose mirror image."""

from dataclasses import dataclass


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
