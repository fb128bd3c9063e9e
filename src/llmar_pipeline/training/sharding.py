"""Weights, gradients and moments spread over the processes of a training, none of which holds them whole."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, distributed, nn
from torch.distributed.checkpoint import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
    load,
    save,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from llmar_pipeline.errors import UserError
from llmar_pipeline.machine import return_memory
from llmar_pipeline.training import processes
from llmar_pipeline.training.checkpoints import check_finite
from llmar_pipeline.training.launchers import launched

BYTES_A_WEIGHT = 16  # value, gradient and both moments of Adam in float32 (docs/memory.md)
_OPTIMIZER = "optimizer.json"
_MOMENTS = ("exp_avg", "exp_avg_sq")


def shard(model: nn.Module, blocks: Iterable[nn.Module], precision: str) -> None:
    """Spread a model's parameters over all processes, each along its first axis.

    A block's weights are put together only while it computes, the others' while the model does.

    Args:
        model: Changed in place; only its own forward computes afterwards.
        blocks: Parts of it that follow one another, such as the layers of a language model.
        precision: "bfloat16": products and gathered weights are so, sums of gradients and weights float32.

    Source: FSDP (Zhao et al. 2023), as torch's `fully_shard` has it.
    """
    device = processes.device()
    settings: dict[str, Any] = {"mesh": init_device_mesh(device.type, (processes.count(),))}
    if precision == "bfloat16":
        settings["mp_policy"] = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
    return_memory()
    for block in blocks:
        fully_shard(block, **settings)
    fully_shard(model, **settings)
    whole = [name for name, value in model.named_parameters() if not isinstance(value, DTensor)]
    assert not whole, f"not sharded: {whole}"


def check_room(weights: int, number: int) -> float:
    """Refuse a training of all weights that memory cannot hold, before anything is loaded.

    Args:
        weights: To be trained.
        number: Of processes that share them.

    Returns:
        Bytes that each process holds, activations not counted.

    Raises:
        UserError: They are more than its GPU has, or on a CPU than its share of the main memory.

    Source: `BYTES_A_WEIGHT`.
    """
    needed = BYTES_A_WEIGHT * weights / number
    if torch.cuda.is_available():
        room, where = torch.cuda.get_device_properties(0).total_memory, "a GPU has"
    else:
        place = launched()
        here = number if place is None else place.local_size
        room, where = psutil.virtual_memory().total // here, "there are for each in main memory"
    if needed > room:
        raise UserError(
            f"expected {needed / 1e9:.3g} GB for all {weights / 1e9:.3g} billion weights in each of {number} "
            f"processes ({BYTES_A_WEIGHT} bytes a weight, activations not counted), saw that {where} "
            f"{room / 1e9:.3g} GB; share them by more processes (docs/scale.md), or set lora.method=lora"
        )
    return needed


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` has spread it."""
    return any(isinstance(value, DTensor) for value in model.parameters())


