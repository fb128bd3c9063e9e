"""The language model's words, as the first training stage needs them: without loading the model."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.instructions import encode_answer
from llmar_pipeline.language.llm import ensure_llm
from llmar_pipeline.language.loading import load_tokenizer

_NAMES = ("embed_tokens.weight", "wte.weight", "embed_in.weight")  # Llama and most others; GPT-2; GPT-NeoX


def word_embeddings(config: LLMConfig, cache: Path) -> Tensor:
    """The input word embeddings, read from the weights' files alone.

    Args:
        config: Which model.
        cache: As in `ensure_llm`.

    Returns:
        `[vocabulary, du]`, float32.

    Raises:
        UserError: The model is not available, or names its word embeddings otherwise.

    Source: {c_LLM} of Eq. 7 of the paper.
    """
    folder = ensure_llm(config, cache)
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118  # not a dict
                if name.endswith(_NAMES):
                    words: Tensor = weights.get_tensor(name)
                    return words.float()
    raise UserError(
        f"expected word embeddings named {' or '.join(_NAMES)} in the safetensors files of {folder}, "
        "saw none; choose another llm.model, or switch vqvae.mmd_weight off."
    )


def class_texts(words: Tensor, config: LLMConfig, cache: Path, names: Sequence[str]) -> Tensor:
    """What the language model's words say of each class: the mean word embedding of its name.

    Args:
        words: Its input word embeddings, `[vocabulary, du]`.
        config: Which model.
        cache: As in `ensure_llm`.
        names: Class names.

    Returns:
        `[names, du]`, float32.

    Raises:
        UserError: The model is not available, or a name that the tokenizer cannot write.

    Source: ours.
    """
    tokenizer = load_tokenizer(config, cache)
    return torch.stack([words[encode_answer(tokenizer, name)[:-1]].mean(0) for name in names])
