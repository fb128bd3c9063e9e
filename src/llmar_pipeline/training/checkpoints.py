"""Checkpoints from which a killed training goes on: what they hold, and which of them count."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import claim, set_aside, write_json

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
COMPLETE = "complete.json"
_MACHINE = "machine.json"


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
    return max(complete, key=_step, default=None)


def prepare_folder(
    folder: Path, fingerprint: dict[str, Any], max_steps: int, model_folder: Path | None = None
) -> Path | None:
    """Find the checkpoint to continue from; set aside what is not of this training.

    Args:
        folder: Of the checkpoints.
        fingerprint: What the weights depend on, as `files.claim` takes it.
        max_steps: At which the training ends; a checkpoint beyond it is of a longer one.
        model_folder: Where the trained model will lie. One that lies there already counts only where no step
            is left to train.

    Returns:
        The newest complete checkpoint; None: the training starts at its beginning.
    """
    claim(folder, fingerprint, "checkpoints")
    resume = latest_checkpoint(folder)
    if resume is not None and _step(resume) > max_steps:
        aside = set_aside(folder)
        logger.warning(
            "checkpoints: they go to step %d, max_steps is %d; set aside as %s, made again",
            _step(resume), max_steps, aside,
        )  # fmt: skip
        resume = None
        claim(folder, fingerprint, "checkpoints")
    for path in folder.glob("checkpoint-*"):
        if not (path / COMPLETE).exists():
            shutil.rmtree(path)
    unfinished = resume is None or _step(resume) < max_steps
    if model_folder is not None and unfinished and model_folder.is_dir():
        logger.warning("the model of an earlier training is set aside as %s", set_aside(model_folder))
    return resume


def keep_threads(folder: Path) -> None:
    """Compute with as many threads as the training began with: their number may change the last bits."""
    file = folder / _MACHINE
    try:
        threads = int(json.loads(file.read_text(encoding="utf-8"))["threads"])
    except (OSError, ValueError, KeyError, TypeError):
        write_json(file, {"threads": torch.get_num_threads()})
        return
    if threads != torch.get_num_threads():
        logger.info("going on with %d threads, as the training began", threads)
        torch.set_num_threads(threads)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])
