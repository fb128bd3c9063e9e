"""The size of a run that names none: the one that lies there, or the largest that the machine can do."""

from collections.abc import Callable, Sequence
from pathlib import Path

from llmar_pipeline import machine

AUTO = "auto"
PAPER_GIB = 64  # of a GPU's memory: LLaMA-13B is scored in float32, which took 53 to 63 (docs/memory.md)


def choose(
    models: Path, run: Callable[[str], str], sizes: Sequence[str], model_is_here: Callable[[], bool]
) -> tuple[str, str]:
    """Choose a size, and say in a line why, and how to choose another.

    Args:
        models: Folder of the trained models of all runs of a dataset and protocol.
        run: Size -> name of the run's folder there.
        sizes: Those that there are.
        model_is_here: Whether the language model of size paper is on this machine; asked where it would fit.

    Returns:
        The size, and the line.

    Source: ours.
    """
    times = {size: _worked_on(models / run(size)) for size in sizes}
    there = sorted((size for size in sizes if times[size]), key=lambda size: -times[size])
    if len(there) == 1:
        size, why = there[0], f"which lies in {models / run(there[0])}"
    elif there:
        size = there[0]
        why = f"worked on last of those in {models}: {', '.join(map(run, there))}"
    else:
        size, why = _largest(model_is_here)
        why = f"since {why}"
    others = "|".join(other for other in sizes if other != size)
    return size, f"size: {size}, {why}; another: --params=size={others}"


def _worked_on(folder: Path) -> float:
    """When a file of a folder was last written; 0 where there is none."""
    return max((path.stat().st_mtime for path in folder.rglob("*") if path.is_file()), default=0.0)


def _largest(model_is_here: Callable[[], bool]) -> tuple[str, str]:
    found = machine.gpu()
    if found is None:
        blind = ", though there is an NVIDIA GPU: this torch is built without CUDA"
        return "laptop", f"torch sees no GPU here{blind if machine.unused_gpu() else ''}"
    name, memory = found
    if memory < PAPER_GIB:
        return "gpu", f"{name} has {memory:.0f} GiB, and paper needs {PAPER_GIB}"
    if not model_is_here():
        return "gpu", f"{name} is here, but not the language model of size paper"
    return "paper", f"{name} has {memory:.0f} GiB, and the language model is here"
