"""Continuous steps: features first, then the codebook takes its place and the encoder stays as it is."""

import functools

import numpy as np
import pytest
import torch
from bodies import chain
from tiny_training import schedule

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import COCO17, NTU25, Body
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.train import train_vqvae

BODY = chain(5)
SMALL = {"code_dim": 16, "codes": 8, "width": 16, "frames": 16, "depth": 1, "human_weight": 0}
HEADS = {"auxiliary": "class", "auxiliary_weight": 1.0, "auxiliary_reads": "both", "commitment_weight": 0.25}
GUARDS = {
    "codebook_update": "ema",
    "initialisation": "kmeans",
    "continuous_steps": 15,
    "max_norm": 1.5,
    "dead_below": 0.02,
}


def batch(clips=32):
    motion = torch.randn(clips, 16, 15, generator=torch.Generator().manual_seed(0)).cumsum(1) / 8
    return motion, torch.ones_like(motion, dtype=torch.bool), torch.arange(clips) % 4


@functools.cache
def trained(codes, encoder="conv", guards=True):
    """Sixty steps from a cold start with heads on both sides.

    Returns:
        The model, and of each step the distance of features to codes (0 without), the longest feature, the
        longest code.
    """
    torch.manual_seed(0)
    config = VQVAEConfig(**SMALL | HEADS | (GUARDS if guards else {}) | {"codes": codes, "encoder": encoder})
    model = VQVAE(config, BODY, classes=4)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, betas=(0.9, 0.98), weight_decay=0.05)
    motion, mask, labels = batch()
    course = []
    for step in range(1, 61):
        optimizer.zero_grad()
        output = model(motion, mask, labels)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        if model.frozen:
            model.encoder.zero_grad()
        optimizer.step()
        if step == config.continuous_steps:
            model.place_codes([(motion, mask)])
        distance = output.commitment_loss
        longest = [
            x.detach().norm(dim=-1).max().item() for x in (model.encode(motion), model.code_embeddings())
        ]
        course.append((0.0 if distance is None else distance.item(), *longest))
    return model, np.array(course)


@pytest.mark.parametrize("encoder", ["conv", "graph"])
@pytest.mark.parametrize("codes", [8, 512])
def test_with_its_guards_a_cold_start_stays_bounded(codes, encoder):
    _, course = trained(codes, encoder)
    distance, features, embeddings = course.T
    assert not distance[:15].any()
    assert distance[15:].max() < 1.2 * distance[15] + 0.01  # as near as k-means put them
    assert distance[15] < 0.4  # of a squared norm of about 1
    assert features.max() < 1.5 + 1e-5
    assert embeddings.max() < 1.6  # starts are blurred by a hundredth


@pytest.mark.parametrize("codes", [8, 512])
def test_without_them_features_run_away_from_their_codes(codes):
    """Gradient codes, no bound, no continuous steps, and a head behind the codebook."""
    _, course = trained(codes, guards=False)
    distance, features, embeddings = course.T
    assert distance[0] < 0.1
    assert distance.max() > 5
    assert features.max() > 3 * embeddings.max()


def test_norms_are_cut_at_the_bound_and_directions_stay():
    torch.manual_seed(0)
    free, cut = (VQVAE(VQVAEConfig(**SMALL, max_norm=bound), BODY) for bound in (None, 1.7))
    cut.load_state_dict(free.state_dict())
    before, after = (model.encode(3 * batch()[0]) for model in (free, cut))
    norms = before.norm(dim=-1)
    assert norms.min() < 1.7 < norms.max()
    torch.testing.assert_close(after.norm(dim=-1), norms.clamp(max=1.7))
    torch.testing.assert_close(after, before * (after.norm(dim=-1) / norms).unsqueeze(-1))


def test_before_the_codebook_has_its_place_features_go_to_the_decoder_as_they_are():
    torch.manual_seed(0)
    model = VQVAE(VQVAEConfig(**SMALL | HEADS | GUARDS), BODY, classes=4)
    motion, mask, labels = batch()
    output = model(motion, mask, labels)
    assert (model.continuous, model.frozen) == (True, False)
    torch.testing.assert_close(output.reconstruction, model.decode(model.encode(motion)))
    assert (output.codes, output.commitment_loss, output.embedding_loss) == (None, None, None)
    assert not model.quantizer.placed
    model.eval().place_codes([(motion, mask)])
    assert (model.continuous, model.frozen, model.training) == (False, True, False)
    output = model.train()(motion, mask, labels)
    assert output.codes.shape == (32, 4)
    assert (model.training, model.encoder.training) == (True, False)
    output.loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p is not model.quantizer.books[0].tangent)
    assert not any(p.grad.any() for p in model.encoder.parameters())
    assert all(head.linear.weight.grad.any() for head in model.auxiliary)


