"""Runs under launchers, on this machine or on two that network namespaces stand in for; what they come to."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from workplaces import Workplace

STEPS = 24
SETTINGS: dict[str, object] = {
    "lora__dropout": 0.2,
    "vqvae_training__max_steps": STEPS,
    "lora_training__max_steps": STEPS,
}
_PATIENCE = 400  # seconds


def kedro(workplace: Workplace, data: str, *options: str, **more: object) -> list[str]:
    """The run as a module, as launchers start it."""
    return ["-m", "kedro", *workplace.arguments(*options, data=data, **SETTINGS | more)]


@dataclass
class Started:
    """A program in a session of its own, so that all that it starts can be ended with it."""

    process: "subprocess.Popen[str]"

    def output(self) -> str:
        """What it said; it must end well."""
        said, _ = self.process.communicate(timeout=_PATIENCE)
        assert self.process.returncode == 0, said
        return said

    def kill(self) -> None:
        """End it and all that it has started, workers of torchrun too, which have sessions of their own."""
        for pid in [*_below(self.process.pid), self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.communicate()


def _below(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def start(
    workplace: Workplace,
    command: Sequence[str],
    variables: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> Started:
    """Start a module of Python's with a workplace's variables."""
    return Started(
        subprocess.Popen(
            [*before, sys.executable, *command],
            cwd=workplace.project,
            env={**workplace.environment(), **(variables or {})},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def check_same(alone: Path, shared: Path, stages: Sequence[str] = ("vqvae", "recognizer", "scores")) -> None:
    """The same losses, sentences and scores, however many processes there were."""
    for model in set(stages) - {"scores"}:
        one, other = (
            pd.DataFrame(json.loads(only(data, f"06_models/*/*/*/{model}/history.json").read_text()))
            for data in (alone, shared)
        )
        assert len(one) == len(other) == STEPS
        np.testing.assert_allclose(other["loss"], one["loss"], rtol=1e-5, atol=1e-6)
    if "scores" in stages:
        said, told = (
            pd.read_parquet(only(data, "04_feature/*/*/*/action_sentences.parquet"))
            for data in (alone, shared)
        )
        assert said["name"].tolist() == told["name"].tolist()
        np.testing.assert_array_equal(np.stack(told["codes"]), np.stack(said["codes"]))
        expected, found = (
            pd.read_parquet(only(data, "07_model_output/*/*/*/predictions.parquet"))
            for data in (alone, shared)
        )
        assert found[["name", "predicted"]].equals(expected[["name", "predicted"]])
        numbers = expected.select_dtypes("number")
        np.testing.assert_allclose(found[numbers.columns], numbers, atol=1e-5)


@dataclass(frozen=True)
class Machine:
    """A network namespace with an address of its own."""

    name: str
    address: str

    def enter(self) -> list[str]:
        """What starts a program there."""
        return ["ip", "netns", "exec", self.name]

    def set_link(self, state: str) -> None:
        """Cut it off ("down"), or connect it again ("up")."""
        ip("-n", self.name, "link", "set", "cable", state)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def no_namespaces() -> str:
    """Why two machines cannot be stood in for here; empty where they can."""
    if shutil.which("ip") is None:
        return "there is no program ip"
    try:
        with two_machines():
            return ""
    except subprocess.CalledProcessError as error:
        return f"no network namespaces: {error.stderr.strip()}"


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Two namespaces, joined by a cable of their own."""
    both = tuple(Machine(f"llmar-{os.getpid()}-{n}", f"10.77.0.{n}") for n in (1, 2))
    try:
        for machine in both:
            ip("netns", "add", machine.name)
        ends = ("link", "add", "name", "cable", "netns", both[0].name, "type", "veth", "peer")
        ip(*ends, "name", "cable", "netns", both[1].name)
        for machine in both:
            ip("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", "cable")
            machine.set_link("up")
            ip("-n", machine.name, "link", "set", "lo", "up")
        yield both[0], both[1]
    finally:
        for machine in both:
            subprocess.run(["ip", "netns", "del", machine.name], check=False, capture_output=True)


def torchrun(machine: Machine, *command: str) -> list[str]:
    """What starts two processes on one of two machines, which meet on the first one."""
    first = machine.address.endswith(".1")
    return [
        "-m",
        "torch.distributed.run",
        "--nnodes=2",
        "--nproc-per-node=2",
        "--max-restarts=5",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=10.77.0.1:29400",
        f"--rdzv-conf=is_host={int(first)}",
        f"--local-addr={machine.address}",
        *command,
    ]


def wait_for(folder: Path, pattern: str, started: Started) -> None:
    """Wait until a file is there, while a program runs."""
    end = time.monotonic() + _PATIENCE
    while not next(folder.glob(pattern), None):
        assert started.process.poll() is None, started.process.communicate()[0]
        assert time.monotonic() < end, f"no {pattern}"
        time.sleep(0.05)
