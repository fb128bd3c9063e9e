"""Eq. 6 and 7: the maximum mean discrepancy of codes to words, and the sum that is L_human."""

from math import exp

import numpy as np
import pytest
import torch

from llmar_pipeline.vqvae.losses import _mean_kernel, human_loss, kernel_bandwidths, mmd, word_term


def kernel(x, y, bandwidths):
    squared = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    return sum(exp(-squared / (2 * width**2)) for width in bandwidths) / len(bandwidths)


def brute_force(codes, words, bandwidths):
    """Squared MMD with the unbiased means, in loops."""

    def within(points):
        pairs = [(i, j) for i in range(len(points)) for j in range(len(points)) if i != j]
        return sum(kernel(points[i], points[j], bandwidths) for i, j in pairs) / len(pairs)

    across = sum(kernel(x, y, bandwidths) for x in codes for y in words) / (len(codes) * len(words))
    return within(codes) + within(words) - 2 * across


def squared_mmd(codes, words, bandwidths):
    return mmd(codes, words, bandwidths, word_term(words, bandwidths))


def test_two_codes_and_two_words_by_hand():
    # On a line: codes at 0 and 2, words at 1 and 3, one kernel of width 1.
    codes, words = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0]])
    # Within: distance 2 and 2. Across: 1, 3, 1, 1.
    expected = 2 * exp(-2) - 2 * (3 * exp(-1 / 2) + exp(-9 / 2)) / 4
    assert squared_mmd(codes, words, torch.tensor([1.0])).item() == pytest.approx(expected, rel=1e-5)
    assert word_term(words, torch.tensor([1.0])).item() == pytest.approx(exp(-2), rel=1e-6)


@pytest.mark.parametrize("widths", [[0.7], [0.5, 1.0, 2.0, 4.0, 8.0]])
def test_agrees_with_loops(widths):
    rng = np.random.default_rng(0)
    codes, words = rng.normal(size=(6, 3)), rng.normal(1, 2, size=(9, 3))
    value = squared_mmd(torch.tensor(codes), torch.tensor(words), torch.tensor(widths))
    assert value.item() == pytest.approx(brute_force(codes, words, widths), rel=1e-4, abs=1e-6)


def test_bandwidths_are_multiples_of_the_median_distance():
    words = torch.tensor([[0.0], [1.0], [5.0]])  # distances 1, 4, 5
    assert sorted(kernel_bandwidths(words).tolist()) == pytest.approx([1, 2, 4, 8, 16])


def samples(rng, count, shift):
    return torch.tensor(rng.normal(size=(count, 16)) + shift, dtype=torch.float32)


def test_nothing_on_average_for_one_distribution_and_more_the_further_two_lie_apart():
    rng = np.random.default_rng(0)
    bandwidths = kernel_bandwidths(samples(rng, 200, 0))
    values = {
        shift: [
            squared_mmd(samples(rng, 20, shift), samples(rng, 30, 0), bandwidths).item() for _ in range(300)
        ]
        for shift in (0, 0.2, 0.5, 1)
    }
    means = {shift: np.mean(found) for shift, found in values.items()}
    assert abs(means[0]) < 4 * np.std(values[0]) / 300**0.5  # unbiased, so negative as often as positive
    assert min(values[0]) < 0
    assert 0 < means[0.2] < means[0.5] < means[1]


def test_the_gradient_by_finite_differences_draws_codes_to_words():
    rng = np.random.default_rng(0)
    codes, words, widths = rng.normal(2, 1, size=(4, 3)), rng.normal(size=(7, 3)), [0.5, 2.0]
    leaf = torch.tensor(codes, requires_grad=True)
    squared_mmd(leaf, torch.tensor(words), torch.tensor(widths)).backward()
    step, expected = 1e-5, np.zeros_like(codes)
    for entry in np.ndindex(codes.shape):
        shift = np.zeros_like(codes)
        shift[entry] = step
        above, below = (brute_force(codes + sign * shift, words, widths) for sign in (1, -1))
        expected[entry] = (above - below) / (2 * step)
    np.testing.assert_allclose(leaf.grad.numpy(), expected, rtol=1e-3, atol=1e-6)
    assert -leaf.grad.numpy().sum(0) @ (words.mean(0) - codes.mean(0)) > 0


def test_eq6_and_7_are_sums():
    zipf, context, discrepancy = torch.tensor(1.0), torch.tensor(10.0), torch.tensor(100.0)
    assert human_loss(zipf, context, discrepancy, 1, 1, 0).item() == pytest.approx(11)  # Eq. 6
    assert human_loss(zipf, context, discrepancy, 1, 1, 1).item() == pytest.approx(111)  # Eq. 7
    assert human_loss(zipf, context, discrepancy, 2, 0.5, 0.1).item() == pytest.approx(2 + 5 + 10)


def test_the_mean_kernels_slope_is_that_of_its_value():
    squared_distances = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    bandwidths = torch.tensor([0.3, 1.0, 2.5], dtype=torch.float64)
    kernels = [torch.exp(-squared_distances / (2 * s * s)) for s in bandwidths]
    torch.testing.assert_close(
        _mean_kernel(squared_distances, bandwidths), torch.stack(kernels).mean(0), rtol=1e-12, atol=0
    )
    assert torch.autograd.gradcheck(lambda x: _mean_kernel(x, bandwidths), squared_distances)
