"""The large language model in memory: loaded with its weights frozen, and adapted."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.llm import check_code, check_weights, ensure_llm, unavailable, without_hub
from llmar_pipeline.language.quantization import check_quantization, fix_nf4, nf4_settings
from llmar_pipeline.machine import number_type


def settled(config: LLMConfig) -> LLMConfig:
    """The configuration with a number type in place of "auto": the one that this machine computes fast in.

    Args:
        config: Which model.

    Source: ours.
    """
    if config.precision != "auto":
        return config
    return config.model_copy(update={"precision": number_type().precision})


def load_llm(
    config: LLMConfig, cache: Path, dtype: torch.dtype | str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model and its tokenizer from this machine, with all weights frozen.

    Args:
        config: Which model.
        cache: As in `ensure_llm`.
        dtype: Number type of the weights; `config.precision` by default. Exact scoring wants float32.
            Quantised weights stay as they are, and their layers compute in it.

    Returns:
        The causal language model (evaluation mode, scaled-dot-product attention; a quantised one on the
        device that computes) and the tokenizer.

    Raises:
        UserError: The model is not available, cannot be read, or as in `check_quantization` and `fix_nf4`.

    Source: ours.
    """
    tokenizer = load_tokenizer(config, cache)
    return load_base(config, cache, dtype), tokenizer


def load_base(config: LLMConfig, cache: Path, dtype: torch.dtype | str | None = None) -> PreTrainedModel:
    """Load the model alone, as `load_llm` does.

    Args:
        config: Which model.
        cache: As in `ensure_llm`.
        dtype: As of `load_llm`.

    Raises:
        UserError: As `load_llm`, but for the tokenizer.

    Source: ours.
    """
    check_quantization(config)
    precision = getattr(torch, settled(config).precision)
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype or precision
    folder = ensure_llm(config, cache)
    if config.quantization == "nf4":
        # Always quantised from the precision of the training: other roundings are other weights.
        llm = load_weights(folder, precision, **nf4_settings(dtype))
        fix_nf4(llm, dtype)
    else:
        llm = load_weights(folder, dtype)
    # Recorded by peft beside the adapter, which finds the model there by itself.
    found = without_hub(config, cache)
    llm.name_or_path = config.model if found is None else str(found.resolve())
    return llm


def empty_llm(
    config: LLMConfig, cache: Path, words: torch.Tensor
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model without values but those of its words, which a training's `shard` and `read_parts` bring.

    Args:
        config: Which model, not quantised.
        cache: As in `ensure_llm`.
        words: Its word embeddings.

    Returns:
        The causal language model, its other weights of float32 and without memory (meta device), and the
        tokenizer.

    Raises:
        UserError: The model is not available or cannot be read.

    Source: ours.
    """
    tokenizer, folder = load_tokenizer(config, cache), ensure_llm(config, cache)
    check_code(folder)
    check_weights(folder)
    try:
        with init_empty_weights(include_buffers=False):
            settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            llm: PreTrainedModel = AutoModelForCausalLM.from_config(
                settings, dtype=torch.float32, attn_implementation="sdpa", trust_remote_code=False
            )
    except Exception as error:  # whatever a foreign file makes of its reader
        raise unavailable(str(folder), error) from error
    llm.get_input_embeddings().weight = nn.Parameter(words)
    llm.tie_weights()
    return llm, tokenizer


def load_tokenizer(config: LLMConfig, cache: Path) -> PreTrainedTokenizerBase:
    """Load the model's tokenizer alone.

    Args:
        config: Which model.
        cache: As in `ensure_llm`.

    Raises:
        UserError: The model is not available or its tokenizer cannot be read.

    Source: ours.
    """
    return read_tokenizer(ensure_llm(config, cache))


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a model's folder.

    Args:
        folder: Folder with tokenizer.json and tokenizer_config.json.

    Raises:
        UserError: There is none, it cannot be read, or it brings Python of its own.

    Source: ours.
    """
    check_code(folder)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a foreign file makes of its reader
        raise UserError(
            f"expected a tokenizer (tokenizer.json, tokenizer_config.json) in {folder}, saw none that can be "
            f"read ({type(error).__name__}); fetch its files again, or choose another llm.model."
        ) from error


def tokenizer_checksum(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of a tokenizer's vocabulary (tokens and their ids).

    Source: ours.
    """
    vocabulary = sorted(tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()


def load_weights(folder: Path, dtype: torch.dtype | str, **settings: Any) -> PreTrainedModel:
    """Load a causal language model from a folder of safetensors, with all weights frozen.

    Args:
        folder: Folder with config.json and model*.safetensors.
        dtype: Number type of the weights.
        **settings: Further ones of transformers' `from_pretrained`.

    Raises:
        UserError: The model brings Python of its own, a file is missing or damaged, or lacks weights that
            transformers would fill in at random.

    Source: ours.
    """
    check_code(folder)
    check_weights(folder)
    transformers_logging.disable_progress_bar()
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # its report of what is missing takes dozens of lines
    try:
        # Scaled-dot-product attention takes the tree-shaped mask of scoring; flash attention does not.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=dtype,
            attn_implementation="sdpa",
            trust_remote_code=False,
            output_loading_info=True,
            **settings,
        )
    except Exception as error:  # whatever a foreign file makes of its reader
        raise unavailable(str(folder), error) from error
    finally:
        transformers_logging.set_verbosity(before)
    llm: PreTrainedModel
    llm, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"expected all weights that config.json describes in the safetensors files of {folder}, saw no "
            f"{missing[0]} ({len(missing)} such); fetch the model again, or correct config.json."
        )
    llm.requires_grad_(False).eval()
    return llm


def attach_lora(llm: PreTrainedModel, config: AdapterConfig, revision: str | None = None) -> nn.Module:
    """Add low-rank adapters; only they have gradients afterwards.

    Args:
        llm: The base model, changed in place.
        config: Rank, scale, dropout and target layers.
        revision: Of the base model, for peft to note.

    Returns:
        The peft model around `llm`, adapters in float32.

    Raises:
        UserError: The model has no layers of the given names.

    Source: Sec. 3.2 of the paper.
    """
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # peft hints int, computes alpha / r
        lora_dropout=config.dropout,
        target_modules=list(config.target_modules),
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(llm, lora, revision=revision)
    except ValueError as error:
        linear = sorted(
            {name.split(".")[-1] for name, module in llm.named_modules() if isinstance(module, nn.Linear)}
        )
        raise UserError(
            f"expected lora.target_modules out of {', '.join(linear)}, saw "
            f"{', '.join(config.target_modules)} for {llm.name_or_path}; correct lora.target_modules."
        ) from error
