"""What a training of stage 2 begins with."""

from pathlib import Path

import pandas as pd
import torch
from transformers import set_seed

from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.llm import ensure_llm
from llmar_pipeline.language.loading import attach_lora, empty_llm, load_llm
from llmar_pipeline.language.samples import counts_by_class
from llmar_pipeline.language.words import class_texts, word_embeddings
from llmar_pipeline.training import processes
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.training.sharding import read_parts, shard


def untrained_model(
    rows: pd.DataFrame,
    codebook: torch.Tensor,
    llm_config: LLMConfig,
    llm_cache: Path,
    adapter: AdapterConfig,
    training: TrainingConfig,
    instruction: str,
    class_names: list[str],
) -> ActionLanguageModel:
    """The language model with what is to be trained of it.

    Args:
        rows: Sentences of the train split, as `train_lora` takes them.
        codebook: log-mapped codes [U, du].
        llm_config: which language model, its number type settled.
        llm_cache: folder of converted language models.
        adapter: rank and place of the adapters, or none: then all weights of the model are trained, spread
            over the processes where there are several.
        training: its seed, number type and `compile`.
        instruction: its text.
        class_names: the answers.

    Raises:
        UserError: no such language model, or a codebook of another width.

    Source: Sec. 3.2 of the paper.
    """
    tuned: torch.nn.Module
    sharded = adapter.method == "full" and processes.count() > 1
    if adapter.method == "full":
        if sharded:
            tuned, tokenizer = empty_llm(llm_config, llm_cache, word_embeddings(llm_config, llm_cache))
        else:
            tuned, tokenizer = load_llm(llm_config, llm_cache, "float32")
        tuned.requires_grad_(True)
    else:
        llm, tokenizer = load_llm(llm_config, llm_cache)
        set_seed(training.seed)
        tuned = attach_lora(llm, adapter, llm_config.revision)
    model = ActionLanguageModel(
        tuned,
        tokenizer,
        codebook,
        instruction=instruction,
        class_names=class_names,
        config=llm_config,
        action_tokens=adapter.action_tokens,
        word_norm=adapter.word_norm,
        input=adapter.input,
        meanings=_meanings(rows, class_names, llm_config, llm_cache, len(codebook))
        if adapter.action_rows == "classes"
        else None,
        code_dropout=adapter.code_dropout,
    )
    if sharded:
        shard(model, model.decoder.layers, training.precision)  # type: ignore[arg-type]
        read_parts(model.base, ensure_llm(llm_config, llm_cache))
    if processes.device().type == "cpu":  # where it will be trained: it lies in main memory until then
        # There the backward pass of torch's own attention takes four times as long in bfloat16.
        model.base.set_attn_implementation("eager")
    if training.compile:
        model.decoder.compile(dynamic=True)
    return model


def _meanings(
    sentences: pd.DataFrame, class_names: list[str], config: LLMConfig, cache: Path, codes: int
) -> torch.Tensor:
    """Where codes lie among words: the classes' words, weighed by p(class | code) in training sentences.

    Args:
        sentences: Those of the train split.
        class_names: The classes.
        config: Which language model.
        cache: As in `ensure_llm`.
        codes: Their number.

    Returns:
        `[codes, du]`, float32; of a code that no training sentence has, the mean of all classes.

    Source: ours.
    """
    counts = counts_by_class(sentences, class_names, codes) + 1e-3
    shares = torch.from_numpy(counts / counts.sum(1, keepdims=True)).float()
    return shares @ class_texts(word_embeddings(config, cache), config, cache, class_names)
