"""Training of the second stage against the plain recipe, peft and Trainer; see stage2.py."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from stage1_quantisation import GPU, _peak, now, take_turns, times
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator

from llmar_pipeline.corpora.ntu import CLASS_NAMES
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.instructions import encode_answers, encode_prompt, load_instruction
from llmar_pipeline.language.llm import hidden_size, load_llm, load_tokenizer
from llmar_pipeline.language.lora import train_lora
from llmar_pipeline.training.config import TrainingConfig

CLIPS, TOKENS, CODES = 600, 16, 512  # W and U of the paper
CLASSES = CLASS_NAMES[:60]
WAYS = ("plain recipe", "ours")


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


class Halfway(TrainerCallback):
    """Notes the time at the half and at the end of a training."""

    def __init__(self, steps: int) -> None:
        self.wanted, self.noted = (steps // 2, steps), []

    def on_step_end(self, args, state, control, **kwargs) -> None:  # type: ignore[no-untyped-def]
        """Note the time."""
        if state.global_step in self.wanted:
            self.noted.append(now())


def plain_recipe(llm_config: LLMConfig, cache: Path, batch: int, steps: int) -> float:
    """Clips a second of what scripts of the field do.

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
    halfway = Halfway(steps)
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
        Trainer(model, arguments, default_data_collator, samples, callbacks=[halfway]).train()
    started, ended = halfway.noted
    return (steps - steps // 2) * batch / (ended - started)


def ours(llm_config: LLMConfig, cache: Path, batch: int, steps: int) -> float:
    """Clips a second of `train_lora` with all its checks and logs."""
    training = TrainingConfig(
        max_steps=steps,
        batch_size=batch,
        micro_batch_size=batch,
        learning_rate=1e-4,
        adam_betas=(0.9, 0.999),
        weight_decay=0,
        warmup_steps=0,
        schedule="constant",
        step_decay_at=0,
        step_decay_factor=1,
        max_gradient_norm=1,
        save_every=10 * steps,
        log_every=steps // 2,
        seed=0,
    )
    noted: list[float] = []
    codes = codebook(hidden_size(llm_config, cache))
    with tempfile.TemporaryDirectory(prefix="llmar-bench-") as folder:
        train_lora(
            sentences(), codes, llm_config, cache, AdapterConfig(), training, Path(folder),
            lambda record, step: noted.append(now()),
        )  # fmt: skip
    return (steps - steps // 2) * batch / (noted[1] - noted[0])


def peak_mib(way: str, *settings: object) -> float:
    """The most memory that a process takes in two steps, weights included; to be called in a fresh one."""
    if not GPU:
        torch.set_num_threads(1)
    RECIPES[way](*settings, 2)
    return _peak() / 2**20


RECIPES: dict[str, Callable[..., float]] = {"plain recipe": plain_recipe, "ours": ours}


def tokens_a_clip(llm_config: LLMConfig, cache: Path) -> float:
    """Tokens of a clip alone, its answer's included: those that a recipe without padding would read."""
    tokenizer = load_tokenizer(llm_config, cache)
    prompt = sum(map(len, encode_prompt(tokenizer, load_instruction("recognize"), []))) + TOKENS
    return prompt + encode_answers(tokenizer, CLASSES)[1].sum().item() / len(CLASSES)


def train(llm_config: LLMConfig, cache: Path, batches: list[int], steps: int, rounds: int) -> list[str]:
    """The Markdown section of training."""
    tokens = tokens_a_clip(llm_config, cache)
    lines = [f"## Training: {llm_config.model}, {llm_config.precision}, {tokens:.1f} tokens a clip", ""]
    lines += [
        "| batch | recipe | tokens/s | clips/s | times | peak memory, MiB |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for batch in batches:
        peaks = {}
        for way in WAYS:  # first, since a new process inherits this one's peak
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                peaks[way] = process.submit(peak_mib, way, llm_config, cache, batch).result()
        turns = {way: (lambda way=way: RECIPES[way](llm_config, cache, batch, steps)) for way in WAYS}  # noqa: B023
        speeds = take_turns(turns, rounds)
        lines += [
            f"| {batch} | {way} | {median(speeds[way]) * tokens:,.0f} | {median(speeds[way]):,.2f} | "
            f"{times(speeds, way, WAYS[0]):.2f} | {peaks[way]:,.0f} |"
            for way in WAYS
        ]
    lines += [
        "",
        f"{steps} steps, of which the second half counts. *plain recipe*: peft, Trainer and its default",
        "collator; action tokens are new words of the vocabulary, samples are padded to the longest answer",
        "of the corpus, and the loss reads the logits of every position. *tokens*: without padding. *peak",
        "memory*: of the whole process.",
        "",
    ]
    return lines
