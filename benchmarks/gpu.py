"""The paper's sizes on one GPU, with random weights: three speeds against targets, memory against formulas.

A training step of LoRA on a 13B model, a step of stage 1, and exact scoring of 60 names by a 13B model, whose
whole tree is read. It needs no weights of LLaMA: only the tokenizer of SmolLM2, which `make setup` brings.

    python benchmarks/gpu.py [--only lora stage1 score] [--micro-batches 64 128] [--steps 12] [--out F.md]
    python benchmarks/gpu.py --tiny     # on a CPU in under a minute: that it runs
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import patch

from measuring import DEVICE, GPU, ROOT, machine, now, one_thread, schedule, write_page
from stage1_training import AUGMENTATION, write_clips
from stage2_training import CLASSES, TOKENS, codebook, sentences

import torch  # isort: skip
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from llmar_pipeline import operations
from llmar_pipeline.language import lora, untrained_model
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import score_classes
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.instructions import encode_answers, encode_prompt, load_instruction
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.llm_cache import llm_cache
from llmar_pipeline.language.loading import load_tokenizer
from llmar_pipeline.language.micro_batches import layer_bytes
from llmar_pipeline.language.passes import Passes, clip_bytes
from llmar_pipeline.language.split_linear import LowRank, split_linear_layers
from llmar_pipeline.machine import speed
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.train import Language, train_vqvae

TARGETS = {"lora": "50 % of the peak", "stage1": "10 ms a step", "score": "15 clips/s"}
BUNDLED = LLMConfig(model="smollm2", precision="bfloat16")
CACHE = llm_cache(ROOT / "data")


def random_llm(tiny: bool, words: int) -> LlamaForCausalLM:
    """LLaMA-13B's shape in bfloat16, frozen, on the device; its vocabulary is the tokenizer's."""
    hidden, inner, layers, heads = (64, 160, 2, 4) if tiny else (5120, 13824, 40, 40)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        vocab_size=words,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    with torch.device(DEVICE):
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        llm = LlamaForCausalLM(config)
        torch.set_default_dtype(default)
    return llm.requires_grad_(False).eval()


def shape_of(llm: LlamaForCausalLM) -> operations.LLMShape:
    """Its sizes."""
    c = llm.config
    return operations.LLMShape(
        c.hidden_size, c.intermediate_size, c.num_hidden_layers, c.hidden_size, c.vocab_size
    )


def tokens(tokenizer: PreTrainedTokenizerBase) -> operations.Tokens:
    """Of a clip and 60 names."""
    before, after = map(len, encode_prompt(tokenizer, load_instruction("recognize"), []))
    trie, mask = LabelTrie(CLASSES, tokenizer), encode_answers(tokenizer, CLASSES)[1]
    return operations.Tokens(before, TOKENS, after, mask.sum().item() / len(CLASSES), len(trie.node_tokens))


def row(what: str, speed: str, reached: str, *memory: float | None) -> str:
    """A line of the page's table; memory in GB, as measured and by the formulas."""
    seen = ["-" if gigabytes is None else f"{gigabytes:.1f}" for gigabytes in memory]
    return f"| {' | '.join([what, speed, reached, *seen])} |"


def memory() -> float | None:
    """GB of the GPU that were taken at most since the last call."""
    if not GPU:
        return None
    taken = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    return taken


def seconds_a_step(train: Callable[..., object]) -> float:
    """Of the second half of a training's steps, whose logs `train` hands on."""
    noted: list[tuple[int, float]] = []
    train(lambda record, step: noted.append((step, now())))
    (first, started), (last, ended) = noted[-2:]
    return (ended - started) / (last - first)


def measure_lora(tiny: bool, micro_batches: list[int], steps: int) -> Iterator[str]:
    """Steps of `train_lora` with all its checks: one micro-batch a step."""
    tokenizer = load_tokenizer(BUNDLED, CACHE)
    peak = speed("bfloat16")
    for batch in micro_batches:
        llm = random_llm(tiny, len(tokenizer))
        shape, adapter, clip = shape_of(llm), AdapterConfig(rank=4 if tiny else 64), tokens(tokenizer)
        training = schedule(steps, batch, learning_rate=1e-4, max_gradient_norm=1)
        with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="llmar-bench-") as folder:
            loaded = partial(lambda made, *_: made, (llm, tokenizer))
            stack.enter_context(patch.object(untrained_model, "load_llm", loaded))
            stack.enter_context(patch.object(lora, "llm_checksum", lambda *_: "random weights"))
            given = (sentences(), codebook(shape.hidden), BUNDLED, CACHE, adapter, training, Path(folder))
            memory()
            seconds = seconds_a_step(lambda on_log, given=given: lora.train_lora(*given, on_log=on_log))
        needed = operations.lora_step(shape, adapter, clip, batch)
        weights = 2 * (shape.layers * shape.layer + 2 * shape.words * shape.hidden)
        length = clip.before + 4 * (TOKENS + clip.after + clip.answer)
        heads = llm.config.num_attention_heads
        a_token = shape.layers * layer_bytes(shape.hidden, shape.inner, heads, adapter, int(length), 2)
        computed = weights + batch / 4 * length * a_token + 16 * batch * clip.answer * shape.words
        yield row(
            f"LoRA, micro-batch {batch}",
            f"{batch / seconds:.1f} clips/s",
            f"{needed / seconds / peak:.1%} of the peak ({peak / 1e12:.0f} TFLOP/s)",
            memory(),
            computed / 1e9,
        )


