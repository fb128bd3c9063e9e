"""Products of float32's accuracy with bfloat16 weights."""

import pytest
import torch
from torch import nn

from llmar_pipeline.language.answer import score_classes
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.split_linear import LowRank, SplitLinear, split, split_linear_layers
from llmar_pipeline.language.trained_model import load_model, load_scorer, save_model


def floats(exponents, count):
    """Random float32 numbers of either sign: of each exponent so many, every bit of the mantissa drawn."""
    of_each = torch.arange(*exponents, dtype=torch.int32).repeat_interleave(count)
    mantissa = torch.randint(0, 2**23, of_each.shape, dtype=torch.int32)
    mantissa[::count], mantissa[1::count], mantissa[2::count] = 0, 2**23 - 1, 1
    bits = (of_each + 127 << 23) | mantissa
    return bits.view(torch.float32) * torch.tensor([1.0, -1.0]).repeat(len(bits) // 2)


def test_three_terms_are_the_number():
    torch.manual_seed(0)
    x = floats((-110, 127), 2000)
    assert torch.equal(split(x).double().sum(0), x.double())
    two = split(x)[:2].double().sum(0)
    assert ((two - x.double()).abs() <= 2.0**-17 * x.double().abs()).all()
    assert (two != x.double()).float().mean() > 0.9


def test_near_zero_the_terms_are_off_by_less_than_the_least_bfloat16():
    torch.manual_seed(0)
    x = torch.cat([floats((-126, -110), 1000), torch.zeros(2)])
    assert ((split(x).double().sum(0) - x.double()).abs() < 2.0**-133).all()


def test_the_terms_of_a_number_by_hand():
    """Numbers of 8 bits are 2^-7 apart from 1 on, and 2^-16 from 2^-9 on."""
    x = torch.tensor([1 + 2**-9 + 2**-18, 1 + 2**-7 - 2**-9])
    assert split(x).T.tolist() == [[1, 2**-9, 2**-18], [1 + 2**-7, -(2**-9), 0]]


@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(40, 300), (2, 7, 300), (0, 300)], ids=str)
def test_a_split_layer_is_as_exact_as_one_in_float32(rank, bias, shape):
    torch.manual_seed(1)
    layer = nn.Linear(300, 50, bias=bias).bfloat16()
    added = None if rank is None else LowRank(torch.randn(rank, 300), torch.randn(50, rank), 0.25)
    x = torch.randn(shape)
    weight = layer.weight.detach().double()
    if added is not None:
        weight += added.scale * added.out.double() @ added.into.double()
    expected = x.double() @ weight.T + (layer.bias.detach().double() if bias else 0)
    found = SplitLinear(layer.weight, layer.bias, added)(x)
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    # Float32 sums of 300 terms: about sqrt(300) roundings of half of 2^-23 of what is summed.
    size = x.double().abs() @ weight.abs().T + 1
    assert ((found - expected).abs() <= 2.0**-21 * size).all()
    if found.numel() and rank is None and not bias:
        rounded = (x.bfloat16().float() @ layer.weight.detach().float().T - expected).abs().mean()
        assert (found - expected).abs().mean() < rounded / 1000


def test_what_is_no_bfloat16_layer_computes_in_float32():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4)).bfloat16()
    expected = model.float()(torch.arange(5))
    model.bfloat16()
    split_linear_layers(model)
    assert isinstance(model[1], SplitLinear)
    assert model[1].weight.dtype == torch.bfloat16
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    with torch.no_grad():
        torch.testing.assert_close(model(torch.arange(5)), nn.Sequential(*model)(torch.arange(5)))
    assert expected.dtype == torch.float32


@pytest.fixture
def trained_in_bfloat16(build, tmp_path):
    """A saved model with adapters, whose base weights were bfloat16 in training."""
    model = build()
    model.llm_config = model.llm_config.model_copy(update={"precision": "bfloat16"})
    save_model(model, tmp_path / "saved")
    return tmp_path / "saved"


def test_scores_are_those_of_the_weights_of_the_training(trained_in_bfloat16, clips, tmp_path):
    scores = {}
    for split_weights in (False, True):
        model = load_model(trained_in_bfloat16, tmp_path, dtype="float32", split=split_weights)
        layers = [m for m in model.modules() if isinstance(m, SplitLinear)]
        assert len(layers) == (15 if split_weights else 0)  # seven in both layers, and the vocabulary
        assert sum(layer.into is not None for layer in layers) == (4 if split_weights else 0)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        trie = LabelTrie(model.class_names, model.tokenizer)
        scores[split_weights] = score_classes(model, *clips, trie)
    torch.testing.assert_close(scores[True], scores[False], atol=1e-4, rtol=1e-5)
    scorer = load_scorer(trained_in_bfloat16, tmp_path, torch.device("cpu"))
    torch.testing.assert_close(score_classes(scorer, *clips, trie), scores[False], atol=1e-4, rtol=1e-5)
    words = load_model(trained_in_bfloat16, tmp_path).words.weight
    assert torch.equal(model.words.weight, words.float())


def test_weights_that_were_trained_in_float32_stay_so(build, tmp_path):
    save_model(build(), tmp_path / "saved")
    model = load_model(tmp_path / "saved", tmp_path, dtype="float32", split=True)
    assert not any(isinstance(module, SplitLinear) for module in model.modules())
