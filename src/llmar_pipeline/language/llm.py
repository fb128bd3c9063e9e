"""The large language model: where it lies, how it is loaded, and proof that its weights stay untouched."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import file_checksum, json_checksum
from llmar_pipeline.language.bundled_llm import convert_bundled_llm
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.quantization import check_quantization, fix_nf4, nf4_settings
from llmar_pipeline.machine import number_type
from llmar_pipeline.training.digests import tensor_checksum

_BUNDLED = "smollm2"
_WHAT_RUNS_HERE = (
    "use a size that runs without a download (--params=size=laptop or size=demo) or "
    "llm.model=<folder of a Hugging Face model>"
)


def settled(config: LLMConfig) -> LLMConfig:
    """The configuration with a number type in place of "auto": the one that this machine computes fast in.

    Args:
        config: Which model.

    Source: ours.
    """
    if config.precision != "auto":
        return config
    return config.model_copy(update={"precision": number_type().precision})


def ensure_llm(config: LLMConfig, cache: Path) -> Path:
    """Make the model's files available on this machine: convert the bundled one, download a hub id.

    Args:
        config: Which model.
        cache: Folder for the converted bundled model. Hub downloads go to Hugging Face's own cache.

    Returns:
        Folder with config.json, safetensors weights and the tokenizer.

    Raises:
        UserError: The package, folder or hub id is missing, unreachable or gated, or what is no hub id has a
            revision.

    Source: ours.
    """
    if (folder := _without_hub(config, cache)) is not None:
        return folder
    files = ["*.json", "*.safetensors", "tokenizer*"]
    try:
        return Path(snapshot_download(config.model, revision=config.revision, allow_patterns=files))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise _unavailable(config.model, error) from error


def is_here(model: str, revision: str | None = None) -> bool:
    """Whether a model's weights are on this machine, without asking the network.

    Args:
        model: As `LLMConfig.model`.
        revision: As `LLMConfig.revision`.

    Source: ours.
    """
    if model == _BUNDLED:
        return True
    try:
        folder = local_folder(model, Path(), revision)
    except UserError:
        return False
    index = folder / "model.safetensors.index.json"
    parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values() if index.is_file() else ()
    return all((folder / part).is_file() for part in {*parts} or {"model.safetensors"})


def local_folder(model: str, cache: Path, revision: str | None = None) -> Path:
    """Folder of what is on this machine of a model, without asking the network.

    Args:
        model: As `LLMConfig.model`.
        cache: As in `ensure_llm`.
        revision: As `LLMConfig.revision`.

    Raises:
        UserError: Nothing of it is here.

    Source: ours.
    """
    if model == _BUNDLED:
        return convert_bundled_llm(cache)
    if (folder := _local_folder(model)) is not None:
        return folder
    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise UserError(f"the language model {model} is not on this machine") from error


def hidden_size(config: LLMConfig, cache: Path) -> int:
    """Width of the model's word embeddings (du of the paper), without loading weights.

    Args:
        config: Which model.
        cache: As in `ensure_llm`.

    Raises:
        UserError: The model is not available, or its configuration names no hidden size.

    Source: Sec. 4.2 of the paper (du = 5120 for LLaMA-13B).
    """
    try:
        folder = _without_hub(config, cache)
        if folder is None:
            # Unlike hf_hub_download, this gives up at once without a network.
            files = ["config.json"]
            folder = Path(snapshot_download(config.model, revision=config.revision, allow_patterns=files))
        path = folder / "config.json"
        size = json.loads(path.read_text(encoding="utf-8")).get("hidden_size")
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        raise _unavailable(config.model, error) from error
    if not isinstance(size, int):
        raise UserError(
            f"Expected an integer hidden_size, saw {size!r} in {path}; choose a decoder-only text model as "
            "llm.model."
        )
    return size


def check_llm(
    config: LLMConfig, cache: Path, code_dim: int | None = None, adapter: AdapterConfig | None = None
) -> None:
    """Find out before any training whether the model can be had, tuned, and fits the codebook.

    Args:
        config: Which model.
        cache: As in `ensure_llm`.
        code_dim: Width of the codebook to be trained, if known.
        adapter: How the model is to be adapted, if it is.

    Raises:
        UserError: The model is not available, its word embeddings have another width, or as in
            `check_quantization`.

    Source: ours.
    """
    check_quantization(config, adapter)
    width = hidden_size(config, cache)
    if code_dim is not None and code_dim != width:
        raise UserError(
            f"Expected vqvae.code_dim={width} (hidden size of llm.model={config.model}), saw {code_dim}; set "
            f"vqvae.code_dim={width}, or choose another llm.model."
        )


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
    check_quantization(config)
    tokenizer = load_tokenizer(config, cache)
    precision = getattr(torch, settled(config).precision)
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype or precision
    try:
        folder = ensure_llm(config, cache)
        if config.quantization == "nf4":
            # Always quantised from the precision of the training: other roundings are other weights.
            llm = load_weights(folder, precision, **nf4_settings(dtype))
            fix_nf4(llm, dtype)
        else:
            llm = load_weights(folder, dtype)
    except (OSError, ValueError) as error:
        raise _unavailable(config.model, error) from error
    # Recorded by peft beside the adapter, which finds the model there by itself.
    found = _without_hub(config, cache)
    llm.name_or_path = config.model if found is None else str(found.resolve())
    return llm, tokenizer


def load_tokenizer(config: LLMConfig, cache: Path) -> PreTrainedTokenizerBase:
    """Load the model's tokenizer alone.

    Args:
        config: Which model.
        cache: As in `ensure_llm`.

    Raises:
        UserError: The model is not available or cannot be read.

    Source: ours.
    """
    try:
        return AutoTokenizer.from_pretrained(ensure_llm(config, cache), local_files_only=True)
    except (OSError, ValueError) as error:
        raise _unavailable(config.model, error) from error


def load_weights(folder: Path, dtype: torch.dtype | str, **settings: Any) -> PreTrainedModel:
    """Load a causal language model from a folder of safetensors, with all weights frozen.

    Args:
        folder: Folder with config.json and model*.safetensors.
        dtype: Number type of the weights.
        **settings: Further ones of transformers' `from_pretrained`.

    Source: ours.
    """
    transformers_logging.disable_progress_bar()
    # Scaled-dot-product attention takes the tree-shaped mask that scoring needs; flash attention does not.
    llm: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        dtype=dtype,
        attn_implementation="sdpa",
        **settings,
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
            f"Expected lora.target_modules out of {', '.join(linear)}, saw "
            f"{', '.join(config.target_modules)} for {llm.name_or_path}; correct lora.target_modules."
        ) from error


def weights_checksum(llm: nn.Module) -> dict[str, str]:
    """SHA-256 of every base tensor, equal before and after adapters are attached and trained.

    Of a quantised layer these are the packed weights, the scales of their blocks, and the tables of both.

    Args:
        llm: The language model, with or without peft's adapters.

    Returns:
        Name in the bare model -> checksum of the tensor's bytes. Adapter tensors are left out.

    Source: ours; it checks Sec. 3.2 of the paper ("keeping its pre-trained weights untouched").
    """
    checksums = {}
    for name, tensor in llm.state_dict().items():
        if "lora_" not in name:
            bare = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
            checksums[bare] = tensor_checksum(tensor)
    return checksums


def llm_checksum(config: LLMConfig, cache: Path) -> str:
    """SHA-256 of what the model is: its configuration and weights, wherever their folder lies.

    Args:
        config: Which model.
        cache: As in `ensure_llm`.

    Raises:
        UserError: The model is not available, or has no weights.

    Source: ours.
    """
    folder = ensure_llm(config, cache)
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = [[file.name, file_checksum(file)] for file in sorted(folder.glob("*.safetensors"))]
    except (OSError, ValueError) as error:
        raise _unavailable(config.model, error) from error
    for key in ("transformers_version", "_name_or_path"):  # of the program and the place that wrote it
        settings.pop(key, None)
    return json_checksum([settings, weights])


def tokenizer_checksum(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of a tokenizer's vocabulary (tokens and their ids).

    Source: ours.
    """
    vocabulary = sorted(tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()


def _without_hub(config: LLMConfig, cache: Path) -> Path | None:
    """Folder of a model that needs no download; None for a hub id."""
    folder = convert_bundled_llm(cache) if config.model == _BUNDLED else _local_folder(config.model)
    if folder is not None and config.revision is not None:
        raise UserError(
            f"Expected llm.revision for a hub id only, saw {config.revision} for llm.model={config.model}; "
            "leave llm.revision out, or name a hub id."
        )
    return folder


def _local_folder(model: str) -> Path | None:
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(
                f"Expected config.json in the model folder, saw none in {folder}; {_WHAT_RUNS_HERE}."
            )
        return folder
    if model.startswith((".", "~", "/")) or model.count("/") > 1 or "\\" in model:
        raise UserError(
            f"Expected the folder of a Hugging Face model, saw nothing at {folder}; {_WHAT_RUNS_HERE}."
        )
    return None


def _unavailable(model: str, error: Exception) -> UserError:
    if isinstance(error, GatedRepoError):
        seen = "the hub asks for an accepted licence and a login (`hf auth login`)"
    elif isinstance(error, RepositoryNotFoundError):
        seen = "the hub has no such model, or a private one"
    elif isinstance(error, HFValidationError):
        seen = "neither a folder nor a valid hub id"
    else:
        seen = next(iter(str(error).splitlines()), type(error).__name__)[:160]
    return UserError(
        f"Expected a language model to load at llm.model={model}, saw: {seen}; {_WHAT_RUNS_HERE}."
    )
