"""Checkpoints from which a killed training goes on: what they hold, and which of them count."""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from llmar_pipeline.errors import UserError

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
COMPLETE = "complete.json"
FINGERPRINT = "fingerprint.json"


def changing_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Trainable parameters and persistent buffers of a model: all that training changes; tied ones once."""
    changing = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    changing |= {name for name, _ in model.named_buffers(remove_duplicate=False)}
    # Not simply all but frozen parameters: quantised ones have their scales in the state too.
    return {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items() if k in changing}


def save_state(model: nn.Module, checkpoint: Path) -> None:
    """Write what `changing_state` gives.

    Raises:
        UserError: an entry is not finite; nothing is written then.
    """
    state = changing_state(model)
    bad = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise UserError(
            f"{checkpoint.name} would hold weights that are not finite ({', '.join(bad[:3])}) "
            "and was not saved; a lower learning_rate or a warm-up usually helps"
        )
    checkpoint.mkdir(parents=True, exist_ok=True)
    save_file(state, checkpoint / WEIGHTS)


def restore_state(model: nn.Module, checkpoint: Path) -> None:
    """Load what `changing_state` saved; every entry must find its place.

    Raises:
        UserError: the checkpoint does not fit the model.
    """
    saved, expected = load_file(checkpoint / WEIGHTS), changing_state(model)
    if saved.keys() != expected.keys():
        differing = sorted(saved.keys() ^ expected.keys())[:3]
        raise UserError(
            f"checkpoint {checkpoint} does not fit the model (entries {differing} differ); "
            "delete it to start over"
        )
    model.load_state_dict(saved, strict=False)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a folder, or None."""
    complete = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=lambda path: int(path.name.split("-")[1]), default=None)


def prepare_folder(folder: Path, fingerprint: dict[str, Any]) -> Path | None:
    """Remove half-written checkpoints and those of another fingerprint; return the one to continue from."""
    known = folder / FINGERPRINT
    fingerprint = json.loads(json.dumps(fingerprint))
    if known.exists() and json.loads(known.read_text()) != fingerprint:
        logger.warning("data or parameters changed since the checkpoints in %s: starting over", folder)
        shutil.rmtree(folder)
    write_json(known, fingerprint)
    resume = latest_checkpoint(folder)
    for path in folder.glob("checkpoint-*"):
        if not (path / COMPLETE).exists():
            shutil.rmtree(path)
    return resume


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically: under a temporary name first, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)
