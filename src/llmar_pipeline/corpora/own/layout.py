"""Layouts of joints: those that come with the package, and users' own in a small YAML file."""

from itertools import chain
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmar_pipeline.corpora.own.yaml_file import read_yaml
from llmar_pipeline.corpora.sources import leaves
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.topology import COCO17, KINECT20, NTU25, Topology

_FOLDER = Path(__file__).with_name("layouts")
_OF_CORPORA = {topology.name: topology for topology in (NTU25, KINECT20, COCO17)}

LAYOUTS = tuple(sorted([*_OF_CORPORA, *(path.stem for path in _FOLDER.glob("*.yml"))]))
"""Names of the layouts that come with the package."""


class Layout(BaseModel):
    """A skeleton by the names of its joints.

    Attributes:
        name: Short name.
        joints: Names in the order of the keypoints.
        parents: Parent of each joint but one, the top of the tree.
        mirror: Pairs (left, right); a joint in no pair lies on the midline.
        root: The joint that centring subtracts.
        shoulders: Left and right shoulder.
        hips: Left and right hip.
        coordinates: 2 or 3.
        vertical: The way y grows in files of this kind; None where it depends on the units.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1)
    joints: list[str] = Field(min_length=2)
    parents: dict[str, str]
    mirror: list[list[str]]
    root: str
    shoulders: list[str]
    hips: list[str]
    coordinates: Literal[2, 3] = 3
    vertical: Literal["up", "down"] | None = None

    @model_validator(mode="after")
    def _is_a_tree(self) -> Self:
        known = set(self.joints)
        if len(known) < len(self.joints):
            twice = next(joint for joint in self.joints if self.joints.count(joint) > 1)
            raise ValueError(f"expected joints with different names, saw {twice!r} twice")
        for key, pairs in {"mirror": self.mirror, "shoulders": [self.shoulders], "hips": [self.hips]}.items():
            for pair in pairs:
                if len(pair) != 2 or pair[0] == pair[1]:
                    raise ValueError(f"expected {key} as a pair [left, right] of joints, saw {pair}")
        for key, used in {
            "parents": chain(self.parents, self.parents.values()),
            "mirror": chain(*self.mirror),
            "root": [self.root],
            "shoulders": self.shoulders,
            "hips": self.hips,
        }.items():
            for joint in used:
                if joint not in known:
                    raise ValueError(f"expected names out of joints in {key}, saw {joint!r}")
        paired = list(chain(*self.mirror))
        if len(set(paired)) < len(paired):
            twice = next(joint for joint in paired if paired.count(joint) > 1)
            raise ValueError(f"expected each joint in one pair of mirror at most, saw {twice!r} twice")
        tops = [joint for joint in self.joints if joint not in self.parents]
        if len(tops) != 1:
            raise ValueError(f"expected parents for all joints but one, saw none for {tops}")
        for joint in self.joints:
            above = joint
            for _ in self.joints:
                above = self.parents.get(above, above)
            if above != tops[0]:
                raise ValueError(f"expected parents that lead up to {tops[0]!r}, saw a circle at {joint!r}")
        return self

    @property
    def topology(self) -> Topology:
        """The same with joints by number."""
        number = {joint: i for i, joint in enumerate(self.joints)}
        partner = dict(self.mirror) | {right: left for left, right in self.mirror}
        return Topology(
            name=self.name,
            joints=tuple(self.joints),
            parents=tuple(number.get(self.parents.get(joint, ""), -1) for joint in self.joints),
            mirror=tuple(number[partner.get(joint, joint)] for joint in self.joints),
            root=number[self.root],
            shoulders=(number[self.shoulders[0]], number[self.shoulders[1]]),
            hips=(number[self.hips[0]], number[self.hips[1]]),
            coordinates=self.coordinates,
        )


def find_layout(layout: str, folder: Path) -> tuple[Topology, Literal["up", "down"] | None]:
    """A layout by its name, or by the path of its file.

    Args:
        layout: One of `LAYOUTS`, or a YAML file's path relative to the folder.
        folder: The user's folder.

    Returns:
        The topology, and the way y grows in such files where the layout says so.

    Raises:
        UserError: If there is none, or it is no tree of joints.
    """
    if layout in _OF_CORPORA:
        return _OF_CORPORA[layout], None
    path = _FOLDER / f"{layout}.yml" if layout in LAYOUTS else folder / layout
    if layout not in LAYOUTS and (leaves(path, folder) or not path.is_file()):
        raise UserError(
            f"{folder / 'corpus.yml'}, layout: expected one of {', '.join(LAYOUTS)}, or a YAML file in this "
            f"folder, saw {layout!r:.80}; see docs/data.md."
        )
    found = read_yaml(path, Layout)
    return found.topology, found.vertical
