"""How fast the second stage is, written to benchmarks/results/stage2.md.

Four parts: training against the plain recipe (peft and Trainer), scoring a class list against one
forward pass a class, finding names best first against reading all of them (with a trained model), and the
way from a raw file to a name. Ways that are compared take turns, and on a
CPU one thread works and its processor seconds count, so that the ratios depend little on how busy the
machine is.

    python benchmarks/stage2.py [--only train|score|search|recognize] [--llm smollm2] [--batches 8 32]
        [--recognizer data/06_models/demo/xsub/llm_ar-demo/recognizer] [--out F.md]
"""

import argparse
import sys
from pathlib import Path

from measuring import GPU, ROOT, machine, one_thread, write_page
from stage2_end_to_end import recognize
from stage2_scoring import score
from stage2_search import search
from stage2_training import train

from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.llm_cache import llm_cache
from llmar_pipeline.machine import number_type


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", choices=["train", "score", "search", "recognize"], help="one part; default: all"
    )
    parser.add_argument("--steps", type=int, default=6, help="of each training")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32], help="of each training")
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 60, 120], help="that are scored")
    parser.add_argument("--rounds", type=int, default=2, help="turns that count; half of them of trainings")
    parser.add_argument("--recognizer", type=Path, help="of a run, for the search; default: no search")
    parser.add_argument("--clips", type=int, nargs="+", default=[1, 8, 32], help="at once, in the search")
    parser.add_argument("--llm", default="smollm2", help="as llm.model")
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default=number_type().precision,
        help="of training; default: what `llm.precision: auto` chooses here",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "stage2.md")
    arguments = parser.parse_args()
    one_thread()
    command = " ".join(["python benchmarks/stage2.py", *sys.argv[1:]])
    llm = LLMConfig(model=arguments.llm, precision=arguments.precision)
    cache = llm_cache(ROOT / "data")

    lines = ["# The second stage", ""]
    if arguments.only in (None, "train"):
        lines += train(llm, cache, arguments.batches, arguments.steps, max(1, arguments.rounds // 2))
    if arguments.only in (None, "score"):
        lines += score(llm, cache, arguments.classes, arguments.rounds)
    if arguments.recognizer is not None:
        counts, clips = arguments.classes, arguments.clips
        lines += search(arguments.recognizer.resolve(), cache, counts, clips, arguments.rounds)
    elif arguments.only == "search":
        parser.error("--only search needs --recognizer, the folder of a trained model of a run")
    if arguments.only in (None, "recognize"):
        lines += recognize(llm, cache, 1)
    note = "On a CPU seconds are the processor's: one thread." if not GPU else ""
    write_page(arguments.out, [*lines, *machine(command), note, ""])


if __name__ == "__main__":
    main()
