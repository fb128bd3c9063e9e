"""Weights spread over processes: what each holds, how they are read, written and gone on from."""

import re
import sys
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor

from llmar_pipeline.errors import UserError
from llmar_pipeline.training import processes
from llmar_pipeline.training.launch import launch
from llmar_pipeline.training.sharding import (
    check_room,
    load_training,
    put_together,
    read_parts,
    save_training,
    shard,
    write_whole,
)

STEPS = 3
Memory = namedtuple("Memory", "total")


def small(width=13):
    """Axes that do not divide by two."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, width), nn.Sequential(nn.Linear(width, width)), nn.Linear(width, 3))


def optimisation(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))


def go(model, optimizer, scheduler):
    x = torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        scheduler.step()


def sharded(folder):
    with init_empty_weights(include_buffers=False):
        model = small()
    shard(model, [model[1]], "float32")
    read_parts(model, folder)
    return model


def train_in_two_parts(folder):
    """Steps, a checkpoint, and as many steps of another model that goes on from it; then the whole."""
    processes.device()
    model = sharded(folder / "start")
    assert all(isinstance(value, DTensor) for value in model.parameters())
    go(model, *(state := optimisation(model)))
    save_training(model, *state, folder / "checkpoint")
    again = sharded(folder / "start")
    load_training(again, *(state := optimisation(again)), folder / "checkpoint")
    go(again, *state)
    write_whole(again, folder / "end")


def go_on(folder):
    """The same from the checkpoint, by another number of processes."""
    processes.device()
    model = sharded(folder / "start")
    load_training(model, *(state := optimisation(model)), folder / "checkpoint")
    go(model, *state)
    write_whole(model, folder / "end_of_three")


@pytest.mark.slow
def test_two_processes_come_to_what_one_comes_to_and_three_go_on_from_them(tmp_path):
    alone = small()
    (tmp_path / "start").mkdir()
    save_file(alone.state_dict(), tmp_path / "start" / "model.safetensors")
    state = optimisation(alone)
    go(alone, *state)
    go(alone, *state)
    launch(train_in_two_parts, 2, tmp_path)
    launch(go_on, 3, tmp_path)
    assert {file.suffix for file in (tmp_path / "checkpoint").iterdir()} == {".safetensors", ".json"}
    for end in ("end", "end_of_three"):
        assert [file.name for file in (tmp_path / end).iterdir()] == ["model.safetensors"]
        found = load_file(tmp_path / end / "model.safetensors")
        assert found.keys() == alone.state_dict().keys()
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5, msg=name)


WIDTH, BLOCKS = 1024, 48  # 50 million weights: 200 MB of values, 800 MB with gradients and moments


def stack():
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(BLOCKS)))


def most_memory(folder):
    """Bytes that a training of the stack adds to its process at the most."""
    processes.device()
    with init_empty_weights(include_buffers=False):
        model = stack()
    shard(model, model, "float32")
    before = psutil.Process().memory_info().rss
    read_parts(model, folder)
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(2, WIDTH)).square().mean().backward()
        optimizer.step()
    # Not ru_maxrss, which a new process inherits from the one that starts it.
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))
    own = torch.tensor(1024 * int(peak[1]) - before)
    return processes.gather(own[None]).tolist()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_no_process_holds_more_than_its_share(tmp_path):
    """Of 800 MB two hold half each, the layers that compute, and what messages take."""
    save_file(stack().state_dict(), tmp_path / "model.safetensors")
    weights = BLOCKS * WIDTH**2
    whole = 16 * weights
    seen = launch(most_memory, 2, tmp_path)
    assert len(seen) == 2
    assert max(seen) < 0.5 * whole + 100e6, seen


def test_what_has_no_room_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(total=64 * 10**9))
    assert check_room(10**9, 1) == 16e9
    with pytest.raises(UserError, match=r"expected 208 GB for all 13 billion .* each of 1 .*, saw .* 64 GB;"):
        check_room(13 * 10**9, 1)
    with pytest.raises(UserError, match=r"expected 52 GB .* each of 4 processes .* in main memory 16 GB;"):
        check_room(13 * 10**9, 4)


def test_one_process_has_whole_tensors():
    value = torch.ones(2)
    assert put_together(value) is value
