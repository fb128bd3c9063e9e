"""How fast the first stage is, written to benchmarks/results/stage1.md.

Three parts: the quantisation step against geoopt's broadcast distance and a Euclidean quantiser; training
against a plain loop; encoding. Ways that are compared take turns, and on a CPU one thread works and its
processor seconds count, so that the ratios do not depend on how busy the machine is.

    python benchmarks/stage1.py [--only quantise|train|encode] [--precision bfloat16] [--compile] [--out F.md]
"""

import argparse
import os
import platform
import sys
import tempfile
from datetime import date
from pathlib import Path

import psutil
import torch
from stage1_quantisation import GPU, quantise
from stage1_training import encode, train

ROOT = Path(__file__).resolve().parents[1]


def machine(command: str) -> list[str]:
    """What the numbers were measured on."""
    from demo import processor

    from llmar_pipeline.io.tracking import git_revision

    gpu = f"{torch.cuda.get_device_name()}, " if GPU else ""
    memory = psutil.virtual_memory().total / 2**30
    return [
        f"- command: `{command}`",
        "- seed: 0",
        f"- machine: {gpu}{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        f"- Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads",
        f"- revision {git_revision() or 'unknown'}, {date.today().isoformat()}",
        "",
        "*times*: time, or speed, relative to the table's first row, at the median of turns in which all",
        "take part. On a CPU seconds are the processor's: one thread.",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["quantise", "train", "encode"], help="one part; default: all")
    parser.add_argument("--rounds", type=int, default=21, help="turns of the quantisers")
    parser.add_argument("--steps", type=int, default=40, help="of each training")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--compile", action="store_true", help="compile encoder and decoder")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "stage1.md")
    arguments = parser.parse_args()
    if not GPU:
        torch.set_num_threads(1)
    command = " ".join(["python benchmarks/stage1.py", *sys.argv[1:]])

    lines = ["# The first stage", ""]
    with tempfile.TemporaryDirectory(prefix="llmar-bench-") as name:
        if arguments.only in (None, "quantise"):
            lines += quantise(arguments.rounds)
        if arguments.only in (None, "train"):
            settings = (arguments.steps, arguments.precision, arguments.compile)
            lines += train(Path(name), *settings)
        if arguments.only in (None, "encode"):
            lines += encode(Path(name))
    page = "\n".join([*lines, *machine(command)])
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
