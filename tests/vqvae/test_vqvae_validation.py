"""The loss of stage 1 on validation clips: its value by hand, and no trace in what is trained."""

import numpy as np
import pytest
import torch
from tiny_training import GRAPH, schedule

from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import COCO17
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.train import Language, train_vqvae
from llmar_pipeline.vqvae.windows import Clips, stacked

NAMES = [f"clip {i}" for i in range(10)]
VAL_NAMES, VAL_LABELS = [f"val {i}" for i in range(7)], [i % 3 for i in range(7)]
SMALL = {"code_dim": 16, "codes": 32, "width": 16, "frames": 16, "usage_decay": 0.5, "mmd_words": 20}
WORDS = Language(words=torch.randn(50, 16, generator=torch.Generator().manual_seed(0)))
EVERYTHING = {
    "lineage": {},
    "graph": GRAPH | {"continuous_steps": 4},
}


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("sequences"), np.random.default_rng(0)
    with StoreWriter(folder, 1, COCO17) as store, store.shard("all") as shard:
        for number, name in enumerate(NAMES + VAL_NAMES):
            data = rng.normal(0, 0.1, (1, 20, 17, 2)).cumsum(1).astype(np.float32)
            data[:, :, 17 - number % 4 :] = np.nan  # clips weigh differently in the mean over joints
            shard.append(Sequence(name, data))
    return folder


@pytest.fixture
def train(sequences):
    """Train with everything random; returns model and history."""

    def run(folder, val=True, training=None, **changes):
        return train_vqvae(
            sequences,
            NAMES,
            [i % 3 for i in range(10)],
            VQVAEConfig(**SMALL | changes),
            AugmentationConfig(min_crop=0.5, rotation=0.3, tilt=0.1, scale=0.1, noise=0.01, mirror=True),
            schedule(**{"save_every": 3, "log_every": 2} | (training or {})),
            folder,
            WORDS,
            val_names=VAL_NAMES if val else [],
            val_labels=VAL_LABELS if val else [],
        )

    return run


def test_the_last_values_by_hand(train, sequences, tmp_path):
    """Seven clips, in two batches of about the training's four; without biases, which depend on a batch."""
    changes = {"human_weight": 0, "auxiliary": "class", "auxiliary_weight": 0.3, "auxiliary_dropout": 0.5}
    model, history = train(tmp_path, training={"save_every": 20}, label_smoothing=0.1, **changes)
    assert ["validation_loss" in record for record in history] == [False, False, False, True]

    store = SequenceStore.open(sequences)
    losses, right = [], []
    for batch in (range(4), range(4, 7)):
        clips = Clips.load(store, [VAL_NAMES[index] for index in batch])
        motion, mask = clips.windows(stacked([clips.plain(i) for i in range(len(batch))]), 16, "local")
        with torch.no_grad():
            features = model.encode(motion)
            reconstruction = model.decode(codes := model.nearest_codes(features))
            logits = model.auxiliary[0].linear(features.mean((1, 2)) * 16**0.5).double().numpy()
        gap = (reconstruction - motion).abs().double().numpy()
        smooth = np.where(gap < 1, gap**2 / 2, gap - 0.5)[mask.numpy()].mean()
        apart = (features[:, :, 0] - model.code_embeddings()[codes]).detach().double().square().sum(-1).mean()
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        truth = [VAL_LABELS[index] for index in batch]
        told = 0.9 * log_p[range(len(batch)), truth] + 0.1 * log_p.mean(1)
        total = smooth + (1 + model.settings.commitment_weight) * float(apart) - 0.3 * told.mean()
        losses += [total] * len(batch)
        right += list(logits.argmax(1) == truth)
    assert history[-1]["validation_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert history[-1]["validation_accuracy"] == pytest.approx(np.mean(right))


@pytest.mark.slow
@pytest.mark.parametrize("changes", EVERYTHING)
def test_nothing_of_the_training_changes(changes, train, tmp_path):
    (plain, expected), (watched, history) = (
        train(tmp_path / str(val), val, **EVERYTHING[changes]) for val in (False, True)
    )
    for name, tensor in plain.state_dict().items():
        assert torch.equal(watched.state_dict()[name], tensor), name
    names = {name for record in history for name in record if name.startswith("validation_")}
    assert names == {"validation_loss"} | ({"validation_accuracy"} if changes == "graph" else set())
    at = [record["step"] for record in history if "validation_loss" in record]
    assert at == [3, 6, 8]
    assert all(np.isfinite(record[name]) for record in history for name in names & record.keys())
    assert [{k: v for k, v in record.items() if k not in names} for record in history] == expected


@pytest.mark.slow
@pytest.mark.parametrize("changes", EVERYTHING)
def test_a_stopped_training_goes_on_with_the_same_history(changes, train, tmp_path, monkeypatch):
    _, history = train(tmp_path / "whole", **EVERYTHING[changes])
    forward, done = VQVAE.forward, []

    def failing(self, *args, **kwargs):
        done.append(self.training)
        if sum(done) > 9:  # two passes a step: in the fifth
            raise KeyboardInterrupt
        return forward(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(VQVAE, "forward", failing)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed", **EVERYTHING[changes])
    assert len(done) > sum(done)  # validated once
    assert train(tmp_path / "killed", **EVERYTHING[changes])[1] == history
