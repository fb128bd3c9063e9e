import pytest
import torch
from tiny_llm import weights_checksum

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.instructions import encode_answers
from llmar_pipeline.language.trained_model import load_model, save_model


def answers(model, labels):
    ids, mask = encode_answers(model.tokenizer, model.class_names)
    return ids[labels], mask[labels]


def plain_logits(model, codes, answer):
    """Logits after the prompt and each answer token, one clip, by the language model's own forward."""
    text = [model.tokenizer.bos_token_id]
    text += model.tokenizer("Given a sequence of action tokens", add_special_tokens=False).input_ids
    rest = model.tokenizer(", please predict the corresponding action.", add_special_tokens=False).input_ids
    words = model.base.get_input_embeddings()
    embeddings = torch.cat(
        [
            words(torch.tensor(text)),
            model.action_embedding.weight[codes],
            words(torch.tensor(rest + list(answer))),
        ]
    )
    logits = model.base(inputs_embeds=embeddings[None]).logits[0]
    return logits[len(text) + len(codes) + len(rest) - 1 :]


def test_the_loss_is_the_mean_over_answer_tokens_only(build, clips):
    model = build()
    codes, code_mask = clips
    ids, mask = answers(model, torch.tensor([0, 1, 2, 4]))
    terms = []
    for clip in range(4):
        answer = ids[clip][mask[clip]].tolist()
        logits = plain_logits(model, codes[clip][code_mask[clip]], answer[:-1])
        terms += [-logits[i].log_softmax(0)[token].item() for i, token in enumerate(answer)]
    assert len(terms) == int(mask.sum())
    assert model(codes, code_mask, ids, mask)["loss"].item() == pytest.approx(
        sum(terms) / len(terms), abs=1e-5
    )


def test_padding_does_not_change_a_clip(build, clips):
    model = build()
    codes, code_mask = clips
    ids, mask = answers(model, torch.tensor([1]))
    alone = model(codes[1:2, :3], code_mask[1:2, :3], ids, mask)["loss"].item()
    padded_codes = torch.cat([codes[1:2, :3], torch.full((1, 5), 9)], dim=1)
    padded_mask = torch.arange(8)[None] < 3
    padded_ids = torch.cat([ids, torch.full((1, 4), 7)], dim=1)
    padded_answer_mask = torch.cat([mask, torch.zeros(1, 4, dtype=torch.bool)], dim=1)
    assert model(padded_codes, padded_mask, padded_ids, padded_answer_mask)["loss"].item() == pytest.approx(
        alone, abs=1e-5
    )


@pytest.mark.parametrize("action_tokens", ["frozen", "trainable"])
def test_gradient_reaches_adapters_and_the_chosen_action_tokens_only(build, clips, action_tokens):
    model = build(action_tokens=action_tokens).train()
    codes, code_mask = clips
    model(codes, code_mask, *answers(model, torch.tensor([0, 1, 2, 3])))["loss"].backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    expected = {n for n, _ in model.named_parameters() if "lora_" in n}
    # 2 layers, q and v, two factors each.
    assert len(expected) == 8
    if action_tokens == "trainable":
        expected |= {"action_embedding.weight"}
        used = set(codes[code_mask].tolist())
        moved = model.action_embedding.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist()
        assert set(moved) == used
    assert with_gradient == expected


def test_action_tokens_may_take_the_mean_norm_of_the_words(build, codebook):
    plain, scaled = build(), build(word_norm=True)
    assert torch.equal(plain.action_embedding.weight, codebook)
    rows, words = scaled.action_embedding.weight, scaled.words.weight
    torch.testing.assert_close(rows.norm(dim=1).mean(), words.norm(dim=1).mean())
    torch.testing.assert_close(rows / rows.norm(dim=1).mean(), codebook / codebook.norm(dim=1).mean())
    assert scaled.codebook_checksum == plain.codebook_checksum


@pytest.mark.parametrize("word_norm", [False, True])
def test_features_that_are_codes_give_the_loss_of_the_codes(build, clips, codebook, word_norm):
    of_codes, of_features = (build(word_norm=word_norm, input=name) for name in ("codes", "features"))
    codes, code_mask = clips
    answer = answers(of_codes, torch.tensor([0, 1, 2, 4]))
    loss = of_codes(codes, code_mask, *answer)["loss"]
    assert torch.equal(of_features(codebook[codes], code_mask, *answer)["loss"], loss)
    assert not torch.equal(of_features(1.01 * codebook[codes], code_mask, *answer)["loss"], loss)


def test_padding_does_not_change_the_features_of_a_clip(build, codebook):
    model = build(input="features")
    features, answer = codebook[None, :3] + 0.1, answers(model, torch.tensor([1]))
    alone = model(features, torch.ones(1, 3, dtype=torch.bool), *answer)["loss"].item()
    padded = torch.cat([features, torch.full((1, 5, 32), 9.0)], dim=1)
    loss = model(padded, torch.arange(8)[None] < 3, *answer)["loss"].item()
    assert loss == pytest.approx(alone, abs=1e-5)


def test_features_train_the_adapters_alone(build, clips, codebook):
    """They have no rows of their own that `action_tokens="trainable"` could train."""
    model = build(action_tokens="trainable", input="features").train()
    codes, code_mask = clips
    model(codebook[codes], code_mask, *answers(model, torch.tensor([0, 1, 2, 3])))["loss"].backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    trainable = {n for n, p in model.named_parameters() if p.requires_grad}
    assert with_gradient == trainable == {n for n, _ in model.named_parameters() if "lora_" in n}


