"""Northwestern-UCLA: Kinect v1 recordings in JSON files."""

import json
import re
from pathlib import Path

import numpy as np

from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.formats.nested_lists import read_nested
from llmar_pipeline.corpora.plausible import empty_frames_missing
from llmar_pipeline.corpora.protocol import Protocol
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import KINECT20

_ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)  # the ids in file names, in label order


def parse_name(file_name: str) -> dict[str, int]:
    """Reads action, subject, episode and view off `aAA_sSS_eEE_vVV`.

    Args:
        file_name: With or without folder and `.json`.

    Returns:
        `action` (0-based label), `subject`, `camera` (the view) and `replication` (the episode).

    Raises:
        SkeletonFileError: If it is not such a name.
    """
    stem = Path(file_name).name.removesuffix(".json")
    match = re.fullmatch(r"a(\d\d)_s(\d\d)_e(\d\d)_v(\d\d)", stem, re.ASCII)
    if match is None or int(match[1]) not in _ACTIONS:
        raise SkeletonFileError(f"a name such as a08_s01_e00_v02, action one of {_ACTIONS}", repr(stem))
    action, subject, episode, view = map(int, match.groups())
    return {"action": _ACTIONS.index(action), "subject": subject, "camera": view, "replication": episode}


def parse(name: str, content: bytes) -> Sequence:
    """Parses `{"skeletons": [frame][20][3], "label": 1..10}`; each clip shows one person.

    Raises:
        SkeletonFileError: If it is damaged, or its label is not the one its name says.
    """
    try:
        recording = json.loads(content.decode("utf-8"))
        label, skeletons = recording["label"], recording["skeletons"]
    except json.JSONDecodeError as error:
        raise SkeletonFileError("JSON", error.msg, error.lineno) from error
    except UnicodeDecodeError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise SkeletonFileError(
            "an object with label and skeletons, [frame][joint][3]", repr(error)
        ) from error
    points = read_nested(skeletons, "skeletons", ("", "frame", "joint", "coordinate"))
    if points.shape[1:] != (len(KINECT20.joints), 3) or not len(points):
        seen = f"shape {list(points.shape)}"
        raise SkeletonFileError(f"numbers of shape [frame][{len(KINECT20.joints)}][3]", seen)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused below
        data = points[None].astype(np.float32)
    if not np.isfinite(data).all():
        frame, joint = np.argwhere(~np.isfinite(data))[0, 1:3]
        raise SkeletonFileError("finite coordinates", f"another value in frame {frame}, joint {joint}")
    try:
        expected = parse_name(name)["action"] + 1
    except SkeletonFileError:  # whoever loads a clip by its name has refused it before
        expected = label
    if label != expected:
        raise SkeletonFileError(f"label {expected}, as the name says", f"label {label!r}")
    return Sequence(name, empty_frames_missing(data))


NWUCLA = Corpus(
    name="nwucla",
    topology=KINECT20,
    class_names=(
        "pick up with one hand",
        "pick up with two hands",
        "drop trash",
        "walk around",
        "sit down",
        "stand up",
        "donning",
        "doffing",
        "throw",
        "carry",
    ),
    suffix=".json",
    parse_name=parse_name,
    parse=parse,
    protocols={
        "xview": Protocol(
            "xview", by="camera", train=frozenset({1, 2}), test=frozenset({3}), counts=(1_020, 464)
        )
    },
    persons=1,
    clips=1_484,
    clip_frames=39.4,  # counted in all files
    download=(
        "Download the Northwestern-UCLA skeletons as JSON (all_sqe.zip, linked from "
        "https://github.com/Uason-Chen/CTR-GCN) and unpack the .json files into this folder."
    ),
    citation=(
        "J. Wang, X. Nie, Y. Xia, Y. Wu, S.-C. Zhu. Cross-view Action Modeling, Learning, and "
        "Recognition. CVPR 2014."
    ),
)
