"""Soft targets along one answer are, on average, those of all answers."""

import math

import pytest
import torch

from llmar_pipeline.language.answer import score_classes
from llmar_pipeline.language.instructions import encode_answers
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.soft_targets import beginnings, next_token_chances

END = 0
# "walk", "walk up", "walk down", "sit": one begins as two others do and ends there.
NAMES = [[5, END], [5, 6, END], [5, 7, END], [8, END]]


def padded():
    ids = torch.full((4, 3), END)
    mask = torch.zeros(4, 3, dtype=torch.bool)
    for row, name in enumerate(NAMES):
        ids[row, : len(name)], mask[row, : len(name)] = torch.tensor(name), True
    return ids, mask


def test_names_that_begin_alike():
    alike = beginnings(*padded())
    assert alike.shape == (4, 3, 4)
    assert alike[1].tolist() == [[True] * 4, [True, True, True, False], [False, True, False, False]]
    assert alike[0].tolist() == [[True] * 4, [True, True, True, False], [False] * 4]
    assert alike[3].tolist() == [[True] * 4, [False, False, False, True], [False] * 4]


def test_shares_by_hand():
    """Of 0.1 walk, 0.3 walk up, 0.4 walk down, 0.2 sit: after "walk" they are 1, 3 and 4 eighths."""
    alike = beginnings(*padded())
    shares = next_token_chances(torch.tensor([0.1, 0.3, 0.4, 0.2]), alike[1])
    expected = torch.tensor([[0.1, 0.3, 0.4, 0.2], [0.125, 0.375, 0.5, 0.0], [0.0, 1.0, 0.0, 0.0]])
    torch.testing.assert_close(shares, expected)
    behind_the_end = next_token_chances(torch.tensor([0.1, 0.3, 0.4, 0.2]), alike[3])[2]
    assert behind_the_end.tolist() == [0, 0, 0, 0]


def test_a_name_of_no_chance_leaves_finite_shares():
    alike = beginnings(*padded())
    shares = next_token_chances(torch.tensor([0.0, 0.0, 0.0, 1.0]), alike[1])
    assert shares.isfinite().all()
    assert shares[1].tolist() == [0, 0, 0, 0]


def test_the_average_along_drawn_answers_is_the_cross_entropy_of_all():
    """Sum over names of p(name) x the loss along it = - sum of p(name) log q(name), for any q."""
    ids, mask = padded()
    alike = beginnings(ids, mask)
    chances = torch.tensor([0.1, 0.3, 0.4, 0.2])
    generator = torch.Generator().manual_seed(0)
    # What a language model says of the next token depends on the tokens before it alone.
    said = {}
    for name in NAMES:
        for end in range(len(name)):
            said.setdefault(tuple(name[:end]), torch.randn(9, generator=generator).log_softmax(0))
    of_all = -sum(
        chances[row] * sum(said[tuple(name[:end])][name[end]] for end in range(len(name)))
        for row, name in enumerate(NAMES)
    )
    drawn = 0.0
    for row, name in enumerate(NAMES):
        shares = next_token_chances(chances, alike[row])
        for end in range(len(name)):
            drawn -= chances[row] * (shares[end] * said[tuple(name[:end])][ids[:, end]]).sum()
    assert float(drawn) == pytest.approx(float(of_all), rel=1e-5)
    assert math.isfinite(float(of_all))


def test_the_model_s_loss_is_that_of_all_names(build):
    """Averaged over all names by their probabilities: - sum of p log q, q as the class list is scored."""
    model = build().eval()
    codes, there = torch.tensor([[3, 1, 4, 1]]), torch.ones(1, 4, dtype=torch.bool)
    ids, mask = encode_answers(model.tokenizer, model.class_names)
    chances = torch.arange(1.0, len(ids) + 1) / torch.arange(1.0, len(ids) + 1).sum()
    trie = LabelTrie(model.class_names, model.tokenizer)
    with torch.no_grad():
        expected = -(chances * score_classes(model, codes, there, trie)[0]).sum()
        found = 0.0
        for row in range(len(ids)):
            shares = next_token_chances(chances, beginnings(ids, mask)[row])
            answer = (ids[row : row + 1], mask[row : row + 1])
            loss = model(codes, there, *answer, choices=ids.T[None], shares=shares[None])["loss"]
            found += float(chances[row] * loss * mask[row].sum())  # a mean over tokens
    assert found == pytest.approx(float(expected), rel=1e-4)
