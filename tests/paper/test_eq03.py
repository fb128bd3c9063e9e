"""Eq. 3: how often each sentence uses each code, by the straight-through Gumbel softmax."""

import numpy as np
import pytest
import torch

from llmar_pipeline.vqvae.losses import gumbel_noise, token_counts

# One sentence of three tokens over three codes; the third token covers absent frames.
DISTANCES = torch.tensor([[[1.0, 2.0, 4.0], [3.0, 2.5, 2.0], [0.0, 9.0, 9.0]]])
PRESENT = torch.tensor([[True, True, False]])
SILENCE = torch.zeros(1, 3, 3)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_counts_by_hand(temperature):
    assert token_counts(DISTANCES, PRESENT, SILENCE, temperature).tolist() == [[1, 0, 1]]
    everywhere = torch.ones_like(PRESENT)
    assert token_counts(DISTANCES, everywhere, SILENCE, temperature).tolist() == [[2, 0, 1]]
    # -2 + 1.1 exceeds -1; -2.5 + 0.4 does not exceed -2.
    noise = torch.tensor([[[0.0, 1.1, 0.0], [0.0, 0.4, 0.0], [0.0, 0.0, 99.0]]])
    assert token_counts(DISTANCES, PRESENT, noise, temperature).tolist() == [[0, 1, 1]]
    assert token_counts(DISTANCES, ~everywhere, noise, temperature).tolist() == [[0, 0, 0]]


def test_every_present_token_counts_once_in_its_own_sentence():
    torch.manual_seed(0)
    present = torch.rand(5, 7) < 0.6
    counts = token_counts(torch.rand(5, 7, 4), present, gumbel_noise((5, 7, 4), present), 1.0)
    assert torch.equal(counts, counts.round())
    assert counts.sum(-1).tolist() == present.sum(-1).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_codes_are_drawn_with_the_probabilities_of_the_softmax(temperature):
    # The Gumbel-max theorem: argmax(-dist + noise) follows softmax(-dist), whatever the temperature.
    torch.manual_seed(0)
    tokens, weights = 100_000, np.array([8.0, 4.0, 2.0, 1.0, 1.0])
    distances = torch.tensor(-np.log(weights), dtype=torch.float32).expand(1, tokens, 5)
    noise = gumbel_noise(distances.shape, distances)
    counts = token_counts(distances, torch.ones(1, tokens, dtype=torch.bool), noise, temperature)[0]
    expected = weights / 16
    deviation = np.sqrt(expected * (1 - expected) / tokens)
    assert np.all(np.abs(counts.numpy() / tokens - expected) < 4 * deviation)


@pytest.mark.parametrize(("temperature", "slope"), [(1.0, 1 / 4), (0.5, 1 / 2), (2.0, 1 / 8)])
def test_gradient_of_a_tie_by_hand(temperature, slope):
    # Two codes at equal distance: the derivative of the logistic function at 0 is 1/4, over the temperature.
    distances = torch.full((1, 1, 2), 3.0, requires_grad=True)
    counts = token_counts(distances, torch.tensor([[True]]), torch.zeros(1, 1, 2), temperature)
    counts[0, 0].backward()
    assert distances.grad.flatten().tolist() == pytest.approx([-slope, slope])


def soft_counts(distances, present, noise, temperature):
    """Sum of the softmax over the present tokens, in loops."""
    counts = np.zeros((distances.shape[0], distances.shape[2]))
    for sentence, token in np.argwhere(present):
        powers = np.exp((noise[sentence, token] - distances[sentence, token]) / temperature)
        counts[sentence] += powers / powers.sum()
    return counts


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_gradient_is_that_of_the_soft_assignment(temperature):
    rng = np.random.default_rng(0)
    distances, noise = 3 * rng.random((2, 3, 4)), rng.gumbel(size=(2, 3, 4))
    present, weights = np.array([[True, True, False], [False, True, True]]), rng.normal(size=(2, 4))

    leaf = torch.tensor(distances, requires_grad=True)
    counts = token_counts(leaf, torch.from_numpy(present), torch.from_numpy(noise), temperature)
    (counts * torch.from_numpy(weights)).sum().backward()

    step, expected = 1e-5, np.zeros_like(distances)
    for entry in np.ndindex(distances.shape):
        shift = np.zeros_like(distances)
        shift[entry] = step
        above, below = (
            (soft_counts(distances + sign * shift, present, noise, temperature) * weights).sum()
            for sign in (1, -1)
        )
        expected[entry] = (above - below) / (2 * step)
    np.testing.assert_allclose(leaf.grad.numpy(), expected, rtol=1e-4, atol=1e-6)
    assert not leaf.grad[~torch.from_numpy(present)].any()
