"""Pickles of the pyskl kind: a whole dataset in one file.

`{"split": {name: [frame_dir, ...]}, "annotations": [{frame_dir, label, total_frames, keypoint [M, T, V, C],
keypoint_score [M, T, V]}, ...]}`; zeros stand for what was not detected.
"""

import functools
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from llmar_pipeline.corpora.formats.keypoints import advice, to_sequence
from llmar_pipeline.corpora.formats.unpickling import load_pickle
from llmar_pipeline.errors import UserError, is_safe
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import Topology


class Pickled(NamedTuple):
    """What such a file holds.

    Attributes:
        names: `frame_dir` of each annotation; one without a proper one is called by its place.
        annotations: The clips, unchecked.
        split: Names of the clips of each part.
    """

    names: list[str]
    annotations: list[Any]
    split: dict[str, list[str]]


def read_pyskl(path: Path) -> Pickled:
    """Reads such a file; the last one stays in memory (as large as the file) until `forget`.

    Raises:
        UserError: If it is another kind of file.
    """
    return _read(Path(path), Path(path).stat().st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _read(path: Path, _modified: int) -> Pickled:
    content = load_pickle(path)
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list | tuple) or not annotations:
        seen = f"the keys {sorted(map(str, content))}"[:100] if isinstance(content, dict) else _shown(content)
        raise UserError(
            f"{path}: expected a pyskl pickle, a dictionary with split and annotations, saw {seen}; "
            "write it as https://github.com/kennymckormick/pyskl describes, its keys as str."
        )
    names = [_name(annotation) or f"annotation {i}" for i, annotation in enumerate(annotations)]
    split = content.get("split", {})
    if not isinstance(split, dict):
        raise UserError(f"{path}: expected split to give a list of names for each part, saw {_shown(split)}.")
    return Pickled(names, list(annotations), {part: _members(path, part, split[part]) for part in split})


def _members(path: Path, part: Any, members: Any) -> list[str]:
    if isinstance(members, np.ndarray) and members.dtype.kind == "U":
        members = members.tolist()
    listed = list(members) if isinstance(members, list | tuple | set | frozenset) else [members]
    if wrong := [name for name in (part, *listed) if not isinstance(name, str)]:
        raise UserError(
            f"{path}: expected a list of names (str) as split {_shown(part)}, those of the annotations, "
            f"saw {_shown(wrong[0])} in it; write each as str(name), bytes of Python 2 as name.decode()."
        )
    return listed


forget = _read.cache_clear
"""Gives the memory of the last file back."""


def _name(annotation: Any) -> str:
    name = annotation.get("frame_dir") if isinstance(annotation, dict) else None
    return name if isinstance(name, str) and is_safe(name) else ""


def protocols_of(split: dict[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """Protocols of a file: `xsub_train` and `xsub_val` are `xsub`, `train1` and `test1` are `split1`.

    Returns:
        By protocol, the names under "train", "test" and, where the file has all three, "val". pyskl calls
        its test clips `val`. A protocol without training or test clips is left out.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for part, names in split.items():
        if match := re.fullmatch(r"(?:([A-Za-z]\w*)_)?(train|val|test)(\d*)", part, re.ASCII):
            found.setdefault((match[1] or "split") + match[3], {})[match[2]] = names
    for protocol in found.values():
        if "test" not in protocol and "val" in protocol:
            protocol["test"] = protocol.pop("val")
    return {name: protocol for name, protocol in found.items() if {"train", "test"} <= set(protocol)}


def load_clip(
    path: Path,
    position: int,
    action: int | None,
    topology: Topology,
    persons: int | None,
    vertical: Literal["up", "down"],
    ranked: bool = False,
) -> Sequence:
    """Reads one annotation.

    Args:
        path: The pickle.
        position: Place of the annotation in it.
        action: The label it must have; None lets it have any, or none.
        topology: The joints it must have.
        persons: Persons to keep at most; None keeps everyone, as `to_sequence`.
        vertical: The way y grows: "down" for keypoints in an image.
        ranked: As in `to_sequence`. Pickles of known corpora have the order of the field's preprocessing.

    Raises:
        SkeletonFileError: If it is damaged, has another label or other joints.
    """
    pickled = read_pyskl(path)
    name, annotation = pickled.names[position], pickled.annotations[position]
    if not _name(annotation):
        seen = _shown(annotation.get("frame_dir")) if isinstance(annotation, dict) else _shown(annotation)
        raise SkeletonFileError("an annotation with a name as its frame_dir, written as str(name)", seen)
    label = annotation.get("label")
    if action is not None and (not isinstance(label, int) or label != action):
        raise SkeletonFileError(f"label {action}, the action of {name}", f"label {_shown(label)}")
    keypoint = annotation.get("keypoint")
    if not _is_numeric(keypoint):
        raise SkeletonFileError("an array keypoint [person, frame, joint, coordinate]", _shown(keypoint))
    if keypoint.ndim != 4 or keypoint.shape[2:] != (len(topology.joints), topology.coordinates):
        raise SkeletonFileError(
            f"keypoint [person, frame, {len(topology.joints)}, {topology.coordinates}], the joints of "
            f"{topology.name} (other joints are read with --env=custom, where corpus.yml names their layout)",
            f"shape {list(keypoint.shape)}{advice(keypoint.shape, topology)}",
        )
    frames = annotation.get("total_frames", keypoint.shape[1])
    if not isinstance(frames, int) or frames != keypoint.shape[1]:
        raise SkeletonFileError(f"{_shown(frames)} frames, its total_frames", str(keypoint.shape[1]))
    scores = annotation.get("keypoint_score")
    if scores is not None and not _is_numeric(scores):
        raise SkeletonFileError("an array keypoint_score [person, frame, joint]", _shown(scores))
    keypoint = np.where((keypoint == 0).all(axis=-1, keepdims=True), np.nan, keypoint)
    return to_sequence(name, keypoint, scores, topology, persons, vertical, ranked)


def _is_numeric(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind in "fiu"


def _shown(value: Any) -> str:
    kind = "array" if isinstance(value, np.ndarray) else type(value).__name__
    return repr(value)[:60] if isinstance(value, str | int | float | None) else f"a {kind}"
