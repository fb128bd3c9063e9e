"""Toyota Smarthome: poses that LCR-Net found in videos of daily living, in JSON files."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.detections import Track, follow, keep_two, spread
from llmar_pipeline.corpora.protocol import Protocol
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import LCRNET13, LCRNET13_2D

_ACTIVITIES = {
    "Cook.Cleandishes": "cook: clean dishes",
    "Cook.Cleanup": "cook: clean up",
    "Cook.Cut": "cook: cut",
    "Cook.Stir": "cook: stir",
    "Cook.Usestove": "cook: use stove",
    "Cutbread": "cut bread",
    "Drink.Frombottle": "drink from bottle",
    "Drink.Fromcan": "drink from can",
    "Drink.Fromcup": "drink from cup",
    "Drink.Fromglass": "drink from glass",
    "Eat.Attable": "eat at table",
    "Eat.Snack": "eat snack",
    "Enter": "enter",
    "Getup": "get up",
    "Laydown": "lay down",
    "Leave": "leave",
    "Makecoffee.Pourgrains": "make coffee: pour grains",
    "Makecoffee.Pourwater": "make coffee: pour water",
    "Maketea.Boilwater": "make tea: boil water",
    "Maketea.Insertteabag": "make tea: insert tea bag",
    "Pour.Frombottle": "pour from bottle",
    "Pour.Fromcan": "pour from can",
    "Pour.Fromkettle": "pour from kettle",
    "Readbook": "read book",
    "Sitdown": "sit down",
    "Takepills": "take pills",
    "Uselaptop": "use laptop",
    "Usetelephone": "use telephone",
    "Usetablet": "use tablet",
    "Walk": "walk",
    "WatchTV": "watch TV",
}
"""The 31 activities in label order: as files and publications write them, and in words (ours)."""
IDENTIFIERS, CLASS_NAMES = tuple(_ACTIVITIES), tuple(_ACTIVITIES.values())

_CROSS_VIEW = """
Cutbread Drink.Frombottle Drink.Fromcan Drink.Fromcup Drink.Fromglass Eat.Attable Eat.Snack Enter Getup Leave
Pour.Frombottle Pour.Fromcan Readbook Sitdown Takepills Uselaptop Usetablet Usetelephone Walk
"""
CROSS_VIEW_ACTIONS = tuple(map(IDENTIFIERS.index, _CROSS_VIEW.split()))
"""The 19 that the cross-view protocols have, in their own order (it is not the order of the 31)."""

_MOST_PEOPLE = 100  # in one frame; no home holds as many
_SHOWN = 60  # characters of a faulty value that an error quotes


def parse_name(file_name: str) -> dict[str, int]:
    """Reads activity, subject, replication, video and camera off `Activity_pSS_rRR_vVV_cCC`.

    Args:
        file_name: With or without folder and `.json`.

    Returns:
        The numbers as the name has them, and `action`, the 0-based label.

    Raises:
        SkeletonFileError: If it is not such a name.
    """
    stem = Path(file_name).name.removesuffix(".json")
    match = re.fullmatch(r"(\w+(?:\.\w+)?)_p(\d\d)_r(\d\d)_v(\d\d)_c(\d\d)", stem, re.ASCII)
    if match is None or match[1] not in IDENTIFIERS:
        raise SkeletonFileError(
            "a name such as Drink.Fromcup_p03_r02_v11_c04, its activity one of the 31", repr(stem)
        )
    subject, replication, video, camera = map(int, match.groups()[1:])
    return {
        "action": IDENTIFIERS.index(match[1]),
        "subject": subject,
        "camera": camera,
        "replication": replication,
        "video": video,
    }


def parse(name: str, content: bytes, pose: str, coordinates: int, everyone: bool = False) -> Sequence:
    """Parses `{"frames": [[person, ...], ...]}`, where a person has x of all joints, then y, then z.

    A frame that shows nobody stays in its place. Of more than two people, the two seen in most frames are
    kept (of equals those of larger spread), the first as actor 1.

    Args:
        name: The clip's name.
        content: The file.
        pose: The person's key to read, `pose3d` or `pose2d`.
        coordinates: 3 or 2.
        everyone: Whether all people are kept.

    Returns:
        The sequence; y points up. `pose2d` is in pixels. `pose3d` is in metres with y up, as LCR-Net's own
        code measures and draws it; unverified for the files of this corpus.

    Raises:
        SkeletonFileError: If it is damaged or shows nobody.

    Source: who is kept: ours (the dataset's code keeps the first two of each frame's list).
    """
    frames = _frames(content)
    people = [
        _people(frame, pose, coordinates, f"frame {number} of {len(frames)}")
        for number, frame in enumerate(frames, start=1)
    ]
    tracks = follow(people)
    if not tracks:
        raise SkeletonFileError("a person in at least one frame", f"{len(frames)} frames without one")
    for track in tracks:
        track.joints[(track.joints == 0).all(axis=-1)] = np.nan  # not seen
        if coordinates == 2:
            track.joints[..., 1] *= -1  # image rows count downwards; every transform takes y as up
    others = "two others are seen in more frames"
    return Sequence(name, *keep_two(tracks, len(frames), _presence, others, everyone))


def _presence(track: Track) -> tuple[int, float]:
    return len(track.frames), spread(track)


def _frames(content: bytes) -> list[Any]:
    try:
        recording = json.loads(content.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise SkeletonFileError("JSON", error.msg, error.lineno) from error
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise SkeletonFileError("JSON", repr(error)) from error
    frames = recording.get("frames") if isinstance(recording, dict) else None
    if not isinstance(frames, list) or not frames:
        raise SkeletonFileError("an object with frames, a list of at least one", repr(recording)[:_SHOWN])
    return frames


def _people(frame: Any, pose: str, coordinates: int, where: str) -> np.ndarray:
    """One frame's people, `[person, joint, coordinate]`, float32, without those at the origin."""
    joints = len(LCRNET13.joints)
    if not isinstance(frame, list) or len(frame) > _MOST_PEOPLE:
        raise SkeletonFileError(f"a list of at most {_MOST_PEOPLE} people as {where}", repr(frame)[:_SHOWN])
    people = np.empty((len(frame), coordinates, joints), np.float32)
    for number, person in enumerate(frame, start=1):
        values = person.get(pose) if isinstance(person, dict) else None
        seen, kinds = f"a {type(values).__name__}", set[type]()
        if isinstance(values, list):
            kinds = {type(value) for value in values}
            seen = f"{len(values)} values of {', '.join(sorted(kind.__name__ for kind in kinds))}"
        if isinstance(values, list) and kinds <= {int, float} and len(values) == coordinates * joints:
            try:
                with np.errstate(over="ignore"):
                    people[number - 1] = np.array(values, np.float64).reshape(coordinates, joints)
                if np.isfinite(people[number - 1]).all():
                    continue
            except OverflowError:
                pass
            seen = "one that is not finite"
        expected = f"{coordinates * joints} finite numbers as {pose} of person {number} in {where}"
        raise SkeletonFileError(expected, seen[:_SHOWN])
    return people[people.any(axis=(1, 2))].transpose(0, 2, 1)


