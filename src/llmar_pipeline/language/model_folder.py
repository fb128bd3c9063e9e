"""What the folder of a trained language model says without the model: classes, codes, files."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

MANIFEST = "language_model.json"
"""Written last by `save_model`."""
ACTION_TOKENS = "action_tokens.safetensors"
ADAPTERS = "adapter_config.json"


def trained_classes(folder: Path) -> list[str]:
    """The class names of a trained model, in the order of its labels.

    Args:
        folder: As `save_model` wrote it.

    Source: ours.
    """
    return list(manifest_of(folder)["class_names"])


def trained_votes(folder: Path) -> Tensor | None:
    """What speaks for each class in each code, see `ActionLanguageModel`, without the language model.

    Args:
        folder: As `save_model` wrote it.

    Returns:
        `[codes, classes]`; None where the model keeps none.

    Source: ours.
    """
    return load_file(folder / ACTION_TOKENS).get("class_votes")


def manifest_of(folder: Path) -> dict[str, Any]:
    """The content of `language_model.json`."""
    return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))


def model_files(folder: Path) -> list[Path]:
    """What `save_model` wrote into a folder, by name; other files may lie beside it.

    Source: ours.
    """
    adapters = (ADAPTERS, "adapter_model*.safetensors*")
    tuned = ("config.json", "generation_config.json", "model*.safetensors*")
    patterns = (MANIFEST, ACTION_TOKENS, *adapters, *tuned)
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})
