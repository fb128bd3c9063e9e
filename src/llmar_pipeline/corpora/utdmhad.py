"""UTD-MHAD: Kinect v1 recordings in MATLAB files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.formats.matlab import read_numbers
from llmar_pipeline.corpora.plausible import empty_frames_missing
from llmar_pipeline.corpora.protocol import Protocol
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import KINECT20_HEAD_FIRST

if TYPE_CHECKING:
    import pandas as pd

_CLASSES = """
swipe left; swipe right; wave; clap; throw; arm cross; basketball shoot; draw X; draw circle clockwise;
draw circle counter clockwise; draw triangle; bowling; boxing; baseball swing; tennis swing; arm curl;
tennis serve; push; knock; catch; pickup and throw; jog; walk; sit to stand; stand to sit; lunge; squat
"""
CLASS_NAMES = tuple(_CLASSES.replace("\n", " ").strip().split("; "))
"""The 27 actions in label order; the wording of the names differs between sources."""

_CORRUPTED = {"a8_s1_t4_skeleton", "a23_s6_t4_skeleton", "a27_s8_t4_skeleton"}
_SHOWN = 60  # characters of a shape that an error quotes


def parse_name(file_name: str) -> dict[str, int]:
    """Reads action, subject and trial off `aA_sS_tT_skeleton`.

    Args:
        file_name: With or without folder and `.mat`.

    Returns:
        `action` (0-based label), `subject` and `replication` (the trial).

    Raises:
        SkeletonFileError: If it is not such a name.
    """
    stem = Path(file_name).name.removesuffix(".mat")
    match = re.fullmatch(r"a([1-9]\d?)_s([1-9])_t([1-9])_skeleton", stem, re.ASCII)
    if match is None or int(match[1]) > len(CLASS_NAMES):
        raise SkeletonFileError("a name such as a12_s3_t4_skeleton, action 1 to 27", repr(stem))
    action, subject, trial = map(int, match.groups())
    return {"action": action - 1, "subject": subject, "replication": trial}


def parse(name: str, content: bytes) -> Sequence:
    """Parses `d_skel`, `[joint, coordinate, frame]`, in metres with y up; each clip shows one person.

    Raises:
        SkeletonFileError: If it is damaged.
    """
    skeletons = read_numbers(content, "d_skel")
    joints = len(KINECT20_HEAD_FIRST.joints)
    if skeletons.ndim != 3 or skeletons.shape[:2] != (joints, 3) or not skeletons.size:
        seen = f"shape {list(skeletons.shape)}"
        raise SkeletonFileError(f"d_skel of shape [{joints}, 3, frames]", seen[:_SHOWN])
    with np.errstate(over="ignore"):
        data = skeletons.transpose(2, 0, 1)[None].astype(np.float32)
    if not np.isfinite(data).all():
        frame, joint = np.argwhere(~np.isfinite(data))[0, 1:3]
        raise SkeletonFileError("finite coordinates", f"another value in frame {frame}, joint {joint}")
    return Sequence(name, empty_frames_missing(data))


def captured(index: pd.DataFrame) -> set[str]:
    """27 actions, four times, of each subject in the index, without three corrupted clips.

    Source: the dataset's description (861 sequences are left after three were removed); which three: those
    that the published archive lacks.
    """
    grid = {
        f"a{action}_s{subject}_t{trial}_skeleton"
        for action in range(1, len(CLASS_NAMES) + 1)
        for subject in index["subject"].unique()
        for trial in range(1, 5)
    }
    return grid - _CORRUPTED


UTDMHAD = Corpus(
    name="utdmhad",
    topology=KINECT20_HEAD_FIRST,
    class_names=CLASS_NAMES,
    suffix=".mat",
    parse_name=parse_name,
    parse=parse,
    protocols={
        "xsub": Protocol(
            "xsub",
            by="subject",
            train=frozenset({1, 3, 5, 7}),
            test=frozenset({2, 4, 6, 8}),
            counts=(431, 430),
        )
    },
    persons=1,
    download=(
        "Download the UTD-MHAD skeletons (Skeleton.zip) from "
        "https://personal.utdallas.edu/~kehtar/UTD-MHAD.html "
        "and unpack the .mat files into this folder."
    ),
    citation=(
        "C. Chen, R. Jafari, N. Kehtarnavaz. UTD-MHAD: A Multimodal Dataset for Human Action Recognition "
        "Utilizing a Depth Camera and a Wearable Inertial Sensor. ICIP 2015."
    ),
    clips=861,
    clip_frames=67.7,  # counted in all files
    frame_rate=30,  # of a Kinect
    captured=captured,
)
