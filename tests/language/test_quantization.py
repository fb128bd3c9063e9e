"""QLoRA on the tiny language model: 4-bit weights that stay as they are, adapters that learn on them."""

import copy
import importlib.util
import json

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from test_answer import brute_force
from tiny_llm import CLASS_NAMES, weights_checksum, write_tiny_llm
from tiny_training import schedule

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import score_classes
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.llm_check import check_llm
from llmar_pipeline.language.loading import load_llm
from llmar_pipeline.language.lora import train_lora
from llmar_pipeline.language.trained_model import load_model, save_model

NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023,
    1.0,
]  # fmt: skip
"""Appendix E of the QLoRA paper."""
ADAPTER = AdapterConfig(rank=4, action_tokens="trainable")
TRAINING = schedule(batch_size=12, micro_batch_size=12, save_every=2)

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes (pip install -e '.[qlora]')"
)


@pytest.fixture(scope="module")
def wide_llm_folder(tmp_path_factory):
    """As wide as a block of nf4."""
    folder = tmp_path_factory.mktemp("wide_llm")
    write_tiny_llm(folder, hidden_size=64)
    return folder


@pytest.fixture
def plain_config(wide_llm_folder):
    return LLMConfig(model=str(wide_llm_folder), precision="float32")


@pytest.fixture
def nf4_config(plain_config):
    return plain_config.model_copy(update={"precision": "bfloat16", "quantization": "nf4"})


