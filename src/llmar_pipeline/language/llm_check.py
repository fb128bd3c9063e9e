"""Whether a language model will do for both stages, found out from its files without reading its weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.instructions import encode_prompt
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.llm import (
    check_code,
    hidden_size,
    is_here,
    model_folder,
    model_settings,
    without_hub,
)
from llmar_pipeline.language.loading import load_weights, read_tokenizer
from llmar_pipeline.language.quantization import check_quantization, check_widths

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3_text", "phi")
"""Kinds of models (`model_type`) that stage 2 trains and scores as they are meant; each is in a test.

Others would fail in the middle, or, where the vocabulary's scores are more than a linear map of the last
hidden state (gemma2, cohere, granite), give other probabilities than their own.
"""


def check_llm(
    config: LLMConfig, cache: Path, code_dim: int | None = None, adapter: AdapterConfig | None = None
) -> int:
    """Find out before any training whether the model can be had, loaded and tuned, and fits the codebook.

    Args:
        config: Which model.
        cache: As in `ensure_llm`.
        code_dim: Width of the codebook to be trained, if known.
        adapter: How the model is to be adapted, if it is.

    Returns:
        How many weights are to be trained; 0 where that is not known, as the model is not on this machine.

    Raises:
        UserError: The model is not available or brings Python of its own; it is of a kind that stage 2 does
            not serve, or its word embeddings have another width; its tokenizer or weights are missing,
            damaged or do not fit each other; as in `check_quantization`; or it has no such layers to adapt.

    Source: ours.
    """
    check_quantization(config, adapter)
    folder = model_folder(config, cache)
    check_code(folder)
    settings = model_settings(folder)
    if adapter is not None and (kind := settings.get("model_type")) not in FAMILIES:
        raise UserError(
            f"expected a language model of the kinds {', '.join(FAMILIES)} (model_type), saw {kind!r} in "
            f"{folder / 'config.json'}; choose another llm.model."
        )
    width = hidden_size(config, cache)
    if code_dim is not None and code_dim != width:
        raise UserError(
            f"expected vqvae.code_dim={width} (hidden size of llm.model={config.model}), saw {code_dim}; set "
            f"vqvae.code_dim={width}, or choose another llm.model."
        )
    # On this device no weight is read, only which there are, and of which shape.
    here = without_hub(config, cache) is not None or is_here(config.model, config.revision)
    llm = load_weights(folder, "auto", device_map="meta") if here else None
    words = None if llm is None else cast(nn.Embedding, llm.get_input_embeddings())
    rows = settings.get("vocab_size", 0) if words is None else words.num_embeddings
    check_tokenizer(read_tokenizer(folder), folder, rows)
    if llm is None:
        return 0
    if config.quantization == "nf4":
        check_widths(llm)
    return trained_weights(llm, adapter) if adapter is not None else 0


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, rows: int) -> None:
    """Refuse a tokenizer that the model cannot follow.

    Args:
        tokenizer: The model's tokenizer.
        folder: Where it lies, for the message.
        rows: Of the model's word embeddings.

    Raises:
        UserError: It has tokens without a row, or no end-of-sequence token.

    Source: ours.
    """
    # Others are never written: some kinds of tokenizers add a token for padding of their own.
    unused = set(tokenizer.all_special_ids) - {tokenizer.bos_token_id, tokenizer.eos_token_id}
    largest = max(set(tokenizer.get_vocab().values()) - unused, default=-1)
    if not 0 <= largest < rows:
        raise UserError(
            f"expected a tokenizer of at most {rows} tokens, as many as the model has rows of word "
            f"embeddings, saw {largest + 1} in {folder}; take tokenizer and weights of the same model."
        )
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"expected a tokenizer with an end-of-sequence token, saw none in {folder}; name its "
            "eos_token in tokenizer_config.json, or choose another llm.model."
        )


def trained_weights(llm: PreTrainedModel, adapter: AdapterConfig) -> int:
    """How many weights are to be trained.

    Args:
        llm: The model, without adapters.
        adapter: How it is to be adapted.

    Raises:
        UserError: It has no linear layer of one of the given names.

    Source: ours.
    """
    if adapter.method == "full":
        return sum(weight.numel() for weight in llm.parameters())
    layers = {name: layer for name, layer in llm.named_modules() if isinstance(layer, nn.Linear)}
    chosen = {
        target: [layer for name, layer in layers.items() if f".{name}".endswith(f".{target}")]
        for target in adapter.target_modules
    }
    if missing := [target for target, found in chosen.items() if not found]:
        known = sorted({name.split(".")[-1] for name in layers})
        raise UserError(
            f"expected lora.target_modules out of {', '.join(known)}, saw "
            f"{', '.join(missing)} for {llm.name_or_path}; correct lora.target_modules."
        )
    return sum(
        adapter.rank * (layer.in_features + layer.out_features)
        for found in chosen.values()
        for layer in found
    )


def check_prompts(
    config: LLMConfig,
    cache: Path,
    instruction: str,
    lists: Sequence[Sequence[str]],
    listed: Sequence[Sequence[str]],
    sentence: int,
) -> None:
    """Find out whether the model can tell the classes apart, and read a whole prompt.

    Args:
        config: Which model.
        cache: As in `ensure_llm`.
        instruction: With its placeholders.
        lists: Class lists that it is to answer from.
        listed: Names that stand in one prompt, for the longest prompts.
        sentence: Codes of an action sentence.

    Raises:
        UserError: Two names of a list have the same tokens or one has none, or a prompt with its answer has
            more tokens than the model has positions.

    Source: ours.
    """
    folder = model_folder(config, cache)
    tokenizer = read_tokenizer(folder)
    answer = max(len(tokens) for names in lists for tokens in LabelTrie(names, tokenizer).answers)
    prompt = max(sum(map(len, encode_prompt(tokenizer, instruction, names))) for names in listed)
    positions = model_settings(folder).get("max_position_embeddings")
    if isinstance(positions, int) and prompt + sentence + answer > positions:
        raise UserError(
            f"expected at most {positions} tokens of instruction, action sentence and answer, the positions "
            f"of {folder} (max_position_embeddings), saw {prompt} + {sentence} + {answer}; shorten "
            "sentences (vqvae.frames, vqvae.downsamplings) or class names, or choose another llm.model."
        )
