"""The formulas of docs/memory.md against what PyTorch, peft and bitsandbytes really keep."""

import re
from dataclasses import dataclass

import pytest
import torch
from tiny_llm import CLASS_NAMES, write_tiny_llm
from torch.autograd.graph import saved_tensors_hooks
from transformers import LlamaConfig, LlamaForCausalLM

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.errors import UserError
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.dropout import drop_by_clip
from llmar_pipeline.language.instructions import (
    encode_answer,
    encode_answers,
    encode_prompt,
    load_instruction,
)
from llmar_pipeline.language.llm import ensure_llm
from llmar_pipeline.language.loading import attach_lora, load_llm, read_tokenizer
from llmar_pipeline.language.micro_batches import layer_bytes
from llmar_pipeline.language.packing import CLIPS_A_ROW, additive, pad_sentences
from llmar_pipeline.language.samples import OTHER_CLASSES

BYTES = {torch.bfloat16: 2, torch.float32: 4}
NF4 = 1 / 2 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight: 4 bits, and of each block of 64 a scale of 8 bits, of 256 of those one of 32."""


@dataclass(frozen=True)
class Llama:
    """Sizes by the letters of docs/memory.md: h, f, n, heads, vocabulary."""

    hidden: int
    inner: int
    layers: int
    heads: int
    vocabulary: int

    @property
    def linear(self) -> int:
        return self.layers * (4 * self.hidden**2 + 3 * self.hidden * self.inner)

    @property
    def rest(self) -> int:
        return 2 * self.vocabulary * self.hidden + (2 * self.layers + 1) * self.hidden

    def adapters(self, rank: int) -> int:
        return self.layers * 2 * rank * 2 * self.hidden

    def layer_bytes(self, row: int, rank: int, number: int) -> int:
        """What one layer keeps for the backward pass, for each token of a row of so many tokens."""
        return layer_bytes(self.hidden, self.inner, self.heads, AdapterConfig(rank=rank), row, number)

    def build(self) -> LlamaForCausalLM:
        config = LlamaConfig(
            hidden_size=self.hidden,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            vocab_size=self.vocabulary,
            attn_implementation="sdpa",
        )
        return LlamaForCausalLM(config)


BEFORE, AFTER, AFTER_SIX_NAMES, AFTER_ALL_NAMES, LONGEST_ANSWER = 6, 7, 68, 579, 15
"""Tokens by SmolLM2's tokenizer, of NTU RGB+D 120's names."""
LLAMA_13B = Llama(hidden=5120, inner=13824, layers=40, heads=40, vocabulary=32000)


def saved(model, run):
    """Tensors kept for the backward pass, each once, without parameters and buffers."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = tensor  # held, so that no other takes its place
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return list(kept.values())


def saved_bytes(
    sizes: Llama, rows: int, row: int, dtype: torch.dtype, adapter: AdapterConfig, kind: str = "sdpa"
) -> int:
    torch.manual_seed(0)
    model = sizes.build().to(dtype).train()
    model.set_attn_implementation(kind)
    if adapter.method == "lora":
        model = attach_lora(model.requires_grad_(False), adapter).train()
    visible = torch.ones(row, row, dtype=torch.bool).tril().repeat(rows, 1, 1, 1)
    if kind == "eager":
        visible = additive(visible, dtype)
    embeddings = torch.randn(rows, row, sizes.hidden, dtype=dtype)
    decoder = (model.get_base_model() if adapter.method == "lora" else model).get_decoder()
    places = torch.arange(row).expand(rows, -1)
    if draws := drop_by_clip(model):
        draws.begin(places)

    def run():
        decoder(
            inputs_embeds=embeddings, attention_mask=visible, position_ids=places, use_cache=False
        )  # its output is dropped, but not before the hooks have seen what it keeps

    return sum(tensor.untyped_storage().nbytes() for tensor in saved(model, run))


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize(("hidden", "inner", "rank"), [(64, 160, 8), (192, 500, 4)])
def test_what_a_layer_keeps(dtype, hidden, inner, rank):
    rows, row = 2, 60
    shallow, deep = (Llama(hidden, inner, layers, 4, 50) for layers in (2, 5))
    adapter = AdapterConfig(rank=rank)
    more, less = (saved_bytes(sizes, rows, row, dtype, adapter) for sizes in (deep, shallow))
    assert (more - less) / 3 == rows * row * deep.layer_bytes(row, rank, BYTES[dtype])


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize(
    ("adapter", "kind"),
    [
        ({}, "eager"),
        ({"method": "full"}, "sdpa"),
        ({"target_modules": ("q_proj", "k_proj", "v_proj", "o_proj")}, "sdpa"),
        ({"target_modules": ("q_proj", "v_proj", "gate_proj", "up_proj", "down_proj")}, "sdpa"),
    ],
)
def test_what_a_layer_keeps_of_other_kinds(dtype, adapter, kind):
    """Near enough for a number of clips."""
    config, rows, row = AdapterConfig(rank=8, **adapter), 2, 120
    more, less = (saved_bytes(Llama(64, 160, n, 4, 50), rows, row, dtype, config, kind) for n in (5, 2))
    expected = layer_bytes(64, 160, 4, config, row, BYTES[dtype], kind == "eager")
    assert (more - less) / 3 == pytest.approx(rows * row * expected, rel=0.1)


