from pathlib import Path
from typing import Any

import pytest
import yaml

from llmar_pipeline.corpora.own.layout import LAYOUTS, find_layout
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.topology import COCO17, KINECT20, NTU25

STICK = {
    "name": "stick",
    "joints": ["head", "left hand", "right hand", "hip"],
    "parents": {"head": "hip", "left hand": "head", "right hand": "head"},
    "mirror": [["left hand", "right hand"]],
    "root": "hip",
    "shoulders": ["left hand", "right hand"],
    "hips": ["left hand", "right hand"],
}


def test_a_layout_of_a_users_own(tmp_path: Path) -> None:
    (tmp_path / "stick.yml").write_text(yaml.safe_dump(STICK | {"coordinates": 2}), encoding="utf-8")
    topology, vertical = find_layout("stick.yml", tmp_path)
    assert topology.joints == ("head", "left hand", "right hand", "hip")
    assert topology.parents == (3, 0, 0, -1)
    assert topology.mirror == (0, 2, 1, 3)
    assert (topology.root, topology.shoulders, topology.hips, topology.coordinates) == (3, (1, 2), (1, 2), 2)
    assert vertical is None


def test_layouts_of_corpora_are_their_topologies(tmp_path: Path) -> None:
    for topology in (NTU25, KINECT20, COCO17):
        assert find_layout(topology.name, tmp_path) == (topology, None)
    assert LAYOUTS == ("coco17", "kinect20", "mediapipe33", "ntu25", "openpose25")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_a_symmetric_tree(layout: str, tmp_path: Path) -> None:
    topology, _ = find_layout(layout, tmp_path)
    assert topology.name == layout
    assert len(topology.joints) == int(layout[-2:])
    assert topology.parents.count(-1) == 1
    for joint, (parent, partner) in enumerate(zip(topology.parents, topology.mirror, strict=True)):
        assert topology.mirror[partner] == joint
        above = [joint]
        while topology.parents[above[-1]] >= 0:
            above.append(topology.parents[above[-1]])
            assert len(above) <= len(topology.joints)
        assert topology.parents[partner] == (topology.mirror[parent] if parent >= 0 else -1)
        left_to_right = topology.joints[joint].replace("left", "right", 1)
        if topology.joints[joint].startswith("left"):
            assert topology.joints[partner] == left_to_right
    assert topology.mirror[topology.root] == topology.root
    for left, right in (topology.shoulders, topology.hips):
        assert topology.joints[left].startswith("left")
        assert topology.mirror[left] == right


def test_numbers_of_the_detectors() -> None:
    """Spot checks against the detectors' own tables."""
    mediapipe, down = find_layout("mediapipe33", Path())
    names = {
        0: "nose",
        7: "left ear",
        11: "left shoulder",
        16: "right wrist",
        23: "left hip",
        28: "right ankle",
    }
    assert {i: mediapipe.joints[i] for i in names} == names
    assert (mediapipe.coordinates, down) == (3, "down")
    openpose, down = find_layout("openpose25", Path())
    names = {
        1: "neck",
        2: "right shoulder",
        8: "mid hip",
        14: "left ankle",
        19: "left big toe",
        24: "right heel",
    }
    assert {i: openpose.joints[i] for i in names} == names
    assert (openpose.coordinates, down) == (2, "down")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": ["head", "left hand", "right hand", "hip", "hip"]}, "different names, saw 'hip' twice"),
        ({"joints": ["head"]}, "joints: .*at least 2"),
        ({"joints": [1, 2]}, r"joints\.0: .*string: put it in quotes, .*saw 1"),
        ({"parents": {"head": "hip", "left hand": "head"}}, "all joints but one, saw none for"),
        ({"parents": STICK["parents"] | {"hip": "head"}}, "all joints but one, saw none for"),  # type: ignore[operator]
        (
            {"parents": {"head": "left hand", "left hand": "right hand", "right hand": "head"}},
            "lead up to 'hip', saw a circle at 'head'",
        ),
        ({"parents": {"head": "hip", "left hand": "tail", "right hand": "head"}}, "in parents, saw 'tail'"),
        ({"mirror": [["left hand", "tail"]]}, "in mirror, saw 'tail'"),
        ({"mirror": [["left hand"]]}, "expected mirror as a pair"),
        ({"mirror": [["left hand", "left hand"]]}, "expected mirror as a pair"),
        (
            {"mirror": [["left hand", "right hand"], ["hip", "left hand"]]},
            "one pair .* saw 'left hand' twice",
        ),
        ({"root": "tail"}, "in root, saw 'tail'"),
        ({"root": None}, "root: .*string; saw None"),
        ({"hips": ["left hand", "right hand", "hip"]}, "expected hips as a pair"),
        ({"coordinates": 4}, "coordinates: .*2 or 3; saw 4"),
        ({"size": 4}, "size: .*its keys: name, joints"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / "own.yml").write_text(yaml.safe_dump(STICK | change), encoding="utf-8")
    with pytest.raises(UserError, match=f"own.yml.*{message}") as caught:
        find_layout("own.yml", tmp_path)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: [", r"own\.yml, line 1: expected YAML"),
        (b"", "name: Field required; saw nothing"),
        (b"- a", "the whole file: .*saw \\['a'\\]"),
        (b"\xff\xfea", r"own\.yml: expected YAML"),
        (b"a: !!python/object/apply:os.system [ls]", "expected YAML, saw: could not determine a constructor"),
        (b"[" * 1500, "expected YAML"),
        (
            b"a: &a [x,x,x,x,x,x,x,x]\n"
            + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 8)) for c in range(98, 112)),
            "name: Field required",
        ),
    ],
    ids=["open", "empty", "list", "utf-16", "object", "deep", "laughs"],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "own.yml").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        find_layout("own.yml", tmp_path)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"layout: expected one of coco17, .*, saw 'coco18'; see docs/data\.md"
    ):
        find_layout("coco18", tmp_path)
