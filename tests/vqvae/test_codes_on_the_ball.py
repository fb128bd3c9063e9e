"""Codes kept as points of the ball: the same codes as tangent vectors, moved by Riemannian Adam."""

import sys

import mpmath
import numpy as np
import pytest
import torch
from bodies import chain
from geoopt import ManifoldParameter
from geoopt.manifolds.stereographic import PoincareBall
from tiny_training import schedule

from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import NTU25
from llmar_pipeline.training.trainer import riemannian_adam
from llmar_pipeline.vqvae.codebook import Codebook
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.losses import embedding_loss
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.train import train_vqvae

RATE = 1e-3
TINY = VQVAEConfig(code_dim=24, codes=16, width=16, frames=32, usage_decay=0.5, mmd_weight=0, codes_as="ball")
WALL = 3.106  # artanh(1 - 4e-3), where geoopt keeps float32 points


def codebook_at(vectors, **settings):
    """A codebook of points whose log-mapped codes are these."""
    codebook = Codebook(len(vectors), vectors.shape[1], codes_as="ball", initialisation="random", **settings)
    codebook.to(vectors.dtype)
    with torch.no_grad():
        codebook._place(vectors)
    return codebook


def optimizer_of(module, **changes):
    settings = schedule(**{"learning_rate": RATE, "weight_decay": 0.0} | changes)
    return riemannian_adam(module, [name for name, _ in module.named_parameters()], settings, 1e-8)


def everywhere(features):
    return torch.ones(len(features), dtype=torch.bool)


