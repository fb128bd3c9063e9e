"""Eq. 5: how many tokens of a sentence stand in a correlated pair, by hand."""

import numpy as np
import pytest
import torch

from llmar_pipeline.vqvae.losses import context_loss

HALVES = torch.tensor([2, 3, 0, 1])  # codes 0 and 2, 1 and 3 are correlated


def counts_of(*sentences):
    return torch.stack([torch.bincount(torch.tensor(s), minlength=4).float() for s in sentences])


@pytest.mark.parametrize(
    ("sentences", "expected"),
    [
        ([[0, 2, 1, 3]], 0),  # every token has its partner
        ([[0, 0, 0, 0]], 1),  # none has
        ([[0, 1, 0, 1]], 1),  # two codes of one half
        ([[0, 2, 2, 1]], 1 / 2),  # the pair 0, 2
        ([[0, 0, 0, 2, 2]], 1 / 5),  # two pairs of five tokens
        ([[0, 0], [2, 2]], 1),  # partners in different sentences do not meet
        ([[0, 2, 2, 1], [0, 2, 1, 3], [0, 0, 0, 0]], 1 - 6 / 12),
        ([[0, 2, 2, 1, 1, 1], [1, 3]], 1 - 4 / 8),  # sentences of six and of two present tokens
    ],
)
def test_sentences_by_hand(sentences, expected):
    assert context_loss(counts_of(*sentences), HALVES).item() == pytest.approx(expected, abs=1e-6)


def test_partners_are_those_given():
    counts = counts_of([0, 1, 2, 2])
    others = torch.tensor([1, 0, 3, 2])
    assert context_loss(counts, HALVES).item() == pytest.approx(1 / 2)  # one pair, 0 and 2
    assert context_loss(counts, others).item() == pytest.approx(1 / 2)  # one pair, 0 and 1
    assert context_loss(counts_of([0, 1, 0, 1]), others).item() == pytest.approx(0)


def test_agrees_with_a_search_for_pairs_and_lies_between_0_and_1():
    rng = np.random.default_rng(0)
    for _ in range(20):
        order = rng.permutation(16)
        partners = np.empty(16, dtype=np.int64)
        partners[order[:8]], partners[order[8:]] = order[8:], order[:8]
        sentences = [rng.integers(0, 16, size=rng.integers(1, 30)).tolist() for _ in range(6)]
        paired = 0
        for sentence in sentences:
            left = list(sentence)
            while left:  # take a token off, and its partner with it where there is one
                partner = partners[left.pop()]
                if partner in left:
                    left.remove(partner)
                    paired += 2
        counts = torch.stack([torch.bincount(torch.tensor(s), minlength=16).float() for s in sentences])
        value = context_loss(counts, torch.from_numpy(partners)).item()
        assert value == pytest.approx(1 - paired / sum(map(len, sentences)), abs=1e-6)
        assert -1e-6 <= value <= 1


def test_the_gradient_asks_for_the_scarcer_code_of_a_pair():
    counts = counts_of([0, 0, 0, 2, 1, 1, 3, 3, 3, 3]).requires_grad_()
    context_loss(counts, HALVES).backward()
    plentiful, scarce = counts.grad[0, [0, 3]], counts.grad[0, [2, 1]]
    # One more of it makes two more of the ten tokens correlated. Only differences count, because the number
    # of tokens is given: what one code gains another loses.
    assert (scarce - plentiful).tolist() == pytest.approx([-2 / 10] * 2)
    assert (plentiful[0] - plentiful[1]).item() == pytest.approx(0, abs=1e-7)