@pytest.mark.parametrize(("input", "seen"), [("codes", "features"), ("features", "codes")])
def test_features_and_codes_are_not_confused(build, clips, codebook, input, seen):
    model, (codes, code_mask) = build(input=input), clips
    given = codebook[codes] if seen == "features" else codes
    with pytest.raises(UserError, match=f"expected {input} .*, saw {seen}"):
        model(given, code_mask, *answers(model, torch.tensor([0, 1, 2, 3])))


def test_training_leaves_every_base_tensor_untouched(build, clips):
    bare = weights_checksum(build(adapters=False).llm)
    model = build(action_tokens="trainable").train()
    adapters_before = [p.detach().clone() for n, p in model.named_parameters() if "lora_" in n]
    codes, code_mask = clips
    batch = (codes, code_mask, *answers(model, torch.tensor([0, 1, 2, 3])))
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-2, weight_decay=0.1)
    losses = []
    for _ in range(5):
        loss = model(*batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    adapters_after = [p for n, p in model.named_parameters() if "lora_" in n]
    assert not any(torch.equal(a, b) for a, b in zip(adapters_before, adapters_after, strict=True))
    # 2 layers of 9 tensors, embeddings, last norm, head.
    assert len(bare) == 21
    assert weights_checksum(model.llm) == bare


def test_the_checksum_sees_a_single_changed_number(build):
    model = build()
    before = weights_checksum(model.llm)
    with torch.no_grad():
        model.base.model.layers[1].self_attn.q_proj.weight[3, 4] += 1e-6
    after = weights_checksum(model.llm)
    assert {n for n in before if before[n] != after[n]} == {"model.layers.1.self_attn.q_proj.weight"}


def test_a_bfloat16_base_trains_float32_adapters(build, clips):
    model = build()
    model.base.to(torch.bfloat16)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    codes, code_mask = clips
    loss = model(codes, code_mask, *answers(model, torch.tensor([0, 1, 2, 3])))["loss"]
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.dtype == torch.float32 for n, p in model.named_parameters() if "lora_" in n)


def test_a_codebook_of_another_width_is_refused(build, tiny_config):
    model = build(adapters=False)
    with pytest.raises(UserError, match=r"width 32 .*\(16, 24\).*vqvae.code_dim=32"):
        ActionLanguageModel(
            model.llm, model.tokenizer, torch.zeros(16, 24), "[tokens].", ["throw"], tiny_config
        )


def rebuilt(model, codebook, config, **changes):
    """The same language model with other action tokens."""
    return ActionLanguageModel(
        model.llm, model.tokenizer, codebook, model.instruction, model.class_names, config, **changes
    ).eval()


def test_action_tokens_may_start_half_way_to_what_they_mean(build, clips, codebook, tiny_config, tmp_path):
    meanings = torch.randn(16, 32, generator=torch.Generator().manual_seed(5))
    model = rebuilt(build(), codebook, tiny_config, meanings=meanings)
    torch.testing.assert_close(model.action_embedding.weight, codebook / 2 + meanings / 2)
    assert not model.action_embedding.weight.requires_grad
    assert model.codebook_checksum == build().codebook_checksum
    save_model(model, tmp_path / "saved")
    loaded = load_model(tmp_path / "saved", tmp_path, codebook=codebook)
    batch = (*clips, *answers(model, torch.tensor([0, 1, 2, 3])))
    assert torch.equal(loaded(*batch)["loss"], model(*batch)["loss"])


def test_action_tokens_are_zeroed_in_training_alone(build, clips, codebook, tiny_config):
    plain = build()
    model = rebuilt(plain, codebook, tiny_config, code_dropout=0.5)
    batch = (*clips, *answers(plain, torch.tensor([0, 1, 2, 3])))
    loss = plain(*batch)["loss"]
    assert torch.equal(model(*batch)["loss"], loss)
    nothing = rebuilt(plain, 0 * codebook, tiny_config)(*batch)["loss"]
    for module in (model, plain):
        module.training = True  # not the adapters below, whose own dropout is not asked about
    torch.manual_seed(0)
    assert len({model(*batch)["loss"].item() for _ in range(3)} | {loss.item(), nothing.item()}) == 5
    model.code_dropout = 1.0
    torch.testing.assert_close(model(*batch)["loss"], nothing)
    assert torch.equal(plain(*batch)["loss"], loss)


def test_the_share_of_zeroed_action_tokens(build, codebook, tiny_config, monkeypatch):
    model = rebuilt(build(), codebook, tiny_config, code_dropout=0.3)
    model.training = True
    seen = []
    layers = type(model.decoder).forward
    monkeypatch.setattr(
        type(model.decoder),
        "forward",
        lambda self, *a, **k: seen.append(k["inputs_embeds"].detach()) or layers(self, *a, **k),
    )
    codes, mask = torch.ones(8, 100, dtype=torch.int64), torch.ones(8, 100, dtype=torch.bool)
    torch.manual_seed(0)
    model(codes, mask, *answers(model, torch.zeros(8, dtype=torch.int64)))
    embeddings = torch.cat([x.flatten(0, -2) for x in seen])
    kept = (embeddings == codebook[1]).all(1).sum()
    zeroed = (embeddings == 0).all(1).sum()
    assert kept + zeroed >= 800
    assert 0.25 < zeroed / (kept + zeroed) < 0.35
