"""How fast the second stage is, written to benchmarks/results/stage2.md.

Two parts: training against the plain recipe (peft and Trainer), and scoring a class list against one
forward pass a class. Ways that are compared take turns, and on a CPU one thread works and its processor
seconds count, so that the ratios do not depend on how busy the machine is.

    python benchmarks/stage2.py [--only train|score] [--llm smollm2] [--precision float32] [--out F.md]
"""

import argparse
import sys
from pathlib import Path

import torch
from stage1 import ROOT, machine
from stage1_quantisation import GPU
from stage2_scoring import score
from stage2_training import train

from llmar_pipeline.language.config import LLMConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["train", "score"], help="one part; default: both")
    parser.add_argument("--steps", type=int, default=20, help="of each training")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32], help="of each training")
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 60, 120], help="that are scored")
    parser.add_argument("--rounds", type=int, default=3, help="turns that count")
    parser.add_argument("--llm", default="smollm2", help="as llm.model")
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16"], default="bfloat16", help="of training"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "stage2.md")
    arguments = parser.parse_args()
    if not GPU:
        torch.set_num_threads(1)
    command = " ".join(["python benchmarks/stage2.py", *sys.argv[1:]])
    llm = LLMConfig(model=arguments.llm, precision=arguments.precision)
    cache = ROOT / "data" / "06_models" / "llm"

    lines = ["# The second stage", ""]
    if arguments.only in (None, "train"):
        lines += train(llm, cache, arguments.batches, arguments.steps, arguments.rounds)
    if arguments.only in (None, "score"):
        lines += score(llm, cache, arguments.classes, arguments.rounds)
    page = "\n".join([*lines, *machine(command)])
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