@pytest.fixture
def codebook():
    return torch.randn(16, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def train(codebook, nf4_config, tmp_path):
    """Train on twelve clips; returns the model and its losses."""
    rng = np.random.default_rng(0)
    sentences = pd.DataFrame(
        {
            "name": f"clip{clip:02}",
            "split": "train",
            "label": clip % len(CLASS_NAMES),
            "action": CLASS_NAMES[clip % len(CLASS_NAMES)],
            "reading": 0,
            "codes": rng.integers(0, 16, 6).astype(np.int32),
        }
        for clip in range(12)
    )

    def run(name, adapter=ADAPTER, config=nf4_config):
        model, history = train_lora(
            sentences, codebook, config, tmp_path, adapter, TRAINING, tmp_path / f"{name}_steps"
        )
        return model, [record["loss"] for record in history]

    return run


def dequantized(llm):
    """Weights of the quantised layers as numbers, by bitsandbytes' own reading, in float32."""
    from bitsandbytes.functional import dequantize_4bit

    weights = {}
    for name, module in llm.named_modules():
        if hasattr(module, "quant_state") and not hasattr(module, "base_layer"):
            state = copy.copy(module.weight.quant_state)
            state.dtype = torch.float32
            weights[f"{name.replace('.base_layer', '')}.weight"] = dequantize_4bit(module.weight.data, state)
    return weights


def packed(llm):
    """Checksums of all that belongs to quantised layers."""
    return {name: value for name, value in weights_checksum(llm).items() if "_proj." in name}


def test_a_missing_package_is_named(monkeypatch, nf4_config, plain_config, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for refuse in (check_llm, load_llm):
        with pytest.raises(UserError, match=r"bitsandbytes.*\[qlora\]") as error:
            refuse(nf4_config, tmp_path)
        assert "\n" not in str(error.value)
    check_llm(plain_config, tmp_path)


def test_full_tuning_is_refused(nf4_config, train, tmp_path):
    adapter = AdapterConfig(method="full")
    for refuse in (lambda: check_llm(nf4_config, tmp_path, adapter=adapter), lambda: train("x", adapter)):
        with pytest.raises(UserError, match=r"method=lora .*nf4, saw full") as error:
            refuse()
        assert "\n" not in str(error.value)


def test_what_was_made_before_there_was_quantisation_still_counts(train, plain_config, tmp_path):
    model, _ = train("old", ADAPTER, plain_config)
    fingerprint = json.loads((tmp_path / "old_steps" / "fingerprint.json").read_text())
    assert sorted(fingerprint["llm"]) == ["precision", "tokenizer", "weights"]
    save_model(model, tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "language_model.json").read_text())
    assert manifest["llm"].pop("quantization") == "none"
    (tmp_path / "model" / "language_model.json").write_text(json.dumps(manifest))
    assert load_model(tmp_path / "model", tmp_path).llm_config == plain_config


@needs_bitsandbytes
def test_linear_layers_hold_the_nearest_of_sixteen_levels(nf4_config, plain_config, tmp_path):
    exact = load_llm(plain_config, tmp_path)[0].state_dict()
    llm, _ = load_llm(nf4_config.model_copy(update={"precision": "float32"}), tmp_path)
    found, levels = dequantized(llm), torch.tensor(NF4)
    assert len(found) == 2 * 7  # all of both layers
    for name, weight in found.items():
        blocks = exact[name].reshape(-1, 64)
        scales = blocks.abs().amax(dim=1, keepdim=True)
        nearest = levels[((blocks / scales)[..., None] - levels).abs().argmin(dim=-1)]
        # The scales lose a little: they are quantised too, to 8 bits.
        assert ((weight.reshape(-1, 64) - nearest * scales).abs() <= 0.01 * scales).all(), name
    kept = {name: tensor for name, tensor in llm.state_dict().items() if "_proj." not in name}
    assert len(kept) == 4 + 1 + 2  # norms of layers, last norm, words and head
    assert all(torch.equal(tensor, exact[name]) for name, tensor in kept.items())


@needs_bitsandbytes
def test_layers_narrower_than_a_block_are_refused(tiny_config, tmp_path):
    with pytest.raises(UserError, match=r"multiple of 64.*saw 32") as error:
        load_llm(tiny_config.model_copy(update={"quantization": "nf4"}), tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@needs_bitsandbytes
def test_training_moves_adapters_only_and_continues_bit_for_bit(train, nf4_config, tmp_path, monkeypatch):
    bare = weights_checksum(load_llm(nf4_config, tmp_path)[0])
    # Of 14 layers packed weights, scales, scales of scales, two tables and settings; norms, words and head.
    assert len(bare) == 14 * 6 + 7
    model, losses = train("whole")
    assert losses[-1] < losses[0]
    assert weights_checksum(model.llm) == bare
    changing = load_file(tmp_path / "whole_steps" / "checkpoint-6" / "model.safetensors")
    assert len(changing) == 2 * 2 * 2 + 1  # A and B of q and v in both layers, action tokens
    assert all("lora_" in name or name == "action_embedding.weight" for name in changing)

    forward, passes = ActionLanguageModel.forward, []

    def failing(self, **batch):
        passes.append(1)
        if len(passes) > 5:
            raise KeyboardInterrupt
        return forward(self, **batch)

    with monkeypatch.context() as patch:
        patch.setattr(ActionLanguageModel, "forward", failing)
        with pytest.raises(KeyboardInterrupt):
            train("stopped")
    continued, same_losses = train("stopped")
    assert same_losses == losses
    expected = model.state_dict()
    for name, tensor in continued.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@needs_bitsandbytes
def test_scores_are_exact_on_the_very_weights_of_the_training(train, plain_config, clips, tmp_path):
    trained, _ = train("whole")
    folder = tmp_path / "model"
    save_model(trained, folder)
    model = load_model(folder, tmp_path, dtype="float32")
    assert {p.dtype for p in model.parameters()} == {torch.float32, torch.uint8}
    assert packed(model.llm) == packed(trained.llm)
    checksums = weights_checksum(model.llm)
    codes, mask = clips
    scores = score_classes(model, codes, mask, LabelTrie(CLASS_NAMES, model.tokenizer), batch_size=3)
    assert weights_checksum(model.llm) == checksums

    # The same numbers in plain linear layers.
    plain, tokenizer = load_llm(plain_config, tmp_path)
    rounded = {name: tensor.bfloat16().float() for name, tensor in plain.state_dict().items()}
    plain.load_state_dict(rounded | dequantized(model.base))
    reference = ActionLanguageModel(
        PeftModel.from_pretrained(plain, folder),
        tokenizer,
        model.action_embedding.weight,
        model.instruction,
        CLASS_NAMES,
        plain_config,
    ).eval()
    one_by_one = [brute_force(reference, c[m], CLASS_NAMES) for c, m in zip(codes, mask, strict=True)]
    torch.testing.assert_close(scores, torch.stack(one_by_one), atol=1e-4, rtol=0)
    assert torch.stack(one_by_one).std(dim=1).min() > 1