def test_parameters_of_llama_13b():
    with torch.device("meta"):
        llm = LLAMA_13B.build()
    sizes = {name: parameter.numel() for name, parameter in llm.named_parameters()}
    assert sum(size for name, size in sizes.items() if "_proj." in name) == LLAMA_13B.linear
    assert sum(sizes.values()) == LLAMA_13B.linear + LLAMA_13B.rest == 13_015_864_320
    tuned = attach_lora(llm.requires_grad_(False), AdapterConfig())
    assert sum(p.numel() for p in tuned.parameters() if p.requires_grad) == LLAMA_13B.adapters(64)


def test_bytes_of_a_quantised_weight(tmp_path):
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes (pip install -e '.[qlora]')")
    write_tiny_llm(tmp_path, hidden_size=64)
    config = LLMConfig(model=str(tmp_path), precision="bfloat16", quantization="nf4")
    weight = load_llm(config, tmp_path)[0].model.layers[0].mlp.up_proj.weight
    state = weight.quant_state
    assert weight.nbytes + state.absmax.nbytes == (1 / 2 + 1 / 64) * 128 * 64
    assert (state.blocksize, state.state2.blocksize, state.state2.absmax.dtype) == (64, 256, torch.float32)


def test_logits_are_made_for_answers_only(build):
    model = build().train()
    codes, code_mask = pad_sentences([torch.arange(6).numpy()] * len(CLASS_NAMES))
    answers = encode_answers(model.tokenizer, CLASS_NAMES)
    vocabulary = model.words.num_embeddings
    kept = saved(model, lambda: model(codes, code_mask, *answers))
    sizes = [tensor.numel() for tensor in kept if tensor.shape[-1:] == (vocabulary,)]
    assert sizes
    assert set(sizes) == {int(answers[1].sum()) * vocabulary}


@pytest.mark.slow
def test_tokens_of_the_instruction_and_its_names(tmp_path, project):
    pytest.importorskip("gguf")
    try:
        tokenizer = read_tokenizer(ensure_llm(LLMConfig(model="smollm2", precision="float32"), tmp_path))
    except UserError as error:
        pytest.skip(str(error))
    names = CORPORA["ntu120"].class_names
    longest = sorted(names, key=lambda name: -len(tokenizer(f", {name}")["input_ids"]))
    plain = encode_prompt(tokenizer, load_instruction("recognize"), ())
    assert (len(plain.before), len(plain.after)) == (BEFORE, AFTER)
    listed = load_instruction("recognize_from_list")
    most = OTHER_CLASSES + 1
    assert len(encode_prompt(tokenizer, listed, longest[:most]).after) == AFTER_SIX_NAMES
    assert len(encode_prompt(tokenizer, listed, names).after) == AFTER_ALL_NAMES
    assert max(len(encode_answer(tokenizer, name)) for name in names) == LONGEST_ANSWER
    text = (project / "docs" / "memory.md").read_text(encoding="utf-8")
    sentence = f"the {AFTER} become {AFTER_SIX_NAMES} at most"
    assert sentence in text
    assert f"{AFTER_ALL_NAMES} tokens" in text


def test_the_documents_numbers(project):
    """Every number of the table, in GB; LLaMA-13B, rank 64."""
    llm, text = LLAMA_13B, (project / "docs" / "memory.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| ([^|]+?) \| (.*) \|$", text, re.MULTILINE))

    def row(name):
        return [float(cell) for cell in table[name].split(" | ")]

    def gigabytes(*numbers):
        return [round(number / 1e9, 1) for number in numbers]

    def activations(rows, tokens):
        return llm.layers * rows * tokens * llm.layer_bytes(tokens, 64, 2)

    quantised = llm.linear * NF4
    assert row("base weights") == gigabytes((llm.linear + llm.rest) * 2, quantised + llm.rest * 2)
    assert row("adapters, gradients, Adam") == gigabytes(*[16 * llm.adapters(64)] * 2)

    def row_of(after):  # the last token of an answer is not read
        return BEFORE + CLIPS_A_ROW * (16 + after + LONGEST_ANSWER - 1)

    four, many = (activations(clips // CLIPS_A_ROW, row_of(AFTER)) for clips in (4, 64))
    listed = activations(1, row_of(AFTER_SIX_NAMES))
    assert row("activations, 4 clips") == gigabytes(four, four)
    assert row("activations, 64 clips") == gigabytes(many, many)
    assert row("activations, 4 clips, six classes in the instruction") == gigabytes(listed, listed)
    tokens = row_of(AFTER)
    one = tokens * llm.layer_bytes(tokens, 64, 2)
    kept = llm.layers * tokens * 2 * llm.hidden + one
    assert row("the same 4 clips with gradient checkpointing (not built)") == gigabytes(kept, kept)
    assert row("logits, 4 clips") == gigabytes(*[4 * LONGEST_ANSWER * llm.vocabulary * 16] * 2)
    assert row("base weights when scored in float32") == gigabytes(
        (llm.linear + llm.rest) * 4, quantised + llm.rest * 4
    )
