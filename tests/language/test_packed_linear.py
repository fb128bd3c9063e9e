import pytest
import torch
from torch import nn

from llmar_pipeline.language.answer import score_classes
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.packed_linear import PackedLinear, pack_linear_layers
from llmar_pipeline.language.trained_model import load_model, save_model

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (3, 7, 5), (0, 5)], ids=str)
def test_a_packed_layer_maps_as_the_layer(bias, shape):
    layer = nn.Linear(5, 9, bias=bias)
    x = torch.randn(shape)
    torch.testing.assert_close(PackedLinear(layer)(x), layer(x).detach(), atol=1e-6, rtol=1e-5)


def test_what_is_trained_or_of_another_type_stays_as_it_is():
    layers = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).requires_grad_(False), nn.ReLU())
    layers.append(nn.Linear(4, 4).bfloat16().requires_grad_(False))
    assert pack_linear_layers(layers) == 1
    assert [isinstance(layer, PackedLinear) for layer in layers] == [False, True, False, False]


@pytest.mark.parametrize("adapters", [True, False])
def test_a_trained_model_scores_the_same(build, clips, tmp_path, adapters):
    save_model(build(adapters=adapters), tmp_path / "saved")
    model = load_model(tmp_path / "saved", tmp_path, dtype="float32")
    trie = LabelTrie(model.class_names, model.tokenizer)
    expected = score_classes(model, *clips, trie)
    layers = len(model.base.model.layers)
    assert pack_linear_layers(model.decoder) >= 7 * layers  # and what is left of the adapters
    torch.testing.assert_close(score_classes(model, *clips, trie), expected, atol=1e-4, rtol=1e-5)