def measure_stage1(tiny: bool, steps: int) -> Iterator[str]:
    """Steps of `train_vqvae` at the paper's size, with all its checks."""
    config = VQVAEConfig(code_dim=64, width=32) if tiny else VQVAEConfig(code_dim=5120)
    batch, words = (8, 256) if tiny else (256, 8192)
    with tempfile.TemporaryDirectory(prefix="llmar-bench-") as name:
        store = write_clips(Path(name, "store"))
        language = Language(3 / config.code_dim**0.5 * torch.randn(words, config.code_dim))
        for precision in ("bfloat16",) if tiny else ("bfloat16", "float32"):
            training = schedule(10 * steps, batch, precision=precision, max_gradient_norm=2.0)
            given = (store.folder, store.names, [0] * len(store), config, AUGMENTATION, training)
            folder = Path(name, precision)
            memory()
            seconds = seconds_a_step(
                lambda on_log, given=given, folder=folder: train_vqvae(*given, folder, language, on_log)
            )
            flops = operations.vqvae_step(config, store.body, batch) / seconds
            yield row(f"stage 1, {precision}", f"{seconds * 1e3:.1f} ms a step",
                      f"{flops / 1e12:.2f} TFLOP/s", memory(), None)  # fmt: skip


@torch.no_grad()
def measure_score(tiny: bool, rounds: int = 2) -> Iterator[str]:
    """The whole tree of 60 names, in as large batches as memory holds, with split weights and adapters."""
    tokenizer = load_tokenizer(BUNDLED, CACHE)
    llm = random_llm(tiny, len(tokenizer))
    shape, clip = shape_of(llm), tokens(tokenizer)
    added = LowRank(
        torch.randn(64, shape.hidden, device=DEVICE), torch.zeros(shape.hidden, 64, device=DEVICE), 0.25
    )
    names = [name for name, _ in llm.named_modules() if name.endswith(("q_proj", "v_proj"))]
    split_linear_layers(llm, dict.fromkeys(names, added))
    instruction = load_instruction("recognize")
    model = ActionLanguageModel(llm, tokenizer, codebook(shape.hidden), instruction, CLASSES, BUNDLED)
    model, trie = model.to(DEVICE).eval(), LabelTrie(CLASSES, tokenizer)
    count = 4 if tiny else 128
    codes = torch.randint(512, (count, TOKENS))
    passes, sizes = Passes(model, count), []

    def work(some: range) -> torch.Tensor:
        sizes.append(len(some))
        return score_classes(model, codes[list(some)], torch.ones(len(some), TOKENS, dtype=torch.bool), trie)

    for _ in range(rounds):  # the first loads libraries
        memory()
        sizes.clear()
        started = now()
        scored = passes(range(count), work, trie, TOKENS)
        seconds = (now() - started) / count
    assert torch.cat(scored).isfinite().all()
    weights = 2 * shape.layers * shape.layer + (2 + 4) * shape.words * shape.hidden
    each = clip_bytes(shape[:4], clip.before + TOKENS + clip.after + clip.nodes, split=True)
    computed = weights + max(sizes) * each
    reached = 3 * operations.scoring(shape, clip) / seconds / speed("bfloat16")
    yield row(f"scoring, 60 names, {max(sizes)} clips a pass", f"{1 / seconds:.1f} clips/s",
              f"{reached:.0%} of the bfloat16 peak", memory(), computed / 1e9)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=TARGETS, nargs="+", default=list(TARGETS))
    parser.add_argument("--micro-batches", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--steps", type=int, default=12, help="of LoRA; ten times as many of stage 1")
    parser.add_argument("--tiny", action="store_true", help="tiny models, on a CPU too")
    parser.add_argument("--out", type=Path, help="a page; default: none")
    arguments = parser.parse_args()
    if not GPU and not arguments.tiny:
        parser.error("expected a GPU, saw none; --tiny runs on a CPU")
    one_thread()
    tiny, steps = arguments.tiny, 4 if arguments.tiny else arguments.steps
    parts = {
        "lora": lambda: measure_lora(tiny, [4] if tiny else arguments.micro_batches, steps),
        "stage1": lambda: measure_stage1(tiny, steps),
        "score": lambda: measure_score(tiny),
    }
    lines = ["# The paper's sizes on one GPU" + ", tiny" * tiny, ""]
    lines += ["| what | speed | reached | memory, GB | by the formulas, GB |", "|---|---:|---:|---:|---:|"]
    for name in arguments.only:
        lines += list(parts[name]())
    targets = ", ".join(f"{name} {TARGETS[name]}" for name in arguments.only)
    command = " ".join(["python benchmarks/gpu.py", *sys.argv[1:]])
    write_page(arguments.out, [*lines, "", f"Targets on an H100: {targets}.", "", *machine(command)])


if __name__ == "__main__":
    main()
