"""What adapters leave out is drawn for each clip and place."""

import pytest
import torch
from torch import nn

from llmar_pipeline.language.dropout import Draws, KeyedDropout, drop_by_clip, mixed, token_keys, uniform

WORD = (1 << 64) - 1


def split_mix(number):
    """The last steps of SplitMix64, in Python's integers."""
    number &= WORD
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & WORD
    number = (number ^ number >> 27) * 0x94D049BB133111EB & WORD
    return number ^ number >> 31


@pytest.mark.parametrize("number", [0, 1, -1, 2**62 + 12345, -(2**63)])
def test_numbers_are_mixed_as_by_split_mix(number):
    assert int(mixed(torch.tensor(number))) & WORD == split_mix(number)


@pytest.fixture(scope="module")
def tokens():
    keys = torch.randint(1 << 62, (64,), generator=torch.Generator().manual_seed(1))
    return token_keys(keys[:, None], torch.arange(50))


def test_shares_are_even(tokens):
    seen = uniform(tokens)
    assert seen.mean().item() == pytest.approx(0.5, abs=0.02)  # 3,200 of a deviation of 0.29
    assert torch.histc(seen, 10, 0, 1).tolist() == pytest.approx([320] * 10, abs=80)
    assert seen.max() < 1


@pytest.fixture
def layers():
    shared = Draws(0.3, 100)
    return shared, [KeyedDropout(shared, number) for number in range(2)]


def test_the_share_that_is_zeroed_and_what_the_rest_is_multiplied_by(layers, tokens):
    shared, (first, second) = layers
    shared.begin(tokens)
    ones = torch.ones(*tokens.shape, 100)
    a, b = (layer(ones) for layer in (first, second))
    assert a.unique().tolist() == pytest.approx([0, 1 / 0.7])
    zeroed = [(x == 0).float() for x in (a, b)]
    for x in zeroed:
        assert x.mean().item() == pytest.approx(0.3, abs=0.005)
        assert x.mean((0, 1)).std().item() == pytest.approx((0.21 / 3200) ** 0.5, rel=0.3)  # of each input
    x, y = zeroed  # layers, neighbours in the clip and neighbours in the vector know nothing of each other
    for both in (x * y, x[:, 1:] * x[:, :-1], x[1:] * x[:-1], x[..., 1:] * x[..., :-1]):
        assert both.mean().item() == pytest.approx(0.09, abs=0.005)


def test_a_token_reads_the_same_whatever_is_beside_it(layers, tokens):
    shared, (layer, _) = layers
    x = torch.randn(*tokens.shape, 100)
    shared.begin(tokens)
    whole = layer(x)
    order = torch.randperm(len(tokens))[:5]
    shared.begin(tokens[order, 7:20])
    assert torch.equal(layer(x[order, 7:20]), whole[order, 7:20])


def test_the_gradient_is_masked_as_the_values(layers, tokens):
    shared, (layer, _) = layers
    shared.begin(tokens)
    x = torch.randn(*tokens.shape, 100, requires_grad=True)
    masked = layer(x)
    masked.sum().backward()
    assert torch.equal(x.grad * x, masked)


def test_evaluation_leaves_nothing_out(layers, tokens):
    shared, (layer, _) = layers
    shared.begin(tokens)
    x = torch.ones(*tokens.shape, 100)
    assert layer.eval()(x) is x


def test_a_model_without_dropout_draws_nothing():
    assert drop_by_clip(nn.Linear(2, 2)) is None
