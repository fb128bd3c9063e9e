"""Clips that share a row and the instruction before them give what each gives alone."""

import pytest
import torch
import torch.nn.functional as F

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.instructions import encode_answers, load_instruction
from llmar_pipeline.language.loading import attach_lora, load_llm
from llmar_pipeline.language.packing import pack, position_ids


def test_two_clips_a_row():
    shared = torch.tensor([[1.0], [2.0]])
    clips = torch.tensor([[[10.0], [11.0]], [[20.0], [0.0]], [[30.0], [0.0]]])
    mask = torch.tensor([[True, True], [True, False], [False, True]])
    packed = pack(shared, clips, mask, clips_a_row=2)
    assert packed.embeddings[..., 0].tolist() == [[1, 2, 10, 11, 20], [1, 2, 0, 1, 1]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 2], [0, 1, 2, 0, 0]]
    assert packed.places[mask].tolist() == [2, 3, 4, 7]
    first = [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],  # the second clip does not see the first
    ]
    assert packed.visible[0, 0].int().tolist() == first
    assert packed.visible[1, 0, 2].int().tolist() == [1, 1, 1, 0, 0]


def test_positions_count_real_tokens():
    mask = torch.tensor([[True, False, False, True, True], [True, True, True, False, False]])
    assert position_ids(mask).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 2, 2]]


def plain_loss(model, codes, code_mask, answer_ids, answer_mask):
    """The loss with one padded row a clip, instruction included."""
    prompt, prompt_mask = model.embed_prompt(codes, code_mask, model.class_names)
    mask = torch.cat([prompt_mask, answer_mask[:, :-1]], dim=1)
    hidden = model.decoder(
        inputs_embeds=torch.cat([prompt, model.words(answer_ids[:, :-1])], dim=1),
        attention_mask=mask,
        position_ids=position_ids(mask),
    ).last_hidden_state[:, prompt.shape[1] - 1 :]
    return F.cross_entropy(model.vocabulary_head(hidden[answer_mask]).float(), answer_ids[answer_mask])


def check_equal(model, clips, tolerance):
    """Loss and gradient of every trained tensor, packed and plain, over clips of any lengths."""
    lengths = torch.randint(1, 17, (clips,))
    codes = torch.randint(0, model.action_embedding.num_embeddings, (clips, 16))
    code_mask = torch.arange(16) < lengths[:, None]
    ids, mask = encode_answers(model.tokenizer, model.class_names)
    labels = torch.arange(clips) % len(ids)
    batch = (codes, code_mask, ids[labels], mask[labels])
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    expected = plain_loss(model, *batch)
    found = model(*batch)["loss"]
    assert found.item() == pytest.approx(expected.item(), rel=tolerance)
    gradients = [torch.autograd.grad(loss, trained.values()) for loss in (expected, found)]
    for name, plain, packed in zip(trained, *gradients, strict=True):
        assert plain.norm() > 0, name
        assert (packed - plain).norm() < tolerance * plain.norm(), name


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("clips", [1, 8, 19])
def test_loss_and_every_gradient_are_those_of_padded_rows(build, clips, attention):
    torch.manual_seed(5)
    model = build(action_tokens="trainable")
    model.base.set_attn_implementation(attention)
    check_equal(model, clips, 1e-5)


@pytest.mark.slow
def test_loss_and_every_gradient_are_those_of_padded_rows_on_the_bundled_model(tmp_path):
    config = LLMConfig(model="smollm2", precision="float32")
    try:
        llm, tokenizer = load_llm(config, tmp_path)
    except UserError as error:
        pytest.skip(str(error))
    torch.manual_seed(5)
    tuned = attach_lora(llm, AdapterConfig(rank=8))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    names = ["throw", "put on a hat/cap", "walking towards each other"]
    codebook = torch.randn(32, 576) / 8
    model = ActionLanguageModel(
        tuned, tokenizer, codebook, load_instruction("recognize"), names, config, "trainable"
    )
    check_equal(model.eval(), 10, 1e-4)