def log_mapped(points, c):
    """Eq. 10 in 60 digits, row by row."""
    rows = []
    with mpmath.workdps(60):
        for row in points.double().tolist():
            scaled = mpmath.sqrt(mpmath.mpf(c)) * mpmath.norm(mpmath.matrix(row))
            rows.append([float(mpmath.atanh(scaled) / scaled * entry) for entry in row])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("c", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_codes_are_points_of_the_ball_and_come_out_log_mapped(c, dtype, tolerance):
    directions = torch.nn.functional.normalize(torch.randn(6, 17, dtype=torch.float64), dim=1)
    norms = torch.tensor([1e-6, 0.1, 0.5, 1.0, 2.0, 3.0]).double()[:, None] / c**0.5
    codebook = codebook_at((norms * directions).to(dtype), curvature=c)
    assert isinstance(codebook.points, ManifoldParameter)
    assert [name for name, _ in codebook.named_parameters()] == ["points"]
    assert (c**0.5 * codebook.points.norm(dim=1) < 1).all()
    assert codebook.embeddings().dtype == dtype
    expected = log_mapped(codebook.points.detach(), c)
    torch.testing.assert_close(codebook.embeddings().double(), expected, rtol=2e-7, atol=0)
    # What was put in comes out, but for the digits that the points near the boundary do not have.
    torch.testing.assert_close(expected, norms * directions, rtol=tolerance, atol=0)


def test_the_same_seed_gives_the_same_codes_as_tangent_vectors_and_nearest_codes():
    features = torch.randn(200, 8)
    torch.manual_seed(0)
    tangent = Codebook(32, 8, curvature=0.7)
    torch.manual_seed(0)
    points = Codebook(32, 8, curvature=0.7, codes_as="ball")
    torch.testing.assert_close(points.embeddings(), tangent.embeddings(), rtol=1e-5, atol=1e-7)
    assert torch.equal(points.partners, tangent.partners)
    torch.testing.assert_close(points.distances(features), tangent.distances(features), rtol=1e-5, atol=0)
    oracle = PoincareBall(0.7)
    by_search = oracle.dist(oracle.expmap0(features.double())[:, None], points.points.detach().double()[None])
    assert torch.equal(points.nearest(features), by_search.argmin(1))
    assert torch.equal(points.lookup(torch.tensor([[3, 1]])), points.embeddings()[[3, 1]][None])


def test_float32_points_end_at_geoopts_wall():
    codebook = codebook_at(torch.eye(4) * torch.tensor([3.0, 3.2, 9.0, 50.0]))
    assert codebook.embeddings().norm(dim=1).tolist() == pytest.approx([3, WALL, WALL, WALL], abs=1e-3)
    assert torch.isfinite(torch.autograd.grad(codebook.embeddings().sum(), codebook.points)[0]).all()


def test_starts_restarts_and_averages_are_written_as_points():
    torch.manual_seed(0)
    first = 1 + 0.1 * torch.randn(20, 4)
    codebook = Codebook(6, 4, codes_as="ball", usage_decay=0.0)
    codebook.refresh(first, everywhere(first))
    assert torch.cdist(codebook.embeddings(), first).min(1).values.max() < 0.1
    codebook.count(torch.tensor([0, 1]))
    codebook.refresh(-first, everywhere(first))  # codes 2 to 5 are dead
    assert (codebook.embeddings()[:2] > 0).all()
    assert (codebook.embeddings()[2:] < 0).all()

    averaged = codebook_at(torch.tensor([[0.1, 0.1], [2.0, 2.0]]), update="ema", usage_decay=0.75)
    before = averaged.points.detach().clone()
    averaged.refresh(torch.tensor([[1.5, 1.5]]), torch.tensor([True]))
    # To the mean by 0.25 * 2 / (0.75 + 0.25 * 2); the code that no feature chose stays to the last bit.
    assert averaged.embeddings()[1].tolist() == pytest.approx([1.8, 1.8], rel=1e-5)
    assert torch.equal(averaged.points[0], before[0])


def test_a_step_of_riemannian_adam_has_the_length_of_the_rate_in_the_balls_metric():
    """At norm 3, where the metric is lambda = 2 / (1 - tanh(3)^2) = 2 cosh(3)^2 = 202.7."""
    with mpmath.workdps(40):
        r, rate = mpmath.mpf(3), mpmath.mpf(RATE)
        shorter = mpmath.tanh(r) - rate / (2 * mpmath.cosh(r) ** 2)
        radial = float(r - mpmath.atanh(shorter))
        across = float(rate * r / mpmath.sinh(2 * r))  # rate / lambda, seen from the origin
    assert radial == pytest.approx(RATE / 2, rel=1e-3)
    assert across == pytest.approx(1.49e-5, rel=1e-2)
    for dimension in (2, 576):
        start = torch.zeros(2, dimension, dtype=torch.float64)
        start[:, 0] = 3
        for direction, expected in (([1.0, 0.0], [-radial, 0]), ([0.0, 1.0], [0, -across])):
            codebook = codebook_at(start)
            optimizer = optimizer_of(codebook)
            (codebook.embeddings()[0, :2] @ torch.tensor(direction).double()).backward()
            optimizer.step()
            moved = (codebook.embeddings() - start)[0, :2].tolist()
            assert moved == pytest.approx(expected, rel=1e-4, abs=1e-8)


def test_adam_moves_tangent_vectors_otherwise_and_ball_coordinates_out_of_hand():
    """The same radial step by Adam: each coordinate moves by the rate, whatever the metric says."""

    def step(start, norm):
        moving = torch.nn.Parameter(start.clone())
        norm(moving).backward()
        torch.optim.Adam([moving], lr=RATE).step()
        return moving.detach()

    axis = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert 3 - step(3 * axis, torch.linalg.vector_norm)[0].item() == pytest.approx(RATE)
    moved = 3 - mpmath.atanh(step(float(mpmath.tanh(3)) * axis, torch.linalg.vector_norm)[0].item())
    assert float(moved) == pytest.approx(0.0923, abs=1e-4)  # to first order 1e-3 cosh(3)^2 = 0.101
    # With 576 coordinates of one size a step is 24 times as long; Riemannian Adam's is not.
    even = torch.full((576,), 1 / 24, dtype=torch.float64)
    assert 3 - step(3 * even, torch.linalg.vector_norm).norm().item() == pytest.approx(24 * RATE)


def test_descent_on_the_ball_brings_codes_to_the_means_of_their_features():
    torch.manual_seed(0)
    means = torch.tensor([[1.2, 0, 0], [0, 1.0, 0], [0, -0.7, 0.7], [0.3, 0.2, -1]])
    features = means.repeat(32, 1) + 0.1 * torch.randn(128, 3)
    own = torch.arange(4).repeat(32)
    codebook = Codebook(4, 3, codes_as="ball")
    optimizer, values = optimizer_of(codebook, learning_rate=0.05), []
    for _ in range(300):
        optimizer.zero_grad()
        loss = embedding_loss(features, codebook.lookup(own), everywhere(features))
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[0] > 1
    assert values[-1] < 0.04  # the noise is 3 x 0.1^2
    centres = features.view(32, 4, 3).mean(0)
    torch.testing.assert_close(codebook.embeddings(), centres, rtol=0, atol=0.03)


class Mixed(torch.nn.Module):
    """A code on the ball, and a matrix and a vector that are not."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.codebook = Codebook(4, 3, codes_as="ball")
        self.linear = torch.nn.Linear(3, 3)


def test_all_other_parameters_are_trained_as_by_adamw():
    mixed, plain = Mixed(), Mixed()
    features = torch.randn(5, 3)
    ours = riemannian_adam(mixed, ["linear.weight"], schedule(weight_decay=0.5), 1e-8)
    weight, bias = plain.linear.weight, plain.linear.bias
    theirs = torch.optim.AdamW(
        [{"params": [weight], "weight_decay": 0.5}, {"params": [bias], "weight_decay": 0.0}],
        lr=1e-3,
        betas=(0.9, 0.99),
    )
    for model, optimizer in ((mixed, ours), (plain, theirs)):
        for _ in range(20):
            optimizer.zero_grad()
            model.linear(features).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(mixed.linear.weight, plain.linear.weight, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(mixed.linear.bias, plain.linear.bias, rtol=1e-5, atol=1e-7)
    assert not torch.equal(mixed.linear.weight, Mixed().linear.weight)


def test_weight_decay_leaves_points_alone():
    codebook = codebook_at(torch.tensor([[1.0, 1.0], [2.0, 0.0]]))
    before = codebook.points.detach().clone()
    optimizer = optimizer_of(codebook, weight_decay=0.5)
    (0 * codebook.embeddings().sum()).backward()
    optimizer.step()
    assert torch.equal(codebook.points, before)


def test_points_stay_points_in_files_and_number_types(tmp_path):
    torch.manual_seed(0)
    model = VQVAE(TINY, chain(10))
    motion = torch.randn(4, 32, 30).cumsum(1) / 8
    model(motion, torch.ones_like(motion, dtype=torch.bool))
    model.save(tmp_path)
    single, double = VQVAE.load(tmp_path), VQVAE.load(tmp_path).double()
    book, wide = single.quantizer.books[0], double.quantizer.books[0]
    assert (book.points.dtype, wide.points.dtype) == (torch.float32, torch.float64)
    assert isinstance(book.points, ManifoldParameter)
    assert isinstance(wide.points, ManifoldParameter)
    assert torch.equal(book.points, model.quantizer.books[0].points)
    assert torch.equal(wide.points.float(), book.points)
    # Sentences are made in float64, the language model gets float32: the codes are the same to the last bit.
    assert torch.equal(single.code_embeddings(), double.code_embeddings().float())
    assert torch.equal(single.tokenize(motion), model.eval().tokenize(motion))
    assert double.tokenize(motion.double()).shape == (4, 8)
    assert torch.isfinite(double.decode(double.tokenize(motion.double()))).all()


@pytest.mark.slow
def test_a_stopped_training_ends_bit_for_bit_like_an_unbroken_one(tmp_path):
    rng, names = np.random.default_rng(0), [f"clip {number}" for number in range(6)]
    with StoreWriter(tmp_path / "store", 2, NTU25) as writer, writer.shard("all") as shard:
        for name in names:
            shard.append(Sequence(name, rng.normal(0, 0.05, (2, 20, 25, 3)).cumsum(1).astype(np.float32)))

    def train_into(folder, on_log=None):
        still = AugmentationConfig(min_crop=0.5, rotation=0.3, tilt=0.1, scale=0.1, noise=0.0, mirror=False)
        settings = schedule(max_steps=12, weight_decay=0.0)
        arguments = (tmp_path / "store", names, [0] * 6, TINY, still, settings, tmp_path / folder)
        return train_vqvae(*arguments, on_log=on_log)[0].state_dict()

    def stop(record, step):
        if step == 8:
            raise KeyboardInterrupt

    whole = train_into("whole")
    with pytest.raises(KeyboardInterrupt):
        train_into("stopped", stop)
    stopped = train_into("stopped")
    assert "quantizer.codebooks.0.points" in whole
    for name, tensor in whole.items():
        assert torch.equal(tensor, stopped[name]), name


def test_tangent_vectors_do_without_geoopt(monkeypatch):
    monkeypatch.setitem(sys.modules, "geoopt", None)
    Codebook(4, 2)
    with pytest.raises(ImportError):
        Codebook(4, 2, codes_as="ball")
