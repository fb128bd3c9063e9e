"""A language model that will not do is found out from its files, before any training."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_llm import CLASS_NAMES, byte_level_tokenizer
from tokenizers import processors
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import score_sentences
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.instructions import encode_answers, load_instruction
from llmar_pipeline.language.llm_check import FAMILIES, check_llm, check_prompts
from llmar_pipeline.language.loading import attach_lora, load_llm

ADAPTER = AdapterConfig(rank=4)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 129\n"
INSTRUCTION = load_instruction("recognize")


def edit(name: str, **values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | values))

    return change


def cut_off(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def without_a_layer(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = {name: weight for name, weight in load_file(file).items() if "layers.1." not in name}
    save_file(weights, file, metadata={"format": "pt"})


def half_indexed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))


def old_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tokenizer": (without_tokenizer, r"expected a tokenizer .* in .*saw none"),
    "an empty tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), r"expected a tokenizer"),
    "a pointer for a tokenizer": (
        lambda f: (f / "tokenizer.json").write_text(POINTER),
        r"expected a tokenizer",
    ),
    "no end token": (edit("tokenizer_config.json", eos_token=None), r"end-of-sequence token, saw none in"),
    "cut off": (cut_off, r"weights .*model\.safetensors, saw .*not fully covered"),
    "empty": (lambda f: (f / "model.safetensors").write_bytes(b""), r"model\.safetensors, saw .*header"),
    "a pointer": (lambda f: (f / "model.safetensors").write_text(POINTER), r"pointer of Git LFS \(`git lfs"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors, saw no such file"),
    "weights of another format": (old_weights, r"saw pytorch_model\.bin, which is not safetensors"),
    "a part missing": (half_indexed, r"model-00002-of-00002\.safetensors, saw no such file"),
    "a layer missing": (without_a_layer, r"saw no model\.layers\.1\.\S+ \(9 such\)"),
    "other widths": (edit("config.json", intermediate_size=48), r"expected a language model to load"),
    "an unknown kind": (edit("config.json", model_type="nosuch"), r"kinds llama, .*saw 'nosuch'"),
    "a configuration that is none": (lambda f: (f / "config.json").write_text("[1]"), r"a JSON object in"),
    "Python of the model": (edit("config.json", auto_map={"AutoConfig": "x.Y"}), r"saw auto_map in .*config"),
    "Python of the tokenizer": (
        edit("tokenizer_config.json", auto_map={"AutoTokenizer": ["x.Y", None]}),
        r"saw auto_map in .*tokenizer_config\.json",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_line(tiny_llm_folder: Path, tmp_path: Path, damage: str) -> None:
    change, expected = DAMAGE[damage]
    folder = tmp_path / "llm"
    shutil.copytree(tiny_llm_folder, folder)
    change(folder)
    with pytest.raises(UserError, match=expected) as error:
        check_llm(LLMConfig(model=str(folder), precision="float32"), tmp_path, 32, ADAPTER)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def test_what_loads_a_folder_refuses_it_too(tiny_llm_folder: Path, tmp_path: Path) -> None:
    for name, change in (("lack", without_a_layer), ("code", DAMAGE["Python of the tokenizer"][0])):
        shutil.copytree(tiny_llm_folder, tmp_path / name)
        change(tmp_path / name)
        with pytest.raises(UserError, match=r"saw no model\.layers|saw auto_map"):
            load_llm(LLMConfig(model=str(tmp_path / name), precision="float32"), tmp_path)


def test_a_good_folder_says_how_many_weights_are_trained(tiny_config: LLMConfig, tmp_path: Path) -> None:
    # 2 layers; q maps 32 to 32, v maps 32 to 16; rank 4.
    assert check_llm(tiny_config, tmp_path, 32, ADAPTER) == 2 * 4 * ((32 + 32) + (32 + 16))
    whole = check_llm(tiny_config, tmp_path, 32, AdapterConfig(method="full"))
    assert whole == sum(weight.numel() for weight in load_llm(tiny_config, tmp_path)[0].parameters())
    with pytest.raises(UserError, match=r"target_modules out of .*q_proj.*saw query"):
        check_llm(tiny_config, tmp_path, 32, AdapterConfig(target_modules=("q_proj", "query")))


def test_widths_that_4_bits_cannot_take_are_known(
    tiny_config: LLMConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with pytest.raises(UserError, match=r"multiple of 64 .*saw 32"):
        check_llm(tiny_config.model_copy(update={"quantization": "nf4"}), tmp_path, 32, ADAPTER)


def test_more_tokens_than_rows_are_refused(tmp_path: Path) -> None:
    write(tmp_path, LlamaConfig, vocab_size=200)
    with pytest.raises(UserError, match=r"tokenizer of at most 200 tokens.*saw 330 in"):
        check_llm(LLMConfig(model=str(tmp_path), precision="float32"), tmp_path, 32, ADAPTER)


def test_classes_of_the_same_tokens_and_prompts_too_long_are_refused(
    tiny_config: LLMConfig, tmp_path: Path
) -> None:
    check_prompts(tiny_config, tmp_path, INSTRUCTION, [CLASS_NAMES], [CLASS_NAMES], 16)
    with pytest.raises(UserError, match="different tokens, saw 'hand' and 'hand '"):
        check_prompts(tiny_config, tmp_path, INSTRUCTION, [["hand", "hand "]], [[]], 16)
    with pytest.raises(UserError, match=r"at most 512 tokens .*max_position_embeddings.* \+ 500 \+ "):
        check_prompts(tiny_config, tmp_path, INSTRUCTION, [CLASS_NAMES], [CLASS_NAMES], 500)


KINDS = (LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config, GemmaConfig, Gemma3TextConfig, PhiConfig)


def write(folder: Path, kind: type, **values: object) -> None:
    """A random model with tied heads; its tokenizer writes no begin token."""
    tokenizer = byte_level_tokenizer().backend_tokenizer
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    settings: dict[str, object] = {
        "vocab_size": 330,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "initializer_range": 0.3,
    }
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(kind(**settings | values)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_trained_and_scored_as_its_own_logits_say(kind: type, tmp_path: Path) -> None:
    write(tmp_path, kind)
    config = LLMConfig(model=str(tmp_path), precision="float32")
    check_llm(config, tmp_path, 32, ADAPTER)
    llm, tokenizer = load_llm(config, tmp_path)
    tuned = attach_lora(llm, ADAPTER)
    codebook = torch.randn(16, 32)
    model = ActionLanguageModel(tuned, tokenizer, codebook, INSTRUCTION, CLASS_NAMES, config, word_norm=True)
    codes, mask = torch.randint(0, 16, (2, 6)), torch.ones(2, 6, dtype=torch.bool)
    ids, shown = encode_answers(tokenizer, CLASS_NAMES)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.01)
    losses = []
    for _ in range(4):
        loss = model(codes, mask, ids[:2], shown[:2])["loss"]
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    scores = score_sentences(model.eval(), [*codes.numpy()], 2)
    answer = ids[3][shown[3]]
    with torch.no_grad():
        prompt, _ = model.embed_prompt(codes, mask, CLASS_NAMES)
        read = torch.cat([prompt, model.words(answer[:-1]).expand(2, -1, -1)], dim=1)
        told = model.base(inputs_embeds=read).logits.log_softmax(-1)[:, prompt.shape[1] - 1 :]
    plain = told[:, torch.arange(len(answer)), answer].sum(1)
    torch.testing.assert_close(torch.from_numpy(scores[:, 3]), plain, atol=1e-3, rtol=1e-4)


def test_every_served_kind_is_tested() -> None:
    assert {kind.model_type for kind in KINDS} == set(FAMILIES)


def test_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(
        GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=330)
    ).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="saw 'gpt2' in"):
        check_llm(LLMConfig(model=str(tmp_path), precision="float32"), tmp_path, 32, ADAPTER)
