"""Training of the second stage against the plain recipe, peft and Trainer; see stage2.py."""

import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from measuring import GPU, in_fresh_process, now, peak, schedule, times
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

from llmar_pipeline.corpora.ntu import CLASS_NAMES
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.instructions import encode_answers, encode_prompt, load_instruction
from llmar_pipeline.language.llm import ensure_llm, hidden_size
from llmar_pipeline.language.loading import load_llm, load_tokenizer
from llmar_pipeline.language.lora import train_lora
from llmar_pipeline.machine import speed

CLIPS, TOKENS, CODES = 600, 16, 512  # W and U of the paper
CLASSES = CLASS_NAMES[:60]
WARM_UP = 2  # steps of each training that do not count


def sentences() -> pd.DataFrame:
    """Made-up action sentences; times do not depend on what they say."""
    rng = np.random.default_rng(0)
    labels = np.arange(CLIPS) % len(CLASSES)
    return pd.DataFrame(
        {
            "name": [f"clip {number:04}" for number in range(CLIPS)],
            "split": "train",
            "label": labels,
            "action": [CLASSES[label] for label in labels],
            "reading": 0,
            "codes": list(rng.integers(0, CODES, (CLIPS, TOKENS)).astype(np.int32)),
        }
    )


def codebook(width: int) -> Tensor:
    """Made-up embeddings of the action tokens, of norm 3."""
    return 3 / width**0.5 * torch.randn(CODES, width, generator=torch.Generator().manual_seed(0))


class Work(NamedTuple):
    """What a clip takes: tokens, and products with weights.

    Attributes:
        tokens: Without padding, the answer's included.
        plain: Flops of a training step that reads the instruction for every clip, answers padded to the
            longest, and the vocabulary at every position.
        needed: Flops where the instruction in front is read once a batch, nothing is padded, and the
            vocabulary is read where an answer is predicted.
    """

    tokens: float
    plain: float
    needed: float


def weights(llm_config: LLMConfig, cache: Path) -> tuple[int, int]:
    """Weights that a token is multiplied with: those of all layers, and those of the vocabulary."""
    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(ensure_llm(llm_config, cache)))
    layers = sum(m.weight.numel() for m in llm.get_decoder().modules() if isinstance(m, nn.Linear))
    return layers, llm.get_output_embeddings().weight.numel()


def work(llm_config: LLMConfig, cache: Path, batch: int) -> Work:
    """Of training; without attention and adapters, a few percent.

    A product takes two flops forward and two backward: weights that are frozen have no gradient.
    """
    tokenizer = load_tokenizer(llm_config, cache)
    before, after = map(len, encode_prompt(tokenizer, load_instruction("recognize"), []))
    masks = encode_answers(tokenizer, CLASSES)[1]
    answer, longest = masks.sum().item() / len(CLASSES), masks.shape[1]
    layers, vocabulary = weights(llm_config, cache)
    padded = before + TOKENS + after + longest
    return Work(
        before + TOKENS + after + answer,
        4 * padded * (layers + vocabulary),
        4 * ((before / batch + TOKENS + after + answer - 1) * layers + answer * vocabulary),
    )


class Clock(TrainerCallback):
    """Notes the time at the end of every step."""

    def __init__(self) -> None:
        self.noted: list[float] = []

    def on_step_end(self, args, state, control, **kwargs) -> None:  # type: ignore[no-untyped-def]
        """Note the time."""
        self.noted.append(now())


def plain_recipe(llm_config: LLMConfig, cache: Path, batch: int, steps: int) -> list[float]:
    """When each step of what scripts of the field do ended.

    The action tokens are new words of the tokenizer, samples are padded to the longest, labels of the prompt
    are -100, and the model's own loss reads the logits of every position.
    """
    llm, tokenizer = load_llm(llm_config, cache)
    before, after = encode_prompt(tokenizer, load_instruction("recognize"), [])
    first = len(tokenizer)
    tokenizer.add_tokens([f"<a{code}>" for code in range(CODES)])
    llm.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    words = llm.get_input_embeddings().weight
    with torch.no_grad():
        words[first:] = codebook(words.shape[1]).to(words.dtype)
    settings = AdapterConfig()
    model = get_peft_model(
        llm,
        LoraConfig(
            r=settings.rank,
            lora_alpha=int(settings.alpha),
            lora_dropout=settings.dropout,
            target_modules=list(settings.target_modules),
            task_type="CAUSAL_LM",
        ),
    )
    answers, masks = encode_answers(tokenizer, CLASSES)
    table, samples = sentences(), []
    for codes, label in zip(table["codes"], table["label"], strict=True):
        prompt = [*before, *(first + codes).tolist(), *after]
        samples.append(
            {
                "input_ids": [*prompt, *answers[label].tolist()],
                "attention_mask": [*[1] * len(prompt), *masks[label].int().tolist()],
                "labels": [*[-100] * len(prompt), *answers[label].masked_fill(~masks[label], -100).tolist()],
            }
        )
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="llmar-bench-") as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=batch,
            max_steps=steps,
            learning_rate=1e-4,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            use_cpu=not GPU,
        )
        Trainer(model, arguments, default_data_collator, samples, callbacks=[clock]).train()
    return clock.noted