_XSUB = Protocol(
    "xsub",
    by="subject",
    train=frozenset({3, 4, 6, 7, 9, 12, 13, 15, 17, 19, 25}),
    test=frozenset({2, 10, 11, 14, 16, 18, 20}),
)
_XVIEW1, _XVIEW2 = (
    Protocol(
        name,
        by="camera",
        train=cameras,
        test=frozenset({2}),
        val=frozenset({5}),
        actions=CROSS_VIEW_ACTIONS,
    )
    for name, cameras in [("xview1", frozenset({1})), ("xview2", frozenset({1, 3, 4, 6, 7}))]
)

_corpus = partial(
    Corpus,
    class_names=CLASS_NAMES,
    suffix=".json",
    parse_name=parse_name,
    protocols={"xsub": _XSUB, "xview1": _XVIEW1, "xview2": _XVIEW2},
    persons=2,
    download=(
        "Request the Toyota Smarthome skeletons at https://project.inria.fr/toyotasmarthome/, or, for "
        "smarthome_refined, take those of https://github.com/YangDi666/SSTA-PRS, and unpack the trimmed "
        "clips' .json files into this folder."
    ),
    citation=(
        "S. Das, R. Dai, M. Koperski, L. Minciullo, L. Garattoni, F. Bremond, G. Francesca. Toyota "
        "Smarthome: Real-World Activities of Daily Living. ICCV 2019."
    ),
    metric="mean_class_accuracy",
    clips=16_115,
    class_clips=(
        *(378, 380, 178, 579, 96, 45, 341, 325, 2241, 65, 617, 216, 444, 833, 181, 416),
        *(64, 76, 62, 56, 276, 59, 107, 942, 1116, 344, 396, 451, 49, 4070, 712),
    ),
)

_in_3d, _in_2d = (partial(parse, pose=f"pose{axes}d", coordinates=axes) for axes in (3, 2))

SMARTHOME = _corpus(
    name="smarthome",
    topology=LCRNET13,
    parse=_in_3d,
    parse_everyone=partial(_in_3d, everyone=True),
)

SMARTHOME2D = _corpus(
    name="smarthome2d",
    topology=LCRNET13_2D,
    parse=_in_2d,
    parse_everyone=partial(_in_2d, everyone=True),
    units="pixels",
    vertical="down",
)
