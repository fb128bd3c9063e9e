"""Processes of a launcher: calls that all make, what they share, and how they end."""

import os
import socket
import subprocess
import sys
from datetime import timedelta
from itertools import chain
from pathlib import Path

import pytest
from torch import distributed

from llmar_pipeline.errors import UserError
from llmar_pipeline.training import processes, world
from llmar_pipeline.training.launch import launch
from llmar_pipeline.training.launchers import Launched
from llmar_pipeline.training.world import OtherProcessError, World

pytestmark = pytest.mark.slow  # new processes import torch


def share(number):
    """What all of a call's processes come to together."""
    team = world.together()
    own = list(team.deal(number))
    team.meet()
    everything = [None] * distributed.get_world_size()
    distributed.all_gather_object(everything, own)
    return sorted(chain.from_iterable(everything)), os.environ["RANK"], processes.count()


def fail(rank):
    if processes.device() and distributed.get_rank() == rank:
        raise UserError("loss=nan is not finite")
    distributed.barrier()


def die():
    if distributed.get_rank() == 1:
        os._exit(9)
    distributed.barrier()


def command(case):
    """What the first process does with the others."""
    if case == "own":
        raise UserError("no such folder")
    if case == "share":
        assert launch(share, 1, 7) == (list(range(7)), "0", 2)
        assert "RANK" not in os.environ
        assert processes.count() == 1
        assert launch(share, 5, 3)[0] == [0, 1, 2]
    elif case == "dies":
        launch(die, 1)
    else:
        launch(fail, 1, int(case))


def main(rank, port, case):
    joined = World.join(Launched(int(rank), 2, int(rank), 2, "127.0.0.1", int(port)))
    if not joined.first:
        raise SystemExit(joined.help())
    try:
        with joined.leading():
            command(case)
    except OtherProcessError as error:
        raise SystemExit(f"other: {error.message}") from None
    except UserError as error:
        raise SystemExit(f"own: {error.message}") from None


def run(case):
    """Exit codes and what two processes say."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"import test_world; test_world.main({{}}, {port}, {case!r})"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code.format(rank)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=200) for process in started]
    return [process.returncode for process in started], [out + error for out, error in said]


def test_calls_are_made_by_all_and_outside_of_them_each_is_alone():
    codes, said = run("share")
    assert codes == [0, 0], said


@pytest.mark.parametrize(
    ("case", "first", "second"),
    [
        ("own", "own: no such folder", ""),
        ("0", "own: loss=nan is not finite", ""),
        ("1", "other: process 1 of 2, on ", "Error: process 1 of 2, on "),
        ("dies", "other: expected all 2 processes to work to the end, saw that one is gone", None),
    ],
)
def test_an_error_ends_all_and_is_said_by_whom_it_befell_and_the_first(case, first, second):
    codes, said = run(case)
    assert codes[0] == 1, said
    assert first in said[0]
    assert codes[1] == (9 if second is None else 1), said
    if second is not None:
        ours = [
            line for line in said[1].splitlines() if line.startswith(("Error", "Traceback"))
        ]  # not torch's
        assert bool(second) == bool(ours), said
        assert all(line.startswith(second) for line in ours), said
    if case == "1":
        assert said[0].count("loss=nan is not finite") == said[1].count("loss=nan is not finite") == 1


def test_processes_that_do_not_come_are_one_line(monkeypatch):
    monkeypatch.setattr(world, "_MEETING", timedelta(seconds=1))
    with pytest.raises(UserError, match=r"expected 2 processes to meet at 127\.0\.0\.1, port .*MASTER_ADDR"):
        World.join(Launched(1, 2, 1, 2, "127.0.0.1", 9))
