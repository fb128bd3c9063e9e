"""Counts of operations against torch's own count on the real modules."""

import pytest
import torch
from tiny_llm import CLASS_NAMES
from torch.utils.flop_counter import FlopCounterMode

from llmar_pipeline import operations
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import score_classes
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.instructions import encode_answers, encode_prompt, load_instruction
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.loading import attach_lora, load_llm
from llmar_pipeline.operations import LLMShape, Tokens
from llmar_pipeline.skeletons.topology import COCO17, KINECT20, Body
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE


def counted(call) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("by_part", [False, True])
@pytest.mark.parametrize("levels", [1, 2])
def test_of_the_vqvae(by_part, levels):
    torch.manual_seed(0)
    config = VQVAEConfig(
        code_dim=24,
        codes=32,
        width=16,
        depth=2,
        frames=16,
        mmd_words=20,
        residual_levels=levels,
        body_parts=by_part,
    )
    body = Body(KINECT20, 1)
    model = VQVAE(config, body, words=torch.randn(50, 24))
    motion = torch.randn(6, 16, body.channels)
    mask = torch.ones_like(motion, dtype=torch.bool)
    model(motion, mask)  # the first batch also places the codes
    with torch.no_grad():
        assert counted(lambda: model.encode(motion)) == 6 * operations.encoder(config, body)
        codes = model.tokenize(motion)
        assert codes.shape[1] == operations.sentence_length(config, body)
        assert counted(lambda: model.decode(codes)) == 6 * operations.decoder(config, body)
    step = counted(lambda: model(motion, mask)["loss"].backward())
    assert step == pytest.approx(operations.vqvae_step(config, body, 6), rel=0.2)
    assert counted(lambda: model.eval().tokenize(motion)) == pytest.approx(
        6 * operations.tokenization(config, body), rel=0.1
    )


GRAPHS = [
    (Body(KINECT20, 1), {}),
    (Body(COCO17, 2), {"body_parts": True, "further_streams": ("bones", "motion")}),
    (Body(KINECT20, 2), {"residual_levels": 2, "further_streams": ("local_motion",), "width": 21}),
]


@pytest.mark.parametrize(("body", "changes"), GRAPHS)
def test_of_the_graph_encoder(body, changes):
    torch.manual_seed(0)
    settings = {"code_dim": 24, "codes": 32, "width": 16, "depth": 1, "frames": 16, "human_weight": 0}
    config = VQVAEConfig(**settings | {"encoder": "graph"} | changes)
    model = VQVAE(config, body)
    motion = torch.randn(6, 16, body.channels * len(config.streams))
    mask = torch.ones(6, 16, body.channels, dtype=torch.bool)
    model(motion, mask)
    with torch.no_grad():
        assert counted(lambda: model.encode(motion)) == 6 * operations.encoder(config, body)
        codes = model.tokenize(motion)
        assert counted(lambda: model.decode(codes)) == 6 * operations.decoder(config, body)
    step = counted(lambda: model(motion, mask)["loss"].backward())
    assert step == pytest.approx(operations.vqvae_step(config, body, 6), rel=0.2)
    convolutions = config.model_copy(update={"encoder": "conv"})
    model = VQVAE(convolutions, body)
    with torch.no_grad():
        assert counted(lambda: model.encode(motion)) == 6 * operations.encoder(convolutions, body)


@pytest.fixture(scope="module")
def asked(tiny_llm_folder, tmp_path_factory):
    """Eight clips, and the tokens around them."""
    config = LLMConfig(model=str(tiny_llm_folder), precision="float32")
    llm, tokenizer = load_llm(config, tmp_path_factory.mktemp("cache"))
    llm.set_attn_implementation("eager")
    adapter = AdapterConfig(rank=4)
    torch.manual_seed(0)
    codebook = torch.randn(32, 32)
    model = ActionLanguageModel(
        attach_lora(llm, adapter),
        tokenizer,
        codebook,
        load_instruction("recognize"),
        CLASS_NAMES,
        config,
        "trainable",
    )
    before, after = encode_prompt(tokenizer, model.instruction, CLASS_NAMES)
    ids, mask = encode_answers(tokenizer, CLASS_NAMES)
    labels = torch.arange(8) % len(CLASS_NAMES)
    codes = torch.randint(32, (8, 4))
    trie = LabelTrie(CLASS_NAMES, tokenizer)
    tokens = Tokens(
        len(before), 4, len(after), float(mask[labels].sum(1).float().mean()), len(trie.node_tokens)
    )
    sample = (codes, torch.ones_like(codes, dtype=torch.bool), ids[labels], mask[labels])
    return model, sample, tokens, LLMShape.read(tiny_llm_folder), adapter, trie


def test_of_a_lora_step(asked):
    model, sample, tokens, shape, adapter, _ = asked
    model.train()
    step = counted(lambda: model(*sample)["loss"].backward())
    assert step == pytest.approx(operations.lora_step(shape, adapter, tokens, 8), rel=0.15)


def test_of_scoring(asked):
    model, (codes, mask, *_), tokens, shape, _, trie = asked
    score_classes(model, codes, mask, trie)
    seen = counted(lambda: score_classes(model, codes, mask, trie))
    assert seen == pytest.approx(8 * operations.scoring(shape, tokens), rel=0.15)