def test_both_heads_read_their_own_side_of_the_codebook():
    model, _ = trained(8)
    motion, mask, labels = batch()
    output = model.train()(motion, mask, labels)
    present, features = torch.ones(32, 4, 1, dtype=torch.bool), model.encode(motion)
    sides = (features, model.quantizer.lookup(output.codes))
    told = [head(x, present, labels) for head, x in zip(model.auxiliary, sides, strict=True)]
    torch.testing.assert_close(output.auxiliary_loss, sum(told) / 2)
    rest = output.reconstruction_loss + 0.25 * output.commitment_loss
    torch.testing.assert_close(output.loss, rest + sum(told))
    said = model.auxiliary[0].logits(features, present)
    torch.testing.assert_close(model.classify(features, mask), said.log_softmax(1))
    votes = model.eval().code_votes()[output.codes].mean(1)  # the head is linear
    torch.testing.assert_close(votes, model.auxiliary[1].logits(sides[1], present))


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("body_parts", [False, True])
def test_the_votes_of_the_codes_are_what_the_head_reads(levels, body_parts):
    torch.manual_seed(0)
    kind = {"residual_levels": levels, "body_parts": body_parts, "initialisation": "random"}
    model = VQVAE(VQVAEConfig(**SMALL, auxiliary="class", **kind), Body(NTU25, 2), classes=3).eval()
    sentences = torch.randint(8, (4, 4 * model.tokens_a_step))
    sentences += 8 * torch.arange(model.tokens_a_step).repeat(4)  # of each its own codebook's codes
    summed = model.quantizer.lookup(sentences)
    everywhere = torch.ones(summed.shape[:3], dtype=torch.bool)
    expected = model.auxiliary[0].logits(summed, everywhere)
    torch.testing.assert_close(model.code_votes()[sentences].mean(1), expected)
    assert VQVAE(VQVAEConfig(**SMALL), BODY).code_votes() is None


NAMES = [f"clip {i}" for i in range(10)]  # two and a half batches: checkpoints lie amid the epochs


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("sequences"), np.random.default_rng(0)
    with StoreWriter(folder, 1, COCO17) as store, store.shard("all") as shard:
        for name in NAMES:
            data = rng.normal(0, 0.1, (1, 20, 17, 2)).cumsum(1).astype(np.float32)
            shard.append(Sequence(name, data))
    return folder


def train(sequences, folder, max_steps=8, **changes):
    """All that is random is on; a checkpoint each third step."""
    values = SMALL | HEADS | GUARDS | {"encoder": "graph", "further_streams": ("bones",), "dropout": 0.2}
    model, history = train_vqvae(
        sequences,
        NAMES,
        [number % 4 for number in range(10)],
        VQVAEConfig(**values | {"auxiliary_dropout": 0.3, "label_smoothing": 0.1} | changes),
        AugmentationConfig(min_crop=0.5, rotation=0.3, tilt=0.1, scale=0.1, noise=0.01, mirror=True),
        schedule(max_steps=max_steps),
        folder,
    )
    return model.state_dict(), history


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "continuous", "passes"),
    # Two passes a step: stopped before the codebook's place, about it, behind it; placed with a
    # checkpoint, or between two.
    [("conv", 4, 7), ("graph", 3, 5), ("graph", 4, 7), ("graph", 3, 11)],
)
def test_a_stopped_training_goes_on_bit_by_bit(encoder, continuous, passes, sequences, tmp_path, monkeypatch):
    changes = {"encoder": encoder, "continuous_steps": continuous}
    whole, history = train(sequences, tmp_path / "whole", **changes)
    forward, done = VQVAE.forward, []

    def failing(self, *args, **kwargs):
        done.append(1)
        if len(done) > passes:
            raise KeyboardInterrupt
        return forward(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(VQVAE, "forward", failing)
        with pytest.raises(KeyboardInterrupt):
            train(sequences, tmp_path / "stopped", **changes)
    stopped, continued = train(sequences, tmp_path / "stopped", **changes)
    assert [record["loss"] for record in continued] == [record["loss"] for record in history]
    assert {name for name, tensor in whole.items() if not torch.equal(tensor, stopped[name])} == set()


@pytest.fixture
def placed(monkeypatch):
    """The weights right after each placing of codes."""
    place_codes, states = VQVAE.place_codes, []

    def noted(self, *args):
        place_codes(self, *args)
        states.append({name: tensor.clone() for name, tensor in self.state_dict().items()})

    monkeypatch.setattr(VQVAE, "place_codes", noted)
    return states


@pytest.mark.parametrize("encoder", ["graph", "conv"])
def test_the_encoder_stays_to_the_last_bit_once_the_codebook_has_its_place(
    encoder, sequences, tmp_path, placed
):
    final, history = train(sequences, tmp_path, encoder=encoder, continuous_steps=3)
    (then,) = placed
    moved = {name for name, tensor in then.items() if not torch.equal(tensor, final[name])}
    assert {name.split(".")[0] for name in moved} == {"quantizer", "decoder", "auxiliary"}
    with_codes = ["commitment_loss" in record for record in history]
    assert with_codes == [False] * 3 + [True] * 5


def test_the_encoder_learns_in_the_continuous_steps(sequences, tmp_path, placed):
    for steps in (3, 7):
        train(sequences, tmp_path / str(steps), continuous_steps=steps)
    early, late = placed
    encoder = {name for name in late if name.startswith("encoder.")}
    assert {name for name in encoder if torch.equal(early[name], late[name])} == set()


def test_the_codebook_needs_steps_and_a_place(sequences, tmp_path):
    with pytest.raises(UserError, match=r"continuous_steps below vqvae_training\.max_steps=8, saw 8"):
        train(sequences, tmp_path, continuous_steps=8)
    with pytest.raises(ValueError, match="continuous_steps needs initialisation"):
        VQVAEConfig(code_dim=8, continuous_steps=1, initialisation="random")
