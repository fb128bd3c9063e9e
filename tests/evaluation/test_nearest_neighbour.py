"""The nearest training clip, on joints in the box around a clip."""

import numpy as np
import pandas as pd
import pytest

from llmar_pipeline.evaluation import baselines, nearest_neighbour
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import COCO17

FRAMES = 8


def swing(axis, frames, scale=1.0, offset=0.0):
    """A body whose right wrist swings along an axis, [1, frame, 17, 2]; all else stands still."""
    rng = np.random.default_rng(5)
    body = np.repeat(rng.normal(0, 1, (1, 1, 17, 2)), frames, axis=1)
    body[0, :, 10, axis] += np.sin(np.linspace(0, 6, frames))
    return (scale * body + offset).astype(np.float32)


CLIPS = {
    "t1": ("train", "aside", swing(0, 20)),
    "t2": ("train", "up", swing(1, 20)),
    "t3": ("train", "up", swing(1, 25)),
    "e1": ("test", "up", swing(1, 31, 2.0, 5.0)),  # longer, taller, and elsewhere
    "e2": ("test", "aside", swing(0, 11, 0.5, -3.0)),
    "e3": ("test", "new", swing(0, 20)),
}


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    with StoreWriter(folder, 1, COCO17) as store, store.shard("all") as shard:
        for name, (_, _, data) in CLIPS.items():
            shard.append(Sequence(name, data))
    return folder


def splits_of(*names):
    rows = [(name, *CLIPS[name][:2]) for name in names]
    return pd.DataFrame(rows, columns=["name", "split", "action"])


def test_size_place_and_length_do_not_count(sequences):
    answers = nearest_neighbour.nearest_neighbour(sequences, splits_of(*CLIPS), FRAMES)
    assert answers["name"].tolist() == ["e1", "e2", "e3"]
    assert answers["true"].tolist() == ["up", "aside", "new"]
    assert answers["predicted"].tolist() == ["up", "aside", "aside"]


def boxed(data):
    """Of a clip that is as long as a window, in numpy: every axis from its lowest value to its highest."""
    low, high = (limit(data, axis=(1, 2), keepdims=True) for limit in (np.nanmin, np.nanmax))
    return (data - low) / (high - low)


def test_the_answer_is_that_of_numpy(tmp_path, monkeypatch):
    """Clips as long as the window, at random; boxes may lie anywhere, as distances do not ask where."""
    monkeypatch.setattr(nearest_neighbour, "_AT_ONCE", 3)
    rng, names = np.random.default_rng(3), [f"clip{i:02}" for i in range(20)]
    data = rng.normal(0, 1, (20, 1, FRAMES, 17, 2)).cumsum(2).astype(np.float32)
    with StoreWriter(tmp_path, 1, COCO17) as store, store.shard("all") as shard:
        for name, clip in zip(names, data, strict=True):
            shard.append(Sequence(name, clip))
    splits = pd.DataFrame({"name": names, "split": ["train"] * 12 + ["test"] * 8})
    splits["action"] = [f"class{i % 6}" for i in range(20)]
    boxes = np.stack([boxed(clip).ravel() for clip in data])
    gaps = np.linalg.norm(boxes[12:, None] - boxes[None, :12], axis=-1)
    answers = nearest_neighbour.nearest_neighbour(tmp_path, splits, FRAMES)
    assert answers["predicted"].tolist() == splits["action"].iloc[gaps.argmin(1)].tolist()
    assert answers["predicted"].nunique() > 1


def test_of_many_training_clips_some_are_drawn_and_no_class_is_lost(sequences, monkeypatch):
    monkeypatch.setattr(baselines, "MOST_FITTED", 2)
    read, windows = [], nearest_neighbour.plain_windows

    def watched(store, names, *others, **more):
        read.append(names)
        return windows(store, names, *others, **more)

    monkeypatch.setattr(nearest_neighbour, "plain_windows", watched)
    answers = nearest_neighbour.nearest_neighbour(sequences, splits_of(*CLIPS), FRAMES)
    assert answers["predicted"].tolist() == ["up", "aside", "aside"]
    assert [len(names) for names in read] == [2, 3]


@pytest.mark.parametrize("names", [("t1", "e1"), ("t1", "t2", "e3")])
def test_without_a_class_that_trains_and_tests_there_is_no_answer(sequences, names):
    assert nearest_neighbour.nearest_neighbour(sequences, splits_of(*names), FRAMES).empty