def put_together(value: Tensor) -> Tensor:
    """A tensor as all processes have it together; every one of them must ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def read_parts(module: nn.Module, folder: Path) -> None:
    """Give a sharded module without values those of a folder of safetensors, each process its part.

    Args:
        module: Its parameters have no memory yet (meta device); buffers keep their values.
        folder: Of files that have every parameter under its name.

    Raises:
        UserError: One has not.
    """
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    module.to_empty(device=processes.device())
    for name, value in buffers.items():
        module.get_buffer(name).copy_(value)
    _read(dict(module.named_parameters()), folder)


@contextmanager
def computing(model: nn.Module) -> Iterator[None]:
    """Within it, parts of a sharded model may be called beside its forward, by all processes alike."""
    if isinstance(model, FSDPModule):
        model.unshard()
    yield
    if isinstance(model, FSDPModule):
        model.reshard()


def write_whole(module: nn.Module, folder: Path) -> None:
    """Write a sharded module's parameters as one process would: safetensors, in files of about 5 GB.

    All processes write their parts; the first one puts them together on the disk, not in memory.
    """
    parts = folder / "sharded"
    if processes.first():
        shutil.rmtree(parts, ignore_errors=True)  # of a writing that was killed
    distributed.barrier()
    tensors = {name: value.detach() for name, value in module.named_parameters()}
    files, size = {}, 0
    for name, value in tensors.items():
        size += value.numel() * value.element_size()
        files[name] = 1 + size // (5 * 10**9)
    save(
        dict(tensors),
        storage_writer=HuggingFaceStorageWriter(
            str(folder), fqn_to_index_mapping=files, save_distributed=True, enable_consolidation=True
        ),
    )
    if processes.first():
        shutil.rmtree(parts)
        if set(files.values()) == {1}:  # as others write it
            (folder / "model-00001-of-00001.safetensors").rename(folder / "model.safetensors")
            (folder / "model.safetensors.index.json").unlink()


def save_training(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any, folder: Path) -> None:
    """Write what a sharded training goes on from: a safetensors file a process, and counters in JSON.

    Raises:
        UserError: A weight is not finite; nothing is written then.
    """
    names = _trained(model)
    check_finite(
        folder, [name for name, value in names.items() if not put_together(value.detach().sum()).isfinite()]
    )
    save(
        _tensors(names, optimizer),
        storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True),
    )
    if processes.first():
        step = int(next(iter(optimizer.state.values()))["step"])
        content = {"step": step, "scheduler": scheduler.state_dict()}
        (folder / _OPTIMIZER).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def in_parts(checkpoint: Path) -> bool:
    """Whether `save_training` wrote it."""
    return (checkpoint / _OPTIMIZER).exists()


def load_training(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any, folder: Path) -> None:
    """Go on from what `save_training` wrote, by however many processes, or by one that has all of the model.

    Raises:
        UserError: The files are not of this model.
    """
    names, known = _trained(model), json.loads((folder / _OPTIMIZER).read_text(encoding="utf-8"))
    for value in names.values():
        moments = {moment: torch.zeros_like(value) for moment in _MOMENTS}
        optimizer.state[value] = {"step": torch.tensor(float(known["step"])), **moments}
    _read(_tensors(names, optimizer), folder)
    scheduler.load_state_dict(known["scheduler"])
    for group, rate in zip(optimizer.param_groups, known["scheduler"]["_last_lr"], strict=True):
        group["lr"] = rate


def read_weights(model: nn.Module, folder: Path) -> None:
    """Give a sharded model the weights of a checkpoint that one process wrote, each process its part.

    Raises:
        UserError: The files are not of this model.
    """
    _read(_trained(model), folder)


def spread_moments(optimizer: torch.optim.Optimizer) -> None:
    """Of moments that each process has read whole, from a checkpoint of one process, keep its part."""
    for value, kept in optimizer.state.items():
        assert isinstance(value, DTensor)
        for moment in _MOMENTS:
            place = value.device_mesh, value.placements
            kept[moment] = distribute_tensor(kept[moment], *place, src_data_rank=None)


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def _tensors(names: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    found = {f"weight.{name}": value.detach() for name, value in names.items()}
    for moment in _MOMENTS:
        found |= {f"{moment}.{name}": optimizer.state[value][moment] for name, value in names.items()}
    return found


def _read(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Fill tensors in place, each process its part."""
    try:
        load(
            {name: value.detach() for name, value in tensors.items()},
            storage_reader=HuggingFaceStorageReader(str(folder)),
            no_dist=not distributed.is_initialized(),
        )
    except (RuntimeError, ValueError, KeyError, AssertionError, OSError) as error:
        seen = " ".join(str(error).split())[:200]
        raise UserError(
            f"expected all weights of the model in the safetensors files of {folder}, saw that they cannot "
            f"be read ({seen}); fetch or make them again"
        ) from error
