"""Eq. 4: the Jensen-Shannon divergence of code usage to Zipf's law, in nats."""

from math import log

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from llmar_pipeline.vqvae.losses import zipf_loss


def zipf_js(counts):
    """The loss by scipy, whose distance is the root of the divergence."""
    law = 1 / (np.arange(1, len(counts) + 1) + 2.7)
    return jensenshannon(np.sort(counts)[::-1], law) ** 2  # scipy normalises both


def test_two_codes_by_hand():
    # The law of two ranks is (47, 37) / 84.
    assert zipf_loss(torch.tensor([37.0, 47.0])).item() == pytest.approx(0, abs=1e-6)
    # One code: p = (1, 0), and the middle is (131, 37) / 168.
    expected = (log(168 / 131) + 47 / 84 * log(94 / 131) + 37 / 84 * log(2)) / 2
    assert zipf_loss(torch.tensor([0.0, 5.0])).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("used", "expected"), [(512, 0.168), (128, 0.197), (32, 0.266), (16, 0.322), (1, 0.588)]
)
def test_even_usage_of_some_of_512_codes(used, expected):
    counts = torch.zeros(512)
    counts[torch.randperm(512, generator=torch.Generator().manual_seed(used))[:used]] = 8.0
    assert zipf_loss(counts).item() == pytest.approx(expected, abs=5.1e-4)
    assert zipf_loss(counts).item() == pytest.approx(zipf_js(counts.numpy()), rel=1e-5)


def test_only_shares_by_rank_matter():
    rng = np.random.default_rng(0)
    counts = rng.zipf(1.5, size=64).clip(max=500).astype(np.float32)
    counts[:20] = 0
    expected = pytest.approx(zipf_js(counts), rel=1e-5)
    for same in (counts, rng.permutation(counts), 3 * counts):
        assert zipf_loss(torch.from_numpy(same)).item() == expected


def test_gradient_by_finite_differences():
    counts = np.array([3.0, 40.0, 1.0, 17.0, 9.0, 26.0])
    leaf = torch.tensor(counts, requires_grad=True)
    zipf_loss(leaf).backward()
    step = 1e-4
    expected = [
        (zipf_js(counts + shift) - zipf_js(counts - shift)) / (2 * step) for shift in step * np.eye(6)
    ]
    # Up to a constant, because the number of tokens is given: what one code gains another loses.
    np.testing.assert_allclose(centred(leaf.grad.numpy()), centred(expected), rtol=1e-3, atol=1e-7)


def centred(gradient):
    return np.asarray(gradient) - np.mean(gradient)


def test_codes_out_of_use_have_a_finite_gradient_that_brings_them_back():
    counts = torch.zeros(512)
    counts[7] = 4096.0
    counts[9] = 4.0
    counts.requires_grad_()
    zipf_loss(counts).backward()
    assert torch.isfinite(counts.grad).all()
    unused = torch.cat([counts.grad[:7], counts.grad[10:]])
    assert unused.max() < counts.grad[7]


def test_a_step_down_the_gradient_brings_usage_closer_to_the_law():
    counts = torch.tensor([100.0, 1.0, 1.0, 50.0, 30.0, 2.0], requires_grad=True)
    before = zipf_loss(counts)
    before.backward()
    after = zipf_loss((counts - 10 * counts.grad / counts.grad.abs().max()).detach().clamp(min=0))
    assert after < before