def ours(llm_config: LLMConfig, cache: Path, batch: int, steps: int) -> list[float]:
    """When each step of `train_lora`, with all its checks and a log, ended."""
    training = schedule(steps, batch, learning_rate=1e-4, max_gradient_norm=1, log_every=1)
    noted: list[float] = []
    codes = codebook(hidden_size(llm_config, cache))
    with tempfile.TemporaryDirectory(prefix="llmar-bench-") as folder:
        train_lora(
            sentences(), codes, llm_config, cache, AdapterConfig(), training, Path(folder),
            lambda record, step: noted.append(now()),
        )  # fmt: skip
    return noted


def measure(way: str, llm_config: LLMConfig, cache: Path, batch: int, steps: int) -> tuple[float, float]:
    """Seconds of a training step, at the median, and peak memory in MiB, weights included."""
    ended = {"plain recipe": plain_recipe, "ours": ours}[way](llm_config, cache, batch, steps)
    return median(np.diff(ended[WARM_UP - 1 :])), peak() / 2**20


def train(llm_config: LLMConfig, cache: Path, batches: list[int], steps: int, rounds: int) -> list[str]:
    """The Markdown section of training."""
    float32, same = "plain recipe, float32", f"plain recipe, {llm_config.precision}"  # or one and the same
    ways = {
        float32: ("plain recipe", llm_config.model_copy(update={"precision": "float32"})),
        same: ("plain recipe", llm_config),
        f"ours, {llm_config.precision}": ("ours", llm_config),
    }
    takes = [work(llm_config, cache, batch) for batch in batches]
    lines = [f"## Training: {llm_config.model}, {takes[0].tokens:.1f} tokens a clip", ""]
    lines += [
        f"| batch | recipe | tokens/s | clips/s | times {same.split()[-1]} | times float32 "
        "| GFLOP a clip | of the peak | peak memory, MiB |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    peaks = {config.precision: speed(config.precision) for _, config in ways.values()}
    for batch, takes_clip in zip(batches, takes, strict=True):
        turns = [
            {
                name: in_fresh_process(measure, way, config, cache, batch, steps)
                for name, (way, config) in ways.items()
            }
            for _ in range(rounds)
        ]
        speeds = {name: [batch / turn[name][0] for turn in turns] for name in ways}
        for name, (way, config) in ways.items():
            rate, flops = median(speeds[name]), takes_clip.needed if way == "ours" else takes_clip.plain
            lines.append(
                f"| {batch} | {name} | {rate * takes_clip.tokens:,.0f} | {rate:,.2f} "
                f"| {times(speeds, name, same):.2f} | {times(speeds, name, float32):.2f} | {flops / 1e9:.1f} "
                f"| {rate * flops / peaks[config.precision]:.0%} "
                f"| {median(turn[name][1] for turn in turns):,.0f} |"
            )
    limits = ", ".join(
        f"{takes_clip.plain / takes_clip.needed:.2f} at batch {batch}"
        for batch, takes_clip in zip(batches, takes, strict=True)
    )
    lines += [
        "",
        f"{steps} steps, of which the first {WARM_UP} do not count; each training in a process of its own.",
        "*plain recipe*: peft, Trainer and its default collator; action tokens are new words of the",
        "vocabulary, samples are padded to the longest answer of the corpus, and the loss reads the logits",
        "of every position. *times*: faster than the plain recipe in that precision. *tokens*: no padding.",
        "*GFLOP*: products with weights, forward and backward, without those of attention and adapters.",
        "*peak*: of a large matrix product, "
        + ", ".join(f"{flops / 1e9:,.0f} GFLOP/s in {precision}" for precision, flops in peaks.items())
        + ". *peak memory*: of the whole process.",
        f"The limit in the same precision, where both recipes reach the same share of the peak: {limits}.",
        "",
    ]
    return lines
