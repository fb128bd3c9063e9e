"""The files of the large language model: where they lie, whether they will do, and their checksum."""

import json
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import file_checksum, json_checksum
from llmar_pipeline.language.bundled_llm import convert_bundled_llm
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.quantization import check_quantization

_BUNDLED = "smollm2"
_WHAT_RUNS_HERE = (
    "use a size that runs without a download (--params=size=laptop or size=demo) or "
    "llm.model=<folder of a Hugging Face model>"
)


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
    if (folder := without_hub(config, cache)) is not None:
        return folder
    files = ["*.json", "*.safetensors", "tokenizer*"]
    try:
        return Path(snapshot_download(config.model, revision=config.revision, allow_patterns=files))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise unavailable(config.model, error) from error


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
        folder = without_hub(config, cache)
        if folder is None:
            # Unlike hf_hub_download, this gives up at once without a network.
            files = ["config.json"]
            folder = Path(snapshot_download(config.model, revision=config.revision, allow_patterns=files))
        path = folder / "config.json"
        size = json.loads(path.read_text(encoding="utf-8")).get("hidden_size")
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        raise unavailable(config.model, error) from error
    if not isinstance(size, int):
        raise UserError(
            f"expected an integer hidden_size, saw {size!r} in {path}; choose a decoder-only text model as "
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
            f"expected vqvae.code_dim={width} (hidden size of llm.model={config.model}), saw {code_dim}; set "
            f"vqvae.code_dim={width}, or choose another llm.model."
        )


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
        raise unavailable(config.model, error) from error
    for key in ("transformers_version", "_name_or_path"):  # of the program and the place that wrote it
        settings.pop(key, None)
    return json_checksum([settings, weights])


def without_hub(config: LLMConfig, cache: Path) -> Path | None:
    """Folder of a model that needs no download; None for a hub id.

    Args:
        config: Which model.
        cache: As in `ensure_llm`.

    Raises:
        UserError: The package or folder is missing, or what is no hub id has a revision.

    Source: ours.
    """
    folder = convert_bundled_llm(cache) if config.model == _BUNDLED else _local_folder(config.model)
    if folder is not None and config.revision is not None:
        raise UserError(
            f"expected llm.revision for a hub id only, saw {config.revision} for llm.model={config.model}; "
            "leave llm.revision out, or name a hub id."
        )
    return folder


def _local_folder(model: str) -> Path | None:
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(
                f"expected config.json in the model folder, saw none in {folder}; {_WHAT_RUNS_HERE}."
            )
        return folder
    if model.startswith((".", "~", "/")) or model.count("/") > 1 or "\\" in model:
        raise UserError(
            f"expected the folder of a Hugging Face model, saw nothing at {folder}; {_WHAT_RUNS_HERE}."
        )
    return None


def unavailable(model: str, error: Exception) -> UserError:
    """What to tell the user whose model cannot be had.

    Args:
        model: As `LLMConfig.model`.
        error: What the attempt ended with.

    Source: ours.
    """
    if isinstance(error, GatedRepoError):
        seen = "the hub asks for an accepted licence and a login (`hf auth login`)"
    elif isinstance(error, RepositoryNotFoundError):
        seen = "the hub has no such model, or a private one"
    elif isinstance(error, HFValidationError):
        seen = "neither a folder nor a valid hub id"
    else:
        seen = next(iter(str(error).splitlines()), type(error).__name__)[:160]
    return UserError(
        f"expected a language model to load at llm.model={model}, saw: {seen}; {_WHAT_RUNS_HERE}."
    )
