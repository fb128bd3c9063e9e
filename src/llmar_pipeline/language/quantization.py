"""QLoRA: the weights of the linear layers in 4 bits (nf4, by bitsandbytes), so that they fit smaller GPUs."""

import importlib.util
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.training import processes

_BLOCK = 64  # weights that share a scale


def check_quantization(config: LLMConfig, adapter: AdapterConfig | None = None) -> None:
    """Find out whether the weights can be kept in 4 bits, if they are to be.

    Args:
        config: Which model.
        adapter: How the model is to be adapted, if it is.

    Raises:
        UserError: bitsandbytes is not installed, or all weights are to be tuned.

    Source: ours.
    """
    if config.quantization == "none":
        return
    if adapter is not None and adapter.method == "full":
        raise UserError(
            f"expected lora.method=lora with llm.quantization={config.quantization}, saw full: weights of 4 "
            "bits cannot be trained; set llm.quantization=none, or lora.method=lora."
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            f"expected the package bitsandbytes for llm.quantization={config.quantization}, which is not "
            "installed; run `pip install --editable '.[qlora]'`, or set llm.quantization=none."
        )


def nf4_settings(dtype: torch.dtype) -> dict[str, Any]:
    """Settings of transformers' `from_pretrained` that quantise the linear layers as they are loaded.

    Args:
        dtype: Number type that the layers compute in.

    Returns:
        nf4 with doubly quantised scales, on the device that computes.

    Source: Dettmers et al., QLoRA, NeurIPS 2023.
    """
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": nf4, "device_map": {"": processes.device()}}


def fix_nf4(llm: PreTrainedModel, dtype: torch.dtype) -> None:
    """Make sure that quantised weights stay as they were loaded, and give all others the number type.

    Args:
        llm: Loaded with `nf4_settings`; changed in place.
        dtype: Number type of words, norms and vocabulary projection.

    Raises:
        UserError: A layer is not as wide as a multiple of 64, the block of weights that share a scale.

    Source: ours.
    """
    from bitsandbytes.nn import Linear4bit

    for module in llm.modules():
        if isinstance(module, Linear4bit):
            _check_width(module, llm.name_or_path)
            # On some CPUs it would repack its weights at the first evaluation, with scales in bfloat16.
            module.support_avx512bf16_for_cpu = False
    for parameter in llm.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def check_widths(llm: PreTrainedModel) -> None:
    """Find out whether the layers of a model that is not quantised yet can be.

    Args:
        llm: The model.

    Raises:
        UserError: A layer is not as wide as a multiple of 64.

    Source: ours.
    """
    for module in llm.modules():
        if isinstance(module, nn.Linear) and module is not llm.get_output_embeddings():
            _check_width(module, llm.name_or_path)


def _check_width(layer: nn.Linear, place: str | None) -> None:
    # On a CPU, bitsandbytes would read rows of other widths with the scales of other blocks.
    if layer.in_features % _BLOCK:
        raise UserError(
            f"expected layers of width a multiple of {_BLOCK} for llm.quantization=nf4, saw "
            f"{layer.in_features} in {place}; set llm.quantization=none."
        )
