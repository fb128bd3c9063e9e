import json

import pytest
import torch
from damage import cut, empty, remove
from peft import PeftModel
from safetensors.torch import load_file, save_file

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.config import AdapterConfig
from llmar_pipeline.language.instructions import encode_answers
from llmar_pipeline.language.loading import load_llm
from llmar_pipeline.language.trained_model import check_start, load_model, save_model, start_from


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
    torch.testing.assert_close(loaded(*batch)["loss"], model(*batch)["loss"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("adapters", [True, False])
def test_a_saved_model_loads_to_the_same_loss(build, clips, tmp_path, codebook, adapters):
    model = build(adapters=adapters, action_tokens="trainable")
    with torch.no_grad():
        model.action_embedding.weight += 0.1
        if not adapters:
            model.base.model.layers[0].mlp.up_proj.weight += 0.05
    model.class_votes = torch.randn(16, len(model.class_names))
    save_model(model, tmp_path / "saved")
    loaded = load_model(tmp_path / "saved", tmp_path, codebook=codebook)
    batch = batch_of(model, clips)
    # Adapters are in the weights by now: the same sums in another order.
    torch.testing.assert_close(loaded(*batch)["loss"], model(*batch)["loss"], atol=1e-5, rtol=1e-5)
    assert loaded.class_names == model.class_names
    assert loaded.codebook_checksum == model.codebook_checksum
    assert torch.equal(loaded.class_votes, model.class_votes)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert (tmp_path / "saved" / "model.safetensors").exists() is not adapters
    assert not list((tmp_path / "saved").glob("*.bin"))


def test_adapters_are_in_the_weights_where_nothing_is_rounded_away(build, tmp_path):
    trained_elsewhere(build, tmp_path / "saved")
    loaded = load_model(tmp_path / "saved", tmp_path, dtype="float32")
    as_peft = PeftModel.from_pretrained(
        load_llm(loaded.llm_config, tmp_path, "float32")[0], tmp_path / "saved"
    )
    before = {name: weight.clone() for name, weight in as_peft.get_base_model().state_dict().items()}
    as_peft.merge_adapter()
    after = as_peft.get_base_model().state_dict()
    names = {name: name.replace(".base_layer", "") for name in after if "lora_" not in name}
    assert set(names.values()) == set(loaded.llm.state_dict())
    for name, plain in names.items():
        assert torch.equal(loaded.llm.state_dict()[plain], after[name])
        assert torch.equal(after[name], before[name]) is (".base_layer" not in name)
    rounded = load_model(tmp_path / "saved", tmp_path, dtype="bfloat16")
    layers = [layer for layer in rounded.modules() if hasattr(layer, "merged")]
    assert layers
    assert not any(layer.merged for layer in layers)


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


def rename(folder):
    """The adapters are those of other layers."""
    file = folder / "adapter_model.safetensors"
    content = {k.replace("layers", "other.layers"): v for k, v in load_file(file).items()}
    save_file(content, file, metadata={"format": "pt"})


def lose_a_layer(folder):
    file = folder / "adapter_model.safetensors"
    content = load_file(file)
    del content[min(content)]
    save_file(content, file, metadata={"format": "pt"})


def widen(folder):
    """The adapters have another rank than their settings say."""
    file = folder / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps(settings | {"r": settings["r"] + 1}))


def lose_the_rows(folder):
    save_file({"other": torch.ones(2)}, folder / "action_tokens.safetensors")


def lose_a_key(folder):
    (folder / "language_model.json").write_text("{}")


@pytest.mark.parametrize("spoil", [rename, lose_a_layer, widen, lose_the_rows, lose_a_key])
def test_what_is_loaded_is_complete_or_refused(build, tmp_path, spoil):
    save_model(build(), tmp_path / "saved")
    spoil(tmp_path / "saved")
    with pytest.raises(UserError, match=r"^expected the .*, saw .*; run `kedro run --pipelines=stage2`\.$"):
        load_model(tmp_path / "saved", tmp_path)


@pytest.mark.parametrize("damage", [cut, empty, remove])
@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "language_model.json"])
def test_a_damaged_file_of_a_model_is_one_line(build, tmp_path, name, damage):
    save_model(build(), tmp_path / "saved")
    damage(tmp_path / "saved" / name)
    with pytest.raises(UserError, match="saved"):
        load_model(tmp_path / "saved", tmp_path)


def trained_elsewhere(build, folder, **settings):
    """A saved model whose adapters, or weights, have been trained."""
    model = build(**settings)
    with torch.no_grad():
        for name, parameter in model.llm.named_parameters():
            if not model.has_adapters or "lora_" in name:
                parameter += 0.05 * torch.rand(parameter.shape)
    save_model(model, folder)
    return model


@pytest.mark.parametrize("adapters", [True, False])
def test_a_training_starts_from_what_was_tuned(build, clips, tmp_path, adapters):
    source = trained_elsewhere(build, tmp_path / "old", adapters=adapters)
    model = build(adapters=adapters)
    batch = batch_of(model, clips)
    assert model(*batch)["loss"] != source(*batch)["loss"]
    start_from(model, tmp_path / "old")
    torch.testing.assert_close(model(*batch)["loss"], source(*batch)["loss"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "full"}, "expected lora.method=full, saw adapters"),
        ({"rank": 2}, "expected lora.rank=2, saw "),
        ({"alpha": 32.0}, "expected lora.alpha=32.0, saw "),
        ({"target_modules": ("q_proj",)}, "expected lora.target_modules="),
    ],
)
def test_what_was_tuned_otherwise_is_no_start(build, tmp_path, changes, message):
    model = build()
    trained_elsewhere(build, tmp_path / "old")
    (own,) = model.llm.peft_config.values()
    settings = {"rank": own.r, "alpha": own.lora_alpha, "target_modules": tuple(own.target_modules)}
    manifest = tmp_path / "old" / "language_model.json"
    checksum = "abc"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"llm_sha256": checksum}))
    check_start(tmp_path / "old", checksum, AdapterConfig(**settings))
    with pytest.raises(UserError, match=message):
        check_start(tmp_path / "old", checksum, AdapterConfig(**settings | changes))
    with pytest.raises(
        UserError, match="expected a model on the language model of checksum another, saw one"
    ):
        check_start(tmp_path / "old", "another", AdapterConfig(**settings))
