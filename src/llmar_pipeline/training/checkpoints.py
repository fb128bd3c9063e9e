"""Checkpoints from which a killed training goes on: what they hold, and which of them count."""

import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import (
    claim,
    file_checksum,
    folder_aside,
    made_from,
    room_for,
    set_aside,
)
from llmar_pipeline.records import damage, read_sealed, write_sealed, written
from llmar_pipeline.training import processes

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
COMPLETE = "complete.json"
_NAME = re.compile(r"checkpoint-(0|[1-9]\d*)")  # checkpoint-best and checkpoint-11-backup are somebody else's
_BEGUN = "trainer_state.json"  # what the Trainer writes last: without it nothing can be gone on from
_TAKEN_FROM = "taken_from"
_KEPT = 2  # checkpoints; the older one is for the case that the newest is damaged


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
    check_finite(
        checkpoint,
        [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()],
    )
    checkpoint.mkdir(parents=True, exist_ok=True)
    save_file(state, checkpoint / WEIGHTS)


def check_finite(checkpoint: Path, bad: Sequence[str]) -> None:
    """Refuse to write a checkpoint.

    Args:
        checkpoint: Its folder.
        bad: Names of what is not finite in it.

    Raises:
        UserError: There is something.
    """
    if bad:
        raise UserError(
            f"{checkpoint.name} would hold weights that are not finite ({', '.join(bad[:3])}) "
            "and was not saved; a lower learning_rate or a warm-up usually helps"
        )


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


def complete(checkpoint: Path) -> None:
    """Write last of all what a checkpoint holds, which makes it whole; then remove all but the newest."""
    with room_for(checkpoint, partial=checkpoint):
        files = {file.name: written(file) for file in sorted(checkpoint.iterdir()) if file.name != COMPLETE}
        computed = {"threads": torch.get_num_threads(), "processes": processes.count()}
        write_sealed(checkpoint / COMPLETE, {**computed, "files": files})
    for old in _checkpoints(checkpoint.parent)[:-_KEPT]:
        (old / COMPLETE).unlink(missing_ok=True)  # so that half of it does not count
        shutil.rmtree(old)


