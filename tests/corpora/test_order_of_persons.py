"""Who comes first in a file must not matter: each corpus has a rule of its own for actor 1."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.formats.keypoints import to_sequence
from llmar_pipeline.corpora.formats.pyskl import forget, load_clip
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.topology import COCO17, NTU25


def two(joints: int, coordinates: int, frames: int = 20) -> np.ndarray:
    """One who stands on the left, and one who moves on the right; `[person, frame, joint, coordinate]`."""
    rng = np.random.default_rng(0)
    still = rng.uniform(0.5, 1, (1, joints, coordinates)) + np.zeros((frames, 1, 1))
    moving = rng.uniform(2, 3, (1, joints, coordinates)) + np.linspace(0, 1, frames)[:, None, None]
    return np.stack([still, moving])


def same(first: Sequence, second: Sequence) -> bool:
    return np.array_equal(first.data, second.data, equal_nan=True)


def moves(sequence: Sequence) -> list[bool]:
    return [float(np.nanstd(person[:, 0, 0])) > 0.1 for person in sequence.data]


def test_kinect(skeleton_text: Callable[..., str]) -> None:
    still, moving = two(25, 3) * [1, 5, 1]  # taller than wide: what is wide is taken for furniture
    texts = [
        skeleton_text([[(name, body[frame]) for name, body in bodies] for frame in range(20)])
        for bodies in ([("1", still), ("2", moving)], [("2", moving), ("1", still)])
    ]
    one, other = (CORPORA["ntu60"].parse("S001C001P001R001A050", text.encode()) for text in texts)
    assert same(one, other)
    assert moves(one) == [True, False]


def test_uav_human(skeleton_text: Callable[..., str]) -> None:
    bodies = [np.pad(body, ((0, 0), (0, 0), (0, 1))) for body in two(17, 2)]
    name = "P070S01G10B00H00UC102000LC092000A031R0_09131758"
    one, other = (
        CORPORA["uav"].parse(
            name,
            skeleton_text(
                [[(str(k), body[frame]) for k, body in enumerate(order)] for frame in range(20)]
            ).encode(),
        )
        for order in (bodies, bodies[::-1])
    )
    assert same(one, other)
    assert moves(one) == [True, False]


@pytest.mark.parametrize("alternating", [False, True])
def test_smarthome(alternating: bool) -> None:
    def content(turned: Callable[[int], bool]) -> bytes:
        people = two(13, 3)
        frames = []
        for frame in range(20):
            listed = [{"pose3d": person[frame].T.ravel().tolist()} for person in people]
            frames.append(listed[::-1] if turned(frame) else listed)
        return json.dumps({"frames": frames}).encode()

    name = "Walk_p03_r00_v01_c01"
    one = CORPORA["smarthome"].parse(name, content(lambda _: False))
    other = CORPORA["smarthome"].parse(name, content(lambda frame: not alternating or frame % 2 == 0))
    assert same(one, other)
    assert moves(one) == [True, False]


def absent(data: np.ndarray, person: int) -> np.ndarray:
    data = data.copy()
    data[person, :5] = np.nan
    return data


@pytest.mark.parametrize(
    ("keypoints", "first_moves"),
    [
        (two(17, 2), True),  # both are seen all the time: who moves most
        (absent(two(17, 2), 1), False),  # who is seen in most frames
        (absent(two(17, 2), 0), True),
        (np.stack([two(17, 2)[1], two(17, 2)[1] + 8]), True),  # like movements: who is further left
    ],
)
def test_keypoints_of_ones_own(keypoints: np.ndarray, first_moves: bool) -> None:
    one, other = (to_sequence("a", data, None, COCO17, 2, "down") for data in (keypoints, keypoints[::-1]))
    assert same(one, other)
    assert moves(one)[0] == first_moves
    assert np.nanmean(one.data[0, ..., 0]) < 4
    assert [body.decision for body in one.bodies] in (["actor 1", "actor 2"], ["actor 2", "actor 1"])


def test_keypoints_by_score() -> None:
    keypoints, scores = two(17, 2), np.ones((2, 20, 17))
    scores[1, :3] = 0
    one = to_sequence("a", keypoints, scores, COCO17, 2, "down")
    other = to_sequence("a", keypoints[::-1], scores[::-1], COCO17, 2, "down")
    assert same(one, other)
    assert moves(one) == [False, True]


def write(path: Path, keypoint: np.ndarray) -> Path:
    annotation: dict[str, Any] = {"frame_dir": "a", "label": 0, "total_frames": 20, "keypoint": keypoint}
    path.write_bytes(pickle.dumps({"split": {}, "annotations": [annotation]}))
    forget()
    return path


def test_pickles_of_known_corpora_keep_the_order_of_the_reference(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pkl", two(25, 3).astype(np.float32))
    assert moves(load_clip(path, 0, 0, NTU25, 2, "up")) == [False, True]
    assert moves(load_clip(path, 0, 0, NTU25, 2, "up", ranked=True)) == [True, False]


def test_a_pickle_of_ones_own(tmp_path: Path) -> None:
    sequences = []
    for number, order in enumerate((1, -1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder / "a.pkl", two(17, 2)[::order].astype(np.float32))
        (folder / "corpus.yml").write_text(
            "layout: coco17\nunits: pixels\npersons: 2\npickle: a.pkl\nclasses: [wave]\n"
        )
        sequences += list(CORPORA["custom"].read(folder))
    one, other = sequences
    assert isinstance(one, Sequence)
    assert isinstance(other, Sequence)
    assert same(one, other)
    assert moves(one) == [True, False]
    forget()
