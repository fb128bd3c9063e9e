"""Unseen classes by their texts."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from llmar_pipeline.evaluation import baselines, text_read_out
from llmar_pipeline.evaluation.text_read_out import led_to_texts, movement, with_prototypes
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import COCO17


def test_by_hand():
    """Features -1 and 1 have mean 0 and deviation 1; texts e1 and e2, less their mean, are (1, -1) / 2 and
    (-1, 1) / 2. X'X / 2 + 1 = 2 and X'Y / 2 = (-1, 1) / 2, so a feature x leads to x (-1, 1) / 4.
    """
    texts, features = np.eye(2), np.array([[-1.0], [1.0]])
    led, wanted = led_to_texts(features, np.array([0, 1]), texts, np.array([[3.0], [-0.5]]), texts, 1.0)
    np.testing.assert_allclose(led, [[-0.75, 0.75], [0.125, -0.125]])
    np.testing.assert_allclose(wanted, [[0.5, -0.5], [-0.5, 0.5]])


def test_it_is_ridge_regression():
    rng = np.random.default_rng(0)
    features, asked = rng.normal(2, 3, (40, 5)), rng.normal(2, 3, (7, 5))
    labels, texts, choices = rng.integers(0, 4, 40), rng.normal(0, 1, (4, 3)), rng.normal(0, 1, (3, 3))
    unit = [part / np.sqrt((part**2).sum(1))[:, None] for part in (texts, choices)]
    spread = (features - features.mean(0)).std()
    model = Ridge(alpha=40 * 7.0, fit_intercept=False).fit(
        (features - features.mean(0)) / spread, (unit[0] - unit[0].mean(0))[labels]
    )
    led, wanted = led_to_texts(features, labels, texts, asked, choices, 7.0)
    np.testing.assert_allclose(led, model.predict((asked - features.mean(0)) / spread))
    np.testing.assert_allclose(wanted, unit[1] - unit[0].mean(0))


def test_prototypes_draw_what_lies_together_to_one_class():
    """The third clip's text says nothing; its feature is the first one's."""
    scores = np.array([[0.9, -0.9], [-0.9, 0.9], [-0.01, 0.01]])
    added = with_prototypes(scores, np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]))
    assert added.argmax(axis=1).tolist() == [0, 1, 0]
    np.testing.assert_allclose(added[0], [1.9, -1.9], atol=1e-2)


def swinging(reach, speed, frames=32):
    """One joint of COCO-17 along x, all others at rest."""
    data = np.zeros((1, frames, 17, 2), np.float32)
    data[0, :, 9, 0] = reach * np.sin(speed * np.arange(frames) * 2 * np.pi / frames)
    return data


def test_movement_by_hand(tmp_path):
    """A sine of reach 3 deviates by 3 / sqrt 2 over whole periods, its steps by 2 sin(step / 2) of that."""
    with StoreWriter(tmp_path, 1, COCO17) as store, store.shard("all") as shard:
        shard.append(Sequence("a", swinging(3.0, 2)))
    places, steps = np.split(movement(SequenceStore.open(tmp_path), ["a"], 32)[0], 2)
    moved = np.flatnonzero(places > 1e-6)
    assert len(moved) == 1
    assert places[moved] == pytest.approx(3 / np.sqrt(2), rel=1e-3)
    assert steps[moved] == pytest.approx(3 / np.sqrt(2) * 2 * np.sin(2 * np.pi / 32), rel=0.05)
    assert np.count_nonzero(steps > 1e-6) == 1


CLIPS = {"t1": "up", "t2": "down", "t3": "up", "e1": "left", "e2": "right"}
SPLITS = pd.DataFrame(
    [(name, "train" if name[0] == "t" else "test", action) for name, action in CLIPS.items()],
    columns=["name", "split", "action"],
)
TEXTS = {
    "up": np.array([1.0, 0.0]),
    "down": np.array([0.0, 1.0]),
    "left": np.array([1.0, 0.2]),
    "right": np.array([0.2, 1.0]),
}
UNSEEN = ["left", "right"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Clips whose class begins with u or l swing far, the others little."""
    folder = tmp_path_factory.mktemp("made")
    with StoreWriter(folder, 1, COCO17) as writer, writer.shard("all") as shard:
        for number, (name, action) in enumerate(CLIPS.items()):
            shard.append(Sequence(name, swinging((3.0 if action[0] in "ul" else 0.5) + 0.1 * number, 2)))
    return folder


def read(store, splits=SPLITS, asked=UNSEEN):
    return text_read_out.text_read_out(store, splits, TEXTS, asked, 32)


def test_test_clips_are_answered_with_the_unseen_names_whose_texts_fit(store):
    answers = read(store)
    assert answers["name"].tolist() == ["e1", "e2"]
    assert answers["true"].tolist() == UNSEEN
    assert answers["predicted"].tolist() == answers["transductive"].tolist() == UNSEEN
    turned = read(store, asked=UNSEEN[::-1])
    assert turned["predicted"].tolist() == UNSEEN


def test_a_clip_of_the_training_is_answered_with_the_text_of_its_class(store):
    again = pd.concat([SPLITS[:2], SPLITS[:2].assign(split="test")])
    assert read(store, again, ["up", "down"])["predicted"].tolist() == ["up", "down"]


def test_among_all_classes_those_that_trained_have_a_bias_against_them(store, monkeypatch):
    monkeypatch.setattr(text_read_out, "SEEN_BIAS", 0.0)
    every = SPLITS.assign(split=["train", "train", "test", "test", "test"])
    assert set(read(store, every, list(TEXTS))["predicted"]) & {"up", "down"}
    monkeypatch.setattr(text_read_out, "SEEN_BIAS", 2.1)  # beyond any cosine
    assert set(read(store, every, list(TEXTS))["predicted"]) <= set(UNSEEN)


def test_of_many_training_clips_some_are_drawn(store, monkeypatch):
    monkeypatch.setattr(baselines, "MOST_FITTED", 2)
    assert len(read(store)) == 2


def test_without_unseen_classes_nothing_is_read(tmp_path):
    answers = text_read_out.text_read_out(tmp_path / "none", SPLITS, {}, (), 32)
    assert answers.empty
    assert "transductive" in answers
