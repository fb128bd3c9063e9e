"""How fast the first stage is, written to benchmarks/results/stage1.md.

The quantisation step against geoopt's broadcast distance and a Euclidean quantiser; training against a plain
loop; encoding; a step of each encoder against its products; the reader of `.skeleton` files. Ways that are
compared take turns, and on a CPU one thread works and its processor seconds count, so that the ratios do not
depend on how busy the machine is.

    python benchmarks/stage1.py [--only PART] [--steps 40] [--precision bfloat16] [--compile] [--out F.md]
"""

import argparse
import sys
import tempfile
from pathlib import Path

from measuring import ROOT, machine, one_thread, write_page
from stage1_quantisation import quantise
from stage1_steps import reader, steps_of_both
from stage1_training import encode, train

PARTS = ["quantise", "train", "encode", "steps", "read"]
TIMES = [
    "*times*: time, or speed, relative to the table's first row, at the median of turns in which all",
    "take part. On a CPU seconds are the processor's: one thread.",
    "",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, help="one part; default: all")
    parser.add_argument("--rounds", type=int, default=21, help="turns of the quantisers")
    parser.add_argument("--steps", type=int, default=40, help="of each training")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--compile", action="store_true", help="compile encoder and decoder")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "stage1.md")
    arguments = parser.parse_args()
    one_thread()
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
        if arguments.only in (None, "steps"):
            lines += steps_of_both(Path(name), arguments.steps)
        if arguments.only in (None, "read"):
            lines += reader(Path(name) / "recordings")
    write_page(arguments.out, [*lines, *machine(command), *TIMES])


if __name__ == "__main__":
    main()
