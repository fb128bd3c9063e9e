import json

import pytest
import torch

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.instructions import encode_answers
from llmar_pipeline.language.trained_model import load_model, save_model


def batch_of(model, clips):
    """The clips, and an answer for each."""
    ids, mask = encode_answers(model.tokenizer, model.class_names)
    return (*clips, ids[:4], mask[:4])


def test_a_saved_model_of_features_keeps_their_factor(build, clips, codebook, tmp_path):
    model = build(word_norm=True, input="features")
    save_model(model, tmp_path / "saved")
    loaded = load_model(tmp_path / "saved", tmp_path, codebook=codebook)
    codes, code_mask = clips
    batch = batch_of(model, (codebook[codes] + 0.1, code_mask))
    assert model.word_factor != 1
    assert torch.equal(loaded(*batch)["loss"], model(*batch)["loss"])


@pytest.mark.parametrize("adapters", [True, False])
def test_a_saved_model_loads_to_the_same_loss(build, clips, tmp_path, codebook, adapters):
    model = build(adapters=adapters, action_tokens="trainable")
    with torch.no_grad():
        model.action_embedding.weight += 0.1
        if not adapters:
            model.base.model.layers[0].mlp.up_proj.weight += 0.05
    save_model(model, tmp_path / "saved")
    loaded = load_model(tmp_path / "saved", tmp_path, codebook=codebook)
    batch = batch_of(model, clips)
    assert torch.equal(loaded(*batch)["loss"], model(*batch)["loss"])
    assert loaded.class_names == model.class_names
    assert loaded.codebook_checksum == model.codebook_checksum
    assert not any(p.requires_grad for p in loaded.parameters())
    assert (tmp_path / "saved" / "model.safetensors").exists() is not adapters
    assert not list((tmp_path / "saved").glob("*.bin"))


def test_peft_alone_finds_the_base_of_a_saved_model(build, clips, tmp_path, monkeypatch):
    from peft import AutoPeftModelForCausalLM

    model = build()
    save_model(model, tmp_path / "saved")
    monkeypatch.chdir(tmp_path)
    theirs = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    prompt, _ = model.embed_prompt(clips[0][:1], clips[1][:1], model.class_names)
    with torch.no_grad():
        expected = model.llm(inputs_embeds=prompt).logits
        assert torch.equal(theirs(inputs_embeds=prompt).logits, expected)


def test_a_folder_without_manifest_is_incomplete(build, tmp_path):
    save_model(build(), tmp_path / "saved")
    (tmp_path / "saved" / "language_model.json").unlink()
    with pytest.raises(UserError, match=r"language_model\.json.*stage2"):
        load_model(tmp_path / "saved", tmp_path)


def test_another_codebook_is_refused(build, tmp_path, codebook):
    save_model(build(), tmp_path / "saved")
    with pytest.raises(UserError, match="expected codebook"):
        load_model(tmp_path / "saved", tmp_path, codebook=codebook + 1e-6)


@pytest.mark.parametrize(("key", "what"), [("tokenizer_sha256", "tokenizer"), ("hidden_size", "hidden size")])
def test_another_language_model_is_refused(build, tmp_path, key, what):
    save_model(build(), tmp_path / "saved")
    path = tmp_path / "saved" / "language_model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: 0}))
    with pytest.raises(UserError, match=f"expected {what} 0"):
        load_model(tmp_path / "saved", tmp_path)
