"""The machine a program runs on: its processors, threads and number type, each decided here alone."""

import ctypes
import getpass
import os
import platform
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Precision = Literal["float32", "bfloat16"]

THREADS, WAITING, SPINS = "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
_SPINS = "3000"  # some microseconds: waking up takes longer
_OURS = "LLMAR_SET"  # names of the variables that a program of ours has set, for its child processes
_STEP = (304, 576, 1536)  # rows, inputs, outputs: two rows of four clips before the inner layer of SmolLM2
_LARGEST_OF_HEAP = 32 * 2**20  # bytes; glibc takes no more
_MALLOC = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
_LARGEST, _TRIM_ABOVE = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
_LOOK = 0.1  # seconds that a look at the machine may take


@dataclass(frozen=True)
class NumberType:
    """A number type to compute in, and why.

    Attributes:
        precision: Its name.
        why: In words.
    """

    precision: Precision
    why: str

    def __str__(self) -> str:
        return f"{self.precision}: {self.why}"


def usable_processors() -> int:
    """Processors that this process may use: those of its affinity and of its cgroup, not the machine's."""
    from joblib import cpu_count

    return int(cpu_count())


def prepare_process(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting threads sleep soon, and start as many as there are processors to use.

    Call it first in a program: OpenMP reads its variables once, when torch is imported. Threads that wait
    by spinning take the processors from each other as soon as anything else runs beside them; those that
    sleep at once are woken thousands of times a step. So they spin for a moment first.

    Args:
        environment: Changed in place; what the user has set in it stays.

    Source: ours (docs/lab_log.md).
    """
    _set(environment, usable_processors())


def prepare_user(environment: MutableMapping[str, str] = os.environ) -> None:
    """Give a user without a name or a home, as in a container, what packages need: they end without it.

    Args:
        environment: Changed in place; what the user has set in it stays.

    Source: ours.
    """
    home = Path(os.path.expanduser("~"))
    if not home.is_absolute():
        environment["HOME"] = str(_own_temporary_folder())
    elif not os.access(home, os.W_OK | os.X_OK):
        environment.setdefault("NUMBA_CACHE_DIR", str(_own_temporary_folder()))
    try:
        getpass.getuser()
    except (KeyError, OSError):
        environment["USER"] = str(os.getuid())


def _own_temporary_folder() -> Path:
    """The same in every run; never one that somebody else has laid there, as programs lie in caches."""
    folder = Path(tempfile.gettempdir(), f"llmar-pipeline-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    seen = folder.lstat()
    theirs = seen.st_uid != os.getuid() or not stat.S_ISDIR(seen.st_mode) or seen.st_mode & 0o022
    return Path(tempfile.mkdtemp(prefix="llmar-pipeline-")) if theirs else folder


@contextmanager
def shared_by(processes: int) -> Iterator[None]:
    """Within it, so many processes may be started, each with its share of the threads.

    What the user has set stays, and afterwards all is as it was.

    Args:
        processes: that work at the same time.
    """
    before = dict(os.environ)
    _set(os.environ, max(1, usable_processors() // processes))
    try:
        yield
    finally:
        for name in (WAITING, SPINS, THREADS, _OURS):
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within it, memory that is freed stays with this process for the next tensors of the same sizes.

    glibc else returns it and takes it again at every step, page by page, which the system clears: a tenth of
    a step of the graph encoder. Other C libraries, and whoever has set glibc's variables, are left alone.
    Afterwards what is unused is returned, and the limits stay where glibc itself moves them as it goes.

    Source: ours; the limits: man 3 mallopt.
    """
    if (mallopt := _mallopt()) is None:
        yield
        return
    mallopt(_LARGEST, _LARGEST_OF_HEAP)
    mallopt(_TRIM_ABOVE, 2**31 - 1)
    try:
        yield
    finally:
        mallopt(_TRIM_ABOVE, 2 * _LARGEST_OF_HEAP)
        ctypes.CDLL(None).malloc_trim(0)


def return_memory() -> None:
    """From now on memory of tensors goes back to the system as soon as it is freed.

    glibc else keeps it where blocks of other sizes lie behind it: of weights that are put together layer by
    layer, three times as much as there ever is at a time.

    Source: ours; the limit: man 3 mallopt.
    """
    if (mallopt := _mallopt()) is not None:
        mallopt(_LARGEST, 2**16)


def _mallopt() -> Any:
    """What sets glibc's limits; None with other C libraries, and where the user has set them."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return None if any(name in os.environ for name in _MALLOC) else mallopt


def share(processes: int) -> dict[str, str]:
    """The variables of programs of ours that work side by side, each with its share of the threads.

    What the user has set stays. Such a program does not count its threads anew, as it would within
    `shared_by`.

    Args:
        processes: that work at the same time.
    """
    environment = dict(os.environ)
    if processes > 1:
        _set(environment, max(1, usable_processors() // processes))
        environment.pop(_OURS, None)
    return environment


def _set(environment: MutableMapping[str, str], threads: int) -> None:
    values = {WAITING: "PASSIVE", SPINS: _SPINS, THREADS: str(threads)}
    ours = set(environment.get(_OURS, "").split(",")) - {""}
    ours |= values.keys() - environment.keys()
    if WAITING not in ours:  # how long to spin overrides it
        ours.discard(SPINS)
    environment.update({name: value for name, value in values.items() if name in ours})
    if ours:
        environment[_OURS] = ",".join(sorted(ours))


@cache
def number_type() -> NumberType:
    """The number type in which this machine multiplies fastest: bfloat16, or float32 where that is slow.

    What torch says of the processor or GPU decides. Where it says nothing clear, a product of the kind that
    a training step is made of is timed in both.

    Source: ours; bfloat16: lineage.
    """
    import torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return NumberType("bfloat16", f"{name} computes it natively")
        return NumberType("float32", f"{name} has no bfloat16 of its own")
    level = torch.backends.cpu.get_cpu_capability()
    if platform.machine().lower() in ("x86_64", "amd64", "i386", "i686"):
        # This one honours ONEDNN_MAX_CPU_ISA; what torch.cpu says is the processor's alone.
        known = _asked(lambda: torch.ops.mkldnn._is_mkldnn_bf16_supported())
        if known is False:
            return NumberType("float32", f"this processor ({level}) has no fast bfloat16")
        native = [
            instructions
            for instructions, question in (
                ("AMX", "_is_amx_tile_supported"),
                ("AVX512-BF16", "_is_avx512_bf16_supported"),
            )
            if _asked(getattr(torch.cpu, question, None))
        ]
        if known and native and "ONEDNN_MAX_CPU_ISA" not in os.environ:
            return NumberType("bfloat16", f"this processor has {native[0]}")
    return _faster(level)


def _asked(question: Callable[[], Any] | None) -> bool | None:
    """What torch answers; None where this build of it does not know the question."""
    try:
        return None if question is None else bool(question())
    except (AttributeError, RuntimeError, NotImplementedError):
        return None


def _faster(level: str) -> NumberType:
    speeds = {name: speed(name, _STEP) / 1e9 for name in ("float32", "bfloat16")}
    best: Any = max(speeds, key=lambda name: speeds[name])
    timed = ", ".join(f"{value:.0f} GFLOP/s in {name}" for name, value in speeds.items())
    return NumberType(best, f"timed on this processor ({level}): {timed}")


def speed(precision: str, shape: tuple[int, int, int] | None = None, seconds: float = _LOOK) -> float:
    """Operations a second of matrix products in a number type, as far as a tenth of a second tells.

    On a CPU the processors' own seconds count, as if nothing else ran beside: what else runs now need not run
    in an hour.

    Args:
        precision: "float32" or "bfloat16".
        shape: Rows, inputs and outputs of a linear layer, forwards and backwards; by default a large product.
        seconds: How long to look; one product is made at least.

    Returns:
        Floating-point operations a second.

    Source: ours.
    """
    import torch
    import torch.nn.functional as F

    on_gpu = torch.cuda.is_available()
    rows, inputs, outputs = shape or ((8192,) * 3 if on_gpu else (512,) * 3)
    made = {"dtype": getattr(torch, precision), "device": "cuda" if on_gpu else "cpu"}
    x, weight = torch.randn(rows, inputs).to(**made), torch.randn(outputs, inputs).to(**made)

    def now() -> float:
        if not on_gpu:
            return time.process_time() / torch.get_num_threads()
        torch.cuda.synchronize()
        return time.perf_counter()

    def product() -> None:
        y = F.linear(x, weight)
        if shape:
            y @ weight

    with torch.no_grad():
        product()  # it also prepares
        number, started, clock = 0, now(), time.perf_counter()
        while not number or time.perf_counter() - clock < seconds:
            product()
            number += 1
            if on_gpu:
                torch.cuda.synchronize()
        taken = now() - started
    return number * 2 * (1 + bool(shape)) * rows * inputs * outputs / max(taken, 1e-9)


def processor() -> str:
    """Name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def gpu() -> tuple[str, float] | None:
    """Name of the GPU that torch computes on, and its memory in GiB; None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory / 2**30


def unused_gpu() -> bool:
    """Whether there is an NVIDIA GPU that the installed torch cannot use."""
    there = Path("/proc/driver/nvidia/gpus").is_dir() or shutil.which("nvidia-smi") is not None
    return there and gpu() is None
