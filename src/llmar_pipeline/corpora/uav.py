"""UAV-Human: image poses of people filmed from a drone, in the text layout of NTU RGB+D."""

import re
from functools import partial
from pathlib import Path

import numpy as np

from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.detections import Track, keep_two, spread
from llmar_pipeline.corpora.formats.skeleton_text import parse_bodies
from llmar_pipeline.corpora.protocol import Protocol
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import COCO17

_CLASSES = """
drink; eat snacks; brush hair; drop something; pick up something; throw away something; sit down; stand up;
applaud; read; write; put on a coat; take off a coat; put on glasses; take off glasses; put on a hat;
take off a hat; throw away a hat; cheer; wave hands; kick something; reach into pockets; jump on single leg;
jump on two legs; make a phone call; play with cell phones; point somewhere; look at the watch; rub hands;
bow; shake head; salute; cross palms together; cross arms in front to say no; wear headphones;
take off headphones; make a shh sign; touch the hair; thumb up; thumb down; make an OK sign;
make a victory sign; punch with fists; figure snap; open the bottle; smell; squat; apply cream to face;
apply cream to hands; grasp a bag; put down a bag; put something into a bag; take something out of a bag;
open a box; move a box; put up hands; put hands on hips; wrap arms around; shake arms;
step on the spot walk; kick aside; kick backward; cough; sneeze; yawn; blow nose; stagger; headache;
chest discomfort; backache; neck-ache; vomit; use a fan; stretch body; punching someone; kicking someone;
pushing someone; slap someone on the back; point someone; hug; give something to someone;
steal something from other\u2019s pocket; rob something from someone; shake hands; walk toward someone;
walk away from someone; hit someone with something; threat some with a knife; bump into someone;
walk side by side; high five; drink a toast; move something with someone; take a phone for someone;
stalk someone; whisper in someone\u2019s ear; exchange something with someone;
lend an arm to support someone; rock-paper-scissors; hover; land; land at designated locations;
move forward; move backward; move left; move right; ascend; descend; accelerate; decelerate; come over here;
stay where you are; rear right turn; rear left turn; abandon landing; all clear; not clear; have command;
follow me; turn left; turn right; throw litter; dig a hole; mow; set on fire; smoke; cut the tree; fishing;
pick a lock; pollute walls; hold someone hostage; threat someone with a gun; wave a goodbye; chase someone;
comfort someone; drag someone; sweep the floor; mop the floor; bounce the ball; shoot at the basket;
swing the racket; leg pressing; escape (to survive); call for help; wear a mask; take off a mask;
bend arms around someone\u2019s shoulder; run; stab someone with a knife; throw a frisbee;
carry a carrying pole; use a lever to lift something; walk; open an umbrella; close an umbrella
"""
CLASS_NAMES = tuple(_CLASSES.replace("\n", " ").strip().split("; "))
"""The 155 actions in label order."""

_CSV1 = """
0 2 5 6 7 8 10 11 12 13 14 15 16 17 18 19 20 21 25 26 27 28 29 30 32 33 34 35 36 37 38 39 40 42 43 44 45 46
47 48 49 50 51 52 53 55 56 57 59 61 62 63 64 65 67 68 69 70 71 73 76 77 78 79 80 81 82 83 84 85 86 87 88 89
90 98 100 102 103 105 106 110 111 112 114 115 116 117 118
"""
_CSV2 = """
0 3 4 5 6 8 10 11 12 14 16 18 19 20 21 22 24 26 29 30 31 32 35 36 37 38 39 40 43 44 45 46 47 49 52 54 56 57
59 60 61 62 63 64 66 67 69 70 71 72 73 74 75 77 78 79 80 81 83 84 86 87 88 89 91 92 93 94 95 96 97 99 100
101 102 103 104 106 107 108 109 110 111 112 113 114 115 117 118
"""
_MOST_PEOPLE = 4  # in one frame; the official code looks no further


def parse_name(file_name: str) -> dict[str, int]:
    """Reads subject, setup, action and replication off such a name as the example below.

    `P070S01G10B00H00UC102000LC092000A031R0_09131758`: gender, backpack, hat, upper and lower clothing and
    the time of recording are passed over.

    Args:
        file_name: With or without folder and `.txt`.

    Returns:
        The numbers as the name has them (actions count from 0 here).

    Raises:
        SkeletonFileError: If it is not such a name, or its action is not of the corpus.
    """
    stem = Path(file_name).name.removesuffix(".txt")
    match = re.fullmatch(r"P(\d+)S(\d+)G\d+B\d+H\d+UC\d+LC\d+A(\d+)R(\d+)_\d+", stem, re.ASCII)
    if match is None or int(match[3]) >= len(CLASS_NAMES):
        raise SkeletonFileError(
            "a name such as P070S01G10B00H00UC102000LC092000A031R0_09131758, action 0 to 154", repr(stem)
        )
    subject, setup, action, replication = map(int, match.groups())
    return {"action": action, "subject": subject, "setup": setup, "replication": replication}


def parse(name: str, content: bytes, everyone: bool = False) -> Sequence:
    """Parses a file and keeps the two people that move most, the first as actor 1.

    Ids mean nothing here, so a person is who stands at the same place in each frame's list; only the first
    four places count. A frame that shows nobody stays where it is. With `everyone` all people at all places
    are kept.

    Returns:
        The sequence in pixels, y up; a joint at 0, 0 is missing.

    Raises:
        SkeletonFileError: If it is damaged or shows nobody.

    Source: the dataset's official code (`read_xyz`), which cuts at 300 frames besides.
    """
    ids, positions = parse_bodies(content.decode("utf-8"), len(COCO17.joints))
    joints = positions[..., :2] * np.array(
        [1, -1], np.float32
    )  # image rows count downwards; y is up everywhere else
    joints[(joints == 0).all(axis=-1)] = np.nan
    frame = np.repeat(np.arange(len(ids)), [len(people) for people in ids])
    place = np.concatenate([np.arange(len(people)) for people in ids])
    seen = ~np.isnan(joints).all(axis=(1, 2))
    tracks = [
        Track(str(n + 1), frame[shown], joints[shown])
        for n in range(1 + int(place.max(initial=0)) if everyone else _MOST_PEOPLE)
        if (shown := seen & (place == n)).any()
    ]
    if not tracks:
        raise SkeletonFileError("a person in at least one frame", f"{len(ids)} frames without one")
    return Sequence(name, *keep_two(tracks, len(ids), spread, "two others move more", everyone))


UAV = Corpus(
    name="uav",
    topology=COCO17,
    class_names=CLASS_NAMES,
    suffix=".txt",
    parse_name=parse_name,
    parse=parse,
    parse_everyone=partial(parse, everyone=True),
    protocols={
        "csv1": Protocol("csv1", by="subject", train=frozenset(map(int, _CSV1.split()))),
        "csv2": Protocol("csv2", by="subject", train=frozenset(map(int, _CSV2.split()))),
    },
    persons=2,
    download=(
        "Request the UAV-Human skeletons as https://github.com/sutdcv/UAV-Human says and unpack the .txt "
        "files into this folder."
    ),
    citation=(
        "T. Li, J. Liu, W. Zhang, Y. Ni, W. Wang, Z. Li. UAV-Human: A Large Benchmark for Human Behavior "
        "Understanding with Unmanned Aerial Vehicles. CVPR 2021."
    ),
    units="pixels",
    vertical="down",
)
