"""The files of the large language model: where they lie, whether they will do, and their checksum."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from safetensors import SafetensorError, safe_open

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import file_checksum, json_checksum
from llmar_pipeline.language.bundled_llm import convert_bundled_llm
from llmar_pipeline.language.config import LLMConfig

_BUNDLED = "smollm2"
_POINTER = b"version https://git-lfs"  # what Git LFS leaves where a file was not fetched
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
    return all(file.is_file() for file in weight_files(folder))


def weight_files(folder: Path) -> list[Path]:
    """Files in which a model's folder should have its weights: one, or those that its index names.

    Raises:
        UserError: The index cannot be read.

    Source: ours.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file() or not index.is_file():
        return [whole]
    try:
        return sorted(folder / part for part in set(_read_json(index)["weight_map"].values()))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"expected a weight_map of file names in {index}, saw none; fetch it again"
        ) from error


def check_weights(folder: Path) -> None:
    """Look at the heads of all files of weights: whether they are there, whole, and weights.

    Raises:
        UserError: One is missing, cut off, or what Git LFS leaves in its place.

    Source: ours.
    """
    for file in weight_files(folder):
        pointer = False
        try:
            with file.open("rb") as stream:
                pointer = stream.read(len(_POINTER)) == _POINTER
            with safe_open(file, "pt"):
                continue
        except FileNotFoundError:
            others = sorted(path.name for path in folder.glob("*.bin"))
            seen = f"{', '.join(others)}, which is not safetensors" if others else "no such file"
        except (OSError, SafetensorError) as error:
            seen = "a pointer of Git LFS (`git lfs pull` fetches the file)" if pointer else str(error)
        raise UserError(
            f"expected weights of the language model in {file}, saw {seen}; fetch it again, or "
            f"{_WHAT_RUNS_HERE}."
        )


def check_code(folder: Path) -> None:
    """Refuse a model that brings Python of its own: it would run with the user's rights.

    Raises:
        UserError: config.json or tokenizer_config.json names some, or cannot be read.

    Source: ours.
    """
    for name in ("config.json", "tokenizer_config.json"):
        file = folder / name
        if file.is_file() and "auto_map" in _read_json(file):
            raise UserError(
                f"expected a language model without Python of its own, saw auto_map in {file}, which names "
                "some: it is not run; take a model that transformers knows, or take auto_map out of the file"
            )


def model_folder(config: LLMConfig, cache: Path) -> Path:
    """Folder with a model's configuration and tokenizer; of a hub id, weights are not downloaded for it.

    Args:
        config: Which model.
        cache: As in `ensure_llm`.

    Raises:
        UserError: As in `ensure_llm`.

    Source: ours.
    """
    if (folder := without_hub(config, cache)) is not None:
        return folder
    try:
        # Unlike hf_hub_download, this gives up at once without a network.
        files = ["*.json", "tokenizer*"]
        return Path(snapshot_download(config.model, revision=config.revision, allow_patterns=files))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise unavailable(config.model, error) from error


def model_settings(folder: Path) -> dict[str, Any]:
    """What a model's config.json says.

    Raises:
        UserError: It cannot be read.

    Source: ours.
    """
    return _read_json(folder / "config.json")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"expected JSON in {file}, saw {_first_line(error)}; fetch it again.") from error
    if not isinstance(content, dict):
        raise UserError(f"expected a JSON object in {file}, saw a {type(content).__name__}; fetch it again.")
    return content


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
    folder = model_folder(config, cache)
    size = model_settings(folder).get("hidden_size")
    if not isinstance(size, int):
        raise UserError(
            f"expected an integer hidden_size, saw {size!r} in {folder / 'config.json'}; choose a "
            "decoder-only text model as llm.model."
        )
    return size


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
        seen = _first_line(error)
    return UserError(
        f"expected a language model to load at llm.model={model}, saw: {seen}; {_WHAT_RUNS_HERE}."
    )


def _first_line(error: Exception) -> str:
    text = next(iter(str(error).splitlines()), "")[:160]
    return f"{type(error).__name__} {text}" if isinstance(error, LookupError) or not text else text