def checkpoint_bytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """About how much room a checkpoint takes: what training changes, and what the optimiser keeps of it."""
    tensors = [parameter for parameter in model.parameters() if parameter.requires_grad]
    moments = [value for state in optimizer.state.values() for value in state.values()]
    return sum(value.nbytes for value in [*tensors, *moments] if torch.is_tensor(value))


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a folder, or None."""
    return next((path for path in reversed(_checkpoints(folder)) if (path / COMPLETE).exists()), None)


def taken_from(folder: Path) -> str | None:
    """The run whose training was taken over into a folder of checkpoints; None where it was made there."""
    newest = latest_checkpoint(folder)
    try:
        return None if newest is None else read_sealed(newest / COMPLETE).get(_TAKEN_FROM)
    except (OSError, ValueError):  # who goes on from it says that it is damaged
        return None


def prepare_folder(
    folder: Path,
    fingerprint: dict[str, Any],
    max_steps: int,
    model_folder: Path | None = None,
    others: Sequence[Path] = (),
) -> Path | None:
    """Find the checkpoint to continue from; set aside what is not of this training, and what is damaged.

    A training that is not finished here but in one of the other folders, with an equal fingerprint, is taken
    over from there.

    Args:
        folder: Of the checkpoints.
        fingerprint: What the weights depend on, as `files.claim` takes it.
        max_steps: At which the training ends; a checkpoint beyond it is of a longer one.
        model_folder: Where the trained model will lie. One that lies there already counts only where no step
            is left to train.
        others: Folders of checkpoints of other runs, in the order in which they are asked.

    Returns:
        The newest complete checkpoint; None: the training starts at its beginning.
    """
    for path in folder.glob("checkpoint-*"):
        for part in (path, *path.rglob("*")) if _NAME.fullmatch(path.name) else ():
            if part.is_symlink():  # what it points to would be written
                part.unlink()
    claim(folder, fingerprint, "checkpoints")
    resume = latest_checkpoint(folder)
    if resume is not None and _step(resume) > max_steps:
        aside = set_aside(folder)
        logger.warning(
            "checkpoints: they go to step %d, max_steps is %d; set aside as %s, made again",
            _step(resume), max_steps, aside,
        )  # fmt: skip
        claim(folder, fingerprint, "checkpoints")
    resume = _newest_whole(folder)
    unfinished = resume is None or _step(resume) < max_steps
    if unfinished and (taken := _take_over(folder, fingerprint, max_steps, others)) is not None:
        resume, unfinished = taken, False
    if model_folder is not None and unfinished and model_folder.is_dir():
        logger.warning("the model of an earlier training is set aside as %s", set_aside(model_folder))
    return resume


def keep_threads(checkpoint: Path | None) -> None:
    """Compute with as many threads as the training began with: their number may change the last bits.

    Where the number of processes is another one, they do so anyway.
    """
    known = {} if checkpoint is None else read_sealed(checkpoint / COMPLETE)
    if known.get("processes") != processes.count():
        return
    threads = known["threads"]
    if threads != torch.get_num_threads():
        logger.info("going on with %d threads, as the training began", threads)
        torch.set_num_threads(threads)


def _take_over(
    folder: Path, fingerprint: dict[str, Any], max_steps: int, others: Sequence[Path]
) -> Path | None:
    """Copy the last checkpoint of a training made from exactly the same; None where there is none."""
    for other in others:
        if other == folder or not made_from(other, fingerprint):
            continue
        last = other / f"checkpoint-{max_steps}"
        try:
            taken = _copy(last, folder, fingerprint)
        except FileNotFoundError:  # it has not come so far, or is being set aside just now
            continue
        except (OSError, ValueError, KeyError) as error:
            logger.warning("the finished training in %s is not taken over: %s", last, error)
            continue
        logger.info("the training of %s is taken over: it was made from exactly the same", other.parent.name)
        return taken
    return None


def _copy(checkpoint: Path, folder: Path, fingerprint: dict[str, Any]) -> Path:
    """Copy a complete checkpoint; it has its name once every file was held against its checksum.

    Raises:
        OSError: It cannot be read, or went meanwhile.
        ValueError: It is not what was written.
        UserError: The disk is full.
    """
    known = read_sealed(checkpoint / COMPLETE)
    temporary, copy = folder / f"{checkpoint.name}.partial", folder / checkpoint.name
    shutil.rmtree(temporary, ignore_errors=True)  # of a copying that was killed
    temporary.mkdir()
    try:
        with room_for(copy, partial=temporary):
            for name, facts in known["files"].items():
                shutil.copyfile(checkpoint / name, temporary / name)
                if file_checksum(temporary / name) != facts["sha256"]:
                    raise ValueError(f"{name} was changed since it was written")
            if not made_from(checkpoint.parent, fingerprint):  # any longer: its run has begun anew
                raise FileNotFoundError(checkpoint)
            files = {name: written(temporary / name) for name in known["files"]}
            whose = checkpoint.parents[1].name
            write_sealed(temporary / COMPLETE, {**known, "files": files, _TAKEN_FROM: whose})
        os.rename(temporary, copy)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return copy


def _newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint that is as it was written; those after it are set aside, in one folder."""
    damaged: dict[Path, str] = {}
    whole = None
    for checkpoint in reversed(_checkpoints(folder)):
        if not (checkpoint / COMPLETE).exists() and not (checkpoint / _BEGUN).exists():
            shutil.rmtree(checkpoint)  # a writing that was killed
        elif (wrong := _damage(checkpoint)) is not None:
            damaged[checkpoint] = wrong
        else:
            whole = checkpoint
            break
    if damaged:
        aside = folder_aside(folder)
        for checkpoint in damaged:
            os.rename(checkpoint, aside / checkpoint.name)
        logger.warning(
            "checkpoints: %s; set aside as %s, the training goes on from %s",
            "; ".join(f"of {checkpoint.name}, {wrong}" for checkpoint, wrong in damaged.items()),
            aside, "its start" if whole is None else whole.name,
        )  # fmt: skip
    return whole


def _damage(checkpoint: Path) -> str | None:
    try:
        return damage(checkpoint, read_sealed(checkpoint / COMPLETE)["files"])
    except FileNotFoundError:
        return f"{COMPLETE} is gone"
    except (OSError, ValueError, KeyError):
        return f"{COMPLETE} cannot be read"


def _checkpoints(folder: Path) -> list[Path]:
    """Ours, oldest first, complete or not."""
    ours = [path for path in folder.glob("checkpoint-*") if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(ours, key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])
