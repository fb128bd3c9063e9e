"""How seconds, memory, bytes and files of each stage grow with the number of clips.

Made-up recordings of one person and 30 frames, as a user's own (`corpus.yml`, `clips.csv`, npz files), go
through the pipelines with a model of a few thousand weights and a dozen steps of training: what grows is what
is done for each clip beside the model. Every stage runs for the first time, again with nothing changed, and
again after one recording was changed. A run counts whole, start of Python and checks before it included. Of
twenty subjects two test, and two of the others validate.

    python benchmarks/growth.py [--clips 3000 30000] [--stages ingestion] [--folder /tmp] [--output file.md]
"""

import argparse
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measuring import machine, write_page
from tiny_project import make_workplace
from workplaces import Workplace

from llmar_pipeline.pipeline_registry import stages

DOCTOR = "doctor"
STAGES = (DOCTOR, *stages())
TURNS = ("first", "nothing changed", "one file changed")
CLASSES, SUBJECTS, TESTED, FRAMES = 10, 20, 2, 30
A_FOLDER = 1000  # clips
CORPUS = (
    "layout: coco17\nunits: pixels\npersons: 1\nprotocols:\n  split: {by: subject, train: [%s], test: [%s]}\n"
)


# A process counts the memory of the one that starts it as its own: so this small one starts it.
START = """
import os, sys
_, status, used = os.wait4(os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ), 0)
with open(sys.argv[1], "w") as file:
    print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss, file=file)
"""


class Cost(NamedTuple):
    """What one run took; of the data folder, what it added."""

    seconds: float  # of processors, in all its processes
    memory: int  # bytes, of the largest of its processes
    bytes: int
    files: int


def write_clip(file: Path, seed: int) -> None:
    """A body that wanders: smooth enough to be a recording, noisy enough not to be empty."""
    rng = np.random.default_rng(seed)
    body = rng.uniform(100, 400, (17, 2)) + np.cumsum(rng.normal(0, 2, (FRAMES, 1, 2)), axis=0)
    file.unlink(missing_ok=True)  # others may be links to it
    np.savez(file, keypoints=body.astype(np.float32)[None])


def write_recordings(folder: Path, clips: int) -> None:
    """A folder of the user's own recordings: a thousand files, and all others as hard links to these."""
    subjects = [f"p{number}" for number in range(SUBJECTS)]
    folder.mkdir()
    parts = ", ".join(subjects[TESTED:]), ", ".join(subjects[:TESTED])
    (folder / "corpus.yml").write_text(CORPUS % parts)
    rows = ["file,action,subject"]
    for clip in range(clips):
        name = f"{clip // A_FOLDER:04}/{clip:07}.npz"
        if clip % A_FOLDER == 0:
            (folder / name).parent.mkdir()
        if clip < A_FOLDER:
            write_clip(folder / name, clip)
        else:
            os.link(folder / f"0000/{clip % A_FOLDER:07}.npz", folder / name)
        rows.append(f"{name},action {clip % CLASSES},p{clip // CLASSES % SUBJECTS}")
    (folder / "clips.csv").write_text("\n".join(rows))


def contents(folder: Path) -> tuple[int, int]:
    """Bytes and number of the files below a folder."""
    sizes = [os.stat(os.path.join(at, name)).st_size for at, _, names in os.walk(folder) for name in names]
    return sum(sizes), len(sizes)


def run(workplace: Workplace, stage: str) -> Cost:
    """One run of a pipeline, or `kedro doctor` for all of them, in a process of its own."""
    before = contents(workplace.folder / "data")
    which = {"command": "doctor"} if stage == DOCTOR else {}
    pipelines = [] if stage == DOCTOR else [f"--pipelines={stage}"]
    arguments = workplace.arguments(*pipelines, "--env=custom", raw_dir=workplace.folder / "raw", **which)
    log, used = workplace.folder / "log.txt", workplace.folder / "used.txt"
    with log.open("w") as file:
        subprocess.run(
            [sys.executable, "-S", "-c", START, used, sys.executable, "-m", "kedro", *arguments],
            cwd=workplace.project,
            env=workplace.environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
            check=True,
        )
    failed, seconds, memory = used.read_text().split()
    if int(failed):
        raise SystemExit(f"{stage} failed:\n{log.read_text()[-3000:]}")
    after = contents(workplace.folder / "data")
    unit = 1 if sys.platform == "darwin" else 1024
    added = [now - then for now, then in zip(after, before, strict=True)]
    return Cost(float(seconds), int(memory) * unit, *added)


def measure(folder: Path, clips: int, stages: list[str]) -> dict[tuple[str, str], Cost]:
    """Cost of each stage and turn."""
    workplace = make_workplace(folder)
    write_recordings(folder / "raw", clips)
    found = {}
    for turn in TURNS:
        if turn == TURNS[2]:
            write_clip(folder / "raw" / "0000" / "0000000.npz", -clips % 2**32)
        for stage in stages:
            found[stage, turn] = cost = run(workplace, stage)
            print(f"{clips:,} clips, {stage}, {turn}: {cost}", flush=True)
    return found


def exponent(costs: list[float], clips: list[int]) -> str:
    """Of the growth between the two largest numbers of clips; what a start costs makes it smaller."""
    if len(clips) < 2:
        return ""
    return f"{math.log(costs[-1] / costs[-2]) / math.log(clips[-1] / clips[-2]):.2f}"


def page(clips: list[int], stages: list[str], found: list[dict[tuple[str, str], Cost]]) -> list[str]:
    """The tables."""
    heads = [f"{number:,}" for number in clips]
    tables = (
        ("Processor seconds", lambda cost: cost.seconds, "{:.1f}", True),
        ("Peak memory, MiB", lambda cost: cost.memory / 2**20, "{:.0f}", False),
        ("Bytes added, MiB", lambda cost: cost.bytes / 2**20, "{:.1f}", False),
        ("Files added", lambda cost: cost.files, "{:.0f}", False),
    )
    lines = []
    for title, value, form, growing in tables:
        columns = [*heads, *(["exponent"] if growing else [])]
        lines += [f"| {title} | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"[:-4]]
        for stage in stages:
            for turn in TURNS:
                values = [value(costs[stage, turn]) for costs in found]
                cells = [form.format(each or 0) for each in values]
                cells += [exponent(values, clips)] if growing else []
                lines.append(f"| {stage}, {turn} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, nargs="+", default=[3_000, 30_000, 100_000, 1_000_000])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--folder", type=Path, help="where runs are made; emptied afterwards")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    head = ["# Growth with the number of clips", "", *machine("python " + " ".join(sys.argv))]
    found: list[dict[tuple[str, str], Cost]] = []
    for clips in options.clips:
        folder = Path(tempfile.mkdtemp(prefix=f"growth-{clips}-", dir=options.folder))
        try:
            found.append(measure(folder, clips, options.stages))
        finally:
            shutil.rmtree(folder)
        measured = options.clips[: len(found)]  # so far: the largest take hours
        write_page(options.output, [*head, *page(measured, options.stages, found)])


if __name__ == "__main__":
    main()
