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


def test_it_is_the_nearest_by_hand(sequences, monkeypatch):
    """Of three clips, one at a time: boxes are as wide as their data, and the nearest is that of numpy."""
    monkeypatch.setattr(nearest_neighbour, "_AT_ONCE", 1)
    store = nearest_neighbour.SequenceStore.open(sequences)
    made = [window.numpy() for window in nearest_neighbour._boxed(store, ["t1", "t2", "e1"], FRAMES)]
    assert [window.shape for window in made] == [(1, FRAMES * 34)] * 3
    a, b, asked = (window.reshape(FRAMES, 17, 2) for window in made)
    assert np.ptp(a, axis=(0, 1)) == pytest.approx([np.ptp(a[..., 0]), np.ptp(a[..., 1])])
    assert np.linalg.norm(asked - b) < np.linalg.norm(asked - a)


def test_of_many_training_clips_some_are_drawn_and_no_class_is_lost(sequences, monkeypatch):
    monkeypatch.setattr(baselines, "MOST_FITTED", 2)
    answers = nearest_neighbour.nearest_neighbour(sequences, splits_of(*CLIPS), FRAMES)
    assert answers["predicted"].tolist() == ["up", "aside", "aside"]


@pytest.mark.parametrize("names", [("t1", "e1"), ("t1", "t2", "e3")])
def test_without_a_class_that_trains_and_tests_there_is_no_answer(sequences, names):
    assert nearest_neighbour.nearest_neighbour(sequences, splits_of(*names), FRAMES).empty
