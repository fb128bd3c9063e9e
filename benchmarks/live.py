"""From frame to answer: frames come at the rate of a camera, `kedro watch` answers.

python benchmarks/live.py --recognizer FOLDER --raw FOLDER [--seconds 60] [--read llm codes] [--out FILE]
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import quantiles

import numpy as np
from gluing import glued
from measuring import machine, one_thread, write_page

from llmar_pipeline.commands.timeline import Windows
from llmar_pipeline.commands.watch import watch
from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.recognition.segments import Thresholds
from llmar_pipeline.recognizer import Recognizer

FPS = 30.0


def lines_of(raw: Path, seconds: float) -> list[bytes]:
    """Frames of made-up clips, one after the other."""
    files = sorted(raw.glob("*C001P003*.skeleton"))
    data = glued([CORPORA["ntu60"].load(file).data[:1] for file in files], root=1)[0]
    frames = np.resize(np.arange(len(data)), round(seconds * FPS))
    bodies = (np.where(np.isnan(data[frame]), None, data[frame].round(4)).tolist() for frame in frames)
    return [json.dumps({"keypoints": [body]}).encode() for body in bodies]


def row(recognizer: Recognizer, read: str, lines: list[bytes]) -> str:
    """One line of the table."""

    def camera(put):
        begin = time.perf_counter()
        for number, line in enumerate(lines):
            time.sleep(max(0.0, begin + number / FPS - time.perf_counter()))
            put(line)

    complaints: list[str] = []
    windows = Windows(FPS, None, None, Thresholds())
    took, left_out = watch(recognizer, camera, windows, None, False, True, lambda _: None, complaints.append)
    cuts = quantiles(took, n=20, method="inclusive")
    late = f"{left_out} of {len(took) + left_out}"
    return f"| {read} | {1e3 * cuts[9]:,.0f} | {1e3 * cuts[18]:,.0f} | {1e3 * max(took):,.0f} | {late} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recognizer", type=Path, required=True)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--read", nargs="+", default=["llm", "codes"], choices=["llm", "codes", "head"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    one_thread()
    lines = lines_of(options.raw, options.seconds)
    rows = [row(Recognizer.load(options.recognizer, read=read), read, lines) for read in options.read]
    page = [
        "# From frame to answer",
        "",
        f"{options.seconds:g} s of frames at {FPS:g} a second, `kedro watch` with its defaults, by",
        f"{options.recognizer}. Seconds are those of the clock, beside whatever else ran.",
        "",
        "| who answers | median, ms | 95 %, ms | longest, ms | windows left out |",
        "|---|---:|---:|---:|---:|",
        *rows,
        "",
        "From the arrival of a window's last frame to its answer. The answer is about the middle of the",
        "newest windows, which lies further back.",
        "",
        *machine("python " + " ".join(sys.argv)),
    ]
    write_page(options.out, page)


if __name__ == "__main__":
    main()
