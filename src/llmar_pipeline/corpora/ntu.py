"""NTU RGB+D and NTU RGB+D 120: Kinect v2 recordings in `.skeleton` files."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmar_pipeline.corpora.actors import select_actors
from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.formats.skeleton_text import parse_bodies
from llmar_pipeline.corpora.protocol import Protocol
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import NTU25

if TYPE_CHECKING:
    import pandas as pd

_CLASSES = """
drink water; eat meal/snack; brushing teeth; brushing hair; drop; pickup; throw; sitting down;
standing up (from sitting position); clapping; reading; writing; tear up paper; wear jacket;
take off jacket; wear a shoe; take off a shoe; wear on glasses; take off glasses; put on a hat/cap;
take off a hat/cap; cheer up; hand waving; kicking something; reach into pocket; hopping (one foot jumping);
jump up; make a phone call/answer phone; playing with phone/tablet; typing on a keyboard;
pointing to something with finger; taking a selfie; check time (from watch); rub two hands together;
nod head/bow; shake head; wipe face; salute; put the palms together; cross hands in front (say stop);
sneeze/cough; staggering; falling; touch head (headache); touch chest (stomachache/heart pain);
touch back (backache); touch neck (neckache); nausea or vomiting condition;
use a fan (with hand or paper)/feeling warm; punching/slapping other person; kicking other person;
pushing other person; pat on back of other person; point finger at the other person; hugging other person;
giving something to other person; touch other person's pocket; handshaking; walking towards each other;
walking apart from each other; put on headphone; take off headphone; shoot at the basket; bounce ball;
tennis bat swing; juggling table tennis balls; hush (quite); flick hair; thumb up; thumb down; make ok sign;
make victory sign; staple book; counting money; cutting nails; cutting paper (using scissors);
snapping fingers; open bottle; sniff (smell); squat down; toss a coin; fold paper; ball up paper;
play magic cube; apply cream on face; apply cream on hand back; put on bag; take off bag;
put something into a bag; take something out of a bag; open a box; move heavy objects; shake fist;
throw up cap/hat; hands up (both hands); cross arms; arm circles; arm swings; running on the spot;
butt kicks (kick backward); cross toe touch; side kick; yawn; stretch oneself; blow nose;
hit other person with something; wield knife towards other person; knock over other person (hit with body);
grab other person\u2019s stuff; shoot at other person with a gun; step on foot; high-five; cheers and drink;
carry something with other person; take a photo of other person; follow other person;
whisper in other person\u2019s ear; exchange things with other person; support somebody with hand;
finger-guessing game (playing rock-paper-scissors)
"""
CLASS_NAMES = tuple(_CLASSES.replace("\n", " ").strip().split("; "))
"""The 120 actions in label order; NTU RGB+D has the first 60."""

MISSING = frozenset(
    line
    for line in Path(__file__).with_name("ntu_missing.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
)
"""The 535 recordings that the authors ask everyone to leave out."""

MISSING_60 = frozenset(name for name in MISSING if int(name[1:4]) <= 17)
"""Those 302 of them that belong to NTU RGB+D (setups 1 to 17)."""


def parse(name: str, content: bytes, everyone: bool = False) -> Sequence:
    """Parses a `.skeleton` file and picks its actors, or keeps everyone as `select_actors` does.

    Raises:
        SkeletonFileError: If it is damaged or shows nobody.
    """
    ids, positions = parse_bodies(content.decode("utf-8"), len(NTU25.joints))
    if (zero := positions == 0).any():  # one look over all of them is ten times as fast as one at each joint
        absent = zero.all(axis=-1)  # at the sensor itself
        positions[absent] = np.nan
        if (unseen := absent.all(axis=1)).any():
            kept = iter(~unseen)
            ids = [[body for body in frame if next(kept)] for frame in ids]
            positions = positions[~unseen]
    if np.isnan(positions).all():
        raise SkeletonFileError("a body in at least one frame", f"{len(ids)} frames without one")
    return Sequence(name, *select_actors(ids, positions, everyone))


def parse_name(file_name: str, actions: int) -> dict[str, int]:
    """Reads setup, camera, subject, replication and action off `SsssCcccPpppRrrrAaaa`.

    Args:
        file_name: With or without folder and `.skeleton`.
        actions: Number of actions in the corpus.

    Returns:
        The numbers as the name has them, except `action`, which is the 0-based label.

    Raises:
        SkeletonFileError: If it is not such a name, or its action is not of the corpus.
    """
    stem = Path(file_name).name.removesuffix(".skeleton")
    match = re.fullmatch(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", stem, re.ASCII)
    if match is None or not 1 <= int(match[5]) <= actions:
        of_120 = match is not None and actions < int(match[5]) <= len(CLASS_NAMES)
        other = (
            " (NTU RGB+D 120 is --env=ntu120; of both in one folder, move the files of setup 18 on)"
            if of_120
            else ""
        )
        raise SkeletonFileError(
            f"a name such as S001C002P003R002A013, action 1 to {actions}{other}", repr(stem)
        )
    setup, camera, subject, replication, action = map(int, match.groups())
    return {
        "action": action - 1,
        "subject": subject,
        "camera": camera,
        "setup": setup,
        "replication": replication,
    }


_SUBJECTS_60 = frozenset({1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38})
_SUBJECTS_120 = _SUBJECTS_60 | {
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78),
    *(80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94, 95, 97, 98, 100, 103),
}


def captured(index: pd.DataFrame, excluded: frozenset[str]) -> set[str]:
    """Names of all recordings that belong to the setups and subjects of an index.

    Every subject of a setup did all of its actions (1 to 60 in setups 1 to 17, 61 to 120 in the others) twice
    before three cameras.

    Args:
        index: One row a clip.
        excluded: The missing list: it shows setups and subjects, too.

    Source: the published numbers: 56,880 = 158 x 360 and 57,600 = 160 x 360 recordings.
    """
    seen = set(zip(index["setup"], index["subject"], strict=True))
    seen |= {(int(name[1:4]), int(name[9:12])) for name in excluded}
    return {
        f"S{setup:03}C{camera:03}P{subject:03}R{replication:03}A{action:03}"
        for setup, subject in seen
        for camera in (1, 2, 3)
        for replication in (1, 2)
        for action in (range(1, 61) if setup <= 17 else range(61, 121))
    }


NTU60 = Corpus(
    name="ntu60",
    topology=NTU25,
    class_names=CLASS_NAMES[:60],
    suffix=".skeleton",
    parse_name=partial(parse_name, actions=60),
    parse=parse,
    parse_everyone=partial(parse, everyone=True),
    protocols={
        "xsub": Protocol(
            "xsub", by="subject", train=_SUBJECTS_60, counts=(40_091, 16_487), excluded=MISSING_60
        ),
        "xview": Protocol(
            "xview",
            by="camera",
            train=frozenset({2, 3}),
            test=frozenset({1}),
            counts=(37_646, 18_932),
            excluded=MISSING_60,
        ),
    },
    clips=56_578,
    # Seven recordings at hand have 77 frames on average (the publication's "4 million frames" of 56,880 clips
    # make 70), and 11 of the 60 actions are done by two persons.
    clip_frames=77 * (1 + 11 / 60),
    frame_rate=30,  # of a Kinect v2
    captured=partial(captured, excluded=MISSING_60),
    persons=2,
    download=(
        "Request the NTU RGB+D skeletons (nturgbd_skeletons_s001_to_s017.zip) at "
        "https://rose1.ntu.edu.sg/dataset/actionRecognition/ and unpack the .skeleton files into this folder."
    ),
    citation=(
        "A. Shahroudy, J. Liu, T.-T. Ng, G. Wang. NTU RGB+D: A Large Scale Dataset for 3D Human Activity "
        "Analysis. CVPR 2016."
    ),
    excluded=MISSING_60,
)

NTU120 = Corpus(
    name="ntu120",
    topology=NTU25,
    class_names=CLASS_NAMES,
    suffix=".skeleton",
    parse_name=partial(parse_name, actions=120),
    parse=parse,
    parse_everyone=partial(parse, everyone=True),
    protocols={
        "xsub": Protocol(
            "xsub", by="subject", train=_SUBJECTS_120, counts=(63_026, 50_919), excluded=MISSING
        ),
        "xset": Protocol(
            "xset",
            by="setup",
            train=frozenset(range(2, 33, 2)),
            test=frozenset(range(1, 32, 2)),
            counts=(54_468, 59_477),
            excluded=MISSING,
        ),
    },
    clips=113_945,
    frame_rate=30,
    clip_frames=77 * (1 + 26 / 120),  # as for NTU60 ("8 million frames" make 70), 26 actions of two persons
    captured=partial(captured, excluded=MISSING),
    persons=2,
    download=(
        "Request the NTU RGB+D 120 skeletons (nturgbd_skeletons_s001_to_s017.zip and "
        "nturgbd_skeletons_s018_to_s032.zip) at https://rose1.ntu.edu.sg/dataset/actionRecognition/ and "
        "unpack the .skeleton files of both into this folder."
    ),
    citation=(
        "J. Liu, A. Shahroudy, M. Perez, G. Wang, L.-Y. Duan, A. C. Kot. NTU RGB+D 120: A Large-Scale "
        "Benchmark for 3D Human Activity Understanding. IEEE TPAMI 2020."
    ),
    excluded=MISSING,
)
