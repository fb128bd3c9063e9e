"""What the benchmarks share: clocks, turns, memory, and what a page says of the machine."""

import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from llmar_pipeline.machine import prepare_process, processor

prepare_process()  # before torch is imported

import torch  # noqa: E402

from llmar_pipeline.io.origin import git_revision  # noqa: E402
from llmar_pipeline.training.config import TrainingConfig  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")


def now() -> float:
    """Seconds: on a GPU of the clock, when all its work is done; else of this process's processor."""
    if GPU:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def take_turns(
    ways: dict[str, Callable[[], float]], rounds: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Each way's results, measured in turns; an unmeasured round comes first."""
    turns = [{name: way() for name, way in ways.items()} for _ in range(rounds + warm_up)]
    return {name: [turn[name] for turn in turns[int(warm_up) :]] for name in ways}


def times(results: dict[str, list[float]], name: str, base: str) -> float:
    """How many times the base's result, at the median turn."""
    return median(own / other for own, other in zip(results[name], results[base], strict=True))


def one_thread() -> None:
    """On a CPU let one thread work, so that its seconds can be counted."""
    if not GPU:
        torch.set_num_threads(1)


def in_fresh_process(function: Callable[..., Any], *arguments: object) -> Any:
    """The function's result in a process of its own, whose memory is that of the function.

    The new process inherits this one's peak, so call it before anything large.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=one_thread) as process:
        return process.submit(function, *arguments).result()


def peak() -> int:
    """Bytes of memory that this process has taken at most: of the GPU where there is one."""
    if GPU:
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def schedule(steps: int, batch: int, **others: Any) -> TrainingConfig:
    """A training without warm-up or decay that saves nothing before its end."""
    settings = {
        "max_steps": steps,
        "batch_size": batch,
        "micro_batch_size": batch,
        "learning_rate": 2e-4,
        "adam_betas": (0.9, 0.99),
        "weight_decay": 0,
        "warmup_steps": 0,
        "schedule": "constant",
        "step_decay_at": 0,
        "step_decay_factor": 1,
        "max_gradient_norm": 0,
        "save_every": steps,
        "log_every": steps // 2,
        "seed": 0,
    }
    return TrainingConfig(**settings | others)


def machine(command: str, seed: str = "0", library: str = "") -> list[str]:
    """What the numbers were measured on."""
    gpu = f"{torch.cuda.get_device_name()}, " if GPU else ""
    memory = psutil.virtual_memory().total / 2**30
    library = library or f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    return [
        f"- command: `{command}`",
        f"- seed: {seed}",
        f"- machine: {gpu}{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        f"- Python {platform.python_version()}, {library}",
        f"- revision {git_revision() or 'unknown'}, {date.today().isoformat()}",
        "",
    ]


def write_page(file: Path | None, lines: list[str]) -> None:
    """Show a page, and write it where a file is named."""
    page = "\n".join(lines)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    print(page)
