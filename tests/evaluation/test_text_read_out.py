"""Unseen classes by their texts."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge

from llmar_pipeline.evaluation import baselines
from llmar_pipeline.evaluation.text_read_out import nearest_texts, text_read_out
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import COCO17, Body
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE


def test_by_hand():
    """Features -1 and 1 have mean 0 and deviation 1; texts e1 and e2, less their mean, are (1, -1) / 2 and
    (-1, 1) / 2. X'X + 2 = 4 and X'Y = (-1, 1), so a feature x leads to x (-1, 1) / 4: for x > 0 towards e2.
    """
    texts, features = np.eye(2), np.array([[-1.0], [1.0]])
    scores = nearest_texts(features, np.array([0, 1]), texts, np.array([[3.0], [-0.5]]), texts, strength=2.0)
    np.testing.assert_allclose(scores, [[-1, 1], [1, -1]])


def test_it_is_ridge_regression():
    rng = np.random.default_rng(0)
    features, asked = rng.normal(2, 3, (40, 5)), rng.normal(2, 3, (7, 5))
    labels, texts, choices = rng.integers(0, 4, 40), rng.normal(0, 1, (4, 3)), rng.normal(0, 1, (3, 3))
    unit = [part / np.sqrt((part**2).sum(1))[:, None] for part in (texts, choices)]
    spread = (features - features.mean(0)).std()
    model = Ridge(alpha=7.0, fit_intercept=False).fit(
        (features - features.mean(0)) / spread, (unit[0] - unit[0].mean(0))[labels]
    )
    led, wanted = model.predict((asked - features.mean(0)) / spread), unit[1] - unit[0].mean(0)
    expected = [[float(a @ b / np.sqrt((a @ a) * (b @ b))) for b in wanted] for a in led]
    np.testing.assert_allclose(nearest_texts(features, labels, texts, asked, choices, 7.0), expected)


CLIPS = {"t1": "up", "t2": "down", "t3": "up", "e1": "left", "e2": "right"}
SPLITS = pd.DataFrame(
    [(name, "train" if name[0] == "t" else "test", action) for name, action in CLIPS.items()],
    columns=["name", "split", "action"],
)
SEEN = {"up": np.array([1.0, 0.0]), "down": np.array([0.0, 1.0])}
UNSEEN = {"left": np.array([1.0, 0.2]), "right": np.array([0.2, 1.0])}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    with StoreWriter(folder / "sequences", 1, COCO17) as store, store.shard("all") as shard:
        for name in CLIPS:
            shard.append(Sequence(name, rng.normal(0, 1, (1, 20, 17, 2)).cumsum(1).astype(np.float32)))
    torch.manual_seed(0)
    settings = {"code_dim": 12, "codes": 8, "width": 16, "frames": 16, "depth": 1, "human_weight": 0}
    VQVAE(VQVAEConfig(**settings), Body(COCO17, 1)).save(folder / "vqvae")
    return folder


def test_test_clips_are_answered_with_unseen_names(made):
    answers = text_read_out(made / "vqvae", made / "sequences", SPLITS, SEEN, UNSEEN)
    assert answers["name"].tolist() == ["e1", "e2"]
    assert answers["true"].tolist() == ["left", "right"]
    assert set(answers["predicted"]) <= {"left", "right"}
    turned = text_read_out(made / "vqvae", made / "sequences", SPLITS, SEEN, dict(reversed(UNSEEN.items())))
    assert turned["predicted"].tolist() == answers["predicted"].tolist()


def test_a_clip_of_the_training_is_answered_with_the_text_of_its_class(made):
    again = pd.concat([SPLITS[:2], SPLITS[:2].assign(split="test")])
    answers = text_read_out(made / "vqvae", made / "sequences", again, SEEN, SEEN)
    assert answers["predicted"].tolist() == ["up", "down"]


def test_of_many_training_clips_some_are_drawn(made, monkeypatch):
    monkeypatch.setattr(baselines, "MOST_FITTED", 2)
    assert len(text_read_out(made / "vqvae", made / "sequences", SPLITS, SEEN, UNSEEN)) == 2


def test_without_unseen_classes_nothing_is_read(tmp_path):
    assert text_read_out(tmp_path / "none", tmp_path / "none", SPLITS, {}, {}).empty
