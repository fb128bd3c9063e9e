"""How fast recordings are read, written to benchmarks/results/ingestion.md.

Made-up `.skeleton` files of real size are read by a straightforward reader and by the project's own, in turns
on the same files, so that the ratio of the two does not depend on how busy the machine is.

    python benchmarks/ingestion.py [--real FOLDER] [--store 20000] [--output file.md]
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice, product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil

from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.formats.skeleton_scan import scan
from llmar_pipeline.corpora.formats.skeleton_text import parse_bodies
from llmar_pipeline.corpora.ntu import NTU120
from llmar_pipeline.corpora.reader import Reader
from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.corpora.splits import split_clips
from llmar_pipeline.demo.kinematics import Performer
from llmar_pipeline.demo.movements import ACTIONS, perform
from llmar_pipeline.demo.sensor import record
from llmar_pipeline.ingestion.ingest import IngestionConfig, ingest

ROOT = Path(__file__).resolve().parents[1]
FILES, FRAMES = 48, 100  # a frame of one body takes 2.4 kB: about 250 kB a file
ROUNDS, CLIPS_IN_ROUND = 7, 1024
MIB = 2**20


@dataclass(frozen=True)
class Row:
    """What one way of reading took, at its best."""

    name: str
    files_per_second: float
    megabytes_per_second: float
    times: float  # as fast as the straightforward reader


@dataclass(frozen=True)
class Stored:
    """What reading, splitting and storing took."""

    clips: int
    workers: int
    seconds: float
    peak_mib: float  # of the process that writes
    worker_peak_mib: float  # of the largest of its workers
    store_mib: float


def straightforward(path: Path, fields: int = 12) -> dict[str, np.ndarray]:
    """What scripts of the field do: a line at a time, an array a joint, bodies stacked frame by frame."""
    with path.open(encoding="utf-8") as file:
        lines = file.readlines()
    bodies: dict[str, np.ndarray] = {}
    at = 1
    for _ in range(int(lines[0])):
        n_bodies = int(lines[at])
        at += 1
        for _ in range(n_bodies):
            body_id = lines[at].split()[0]
            joints = []
            for line in lines[at + 2 : at + 2 + int(lines[at + 1])]:
                joints.append(np.array([float(text) for text in line.split()[:fields]], np.float32))  # noqa: PERF401
            at += 2 + len(joints)
            body = np.stack(joints)[None]
            bodies[body_id] = np.vstack((bodies[body_id], body)) if body_id in bodies else body
    return bodies


def generate(folder: Path) -> None:
    """Write recordings of one person and real length, there and back again to fill it."""
    actions = [action for action, kind in ACTIONS.items() if kind.actors == 1]
    for number, action in enumerate(islice(cycle(actions), FILES)):
        rng = np.random.default_rng([0, number])
        world = perform(action, [Performer.draw(rng)], rng)
        world = np.concatenate([world, world[:, ::-1], world], axis=1)[:, :FRAMES]
        text = record(world, 1 + number % 3, np.array([3.0, 1.0]), 0.004, 0.01, rng)
        (folder / f"S001C001P001R001A{number + 1:03d}.skeleton").write_bytes(text.encode())


def compare(paths: list[Path], workers: int = 2) -> list[Row]:
    """Read the same files in every way, in turns; the best of several rounds counts."""
    texts = [path.read_text() for path in paths]
    prepared = [_prepared(text) for text in texts]
    many = [Source(path.stem, str(path)) for path in (paths * CLIPS_IN_ROUND)[:CLIPS_IN_ROUND]]
    ways: dict[str, tuple[list, Callable]] = {
        "straightforward reader": (paths, straightforward),
        "straightforward reader, x, y, z only": (paths, lambda path: straightforward(path, 3)),
        "ours: file to sequence, actors chosen": (paths, NTU120.load),
        "ours: text to bodies": (texts, lambda text: parse_bodies(text, 25)),
        "limit: the compiled float parser": (prepared, lambda arrays: scan(*arrays)),
        "limit: the bytes, from the page cache": (paths, Path.read_bytes),
    }
    together, per_core = f"ours: file to sequence, {workers} workers", "ours: the same, a core"
    best = dict.fromkeys([*ways, together, per_core], np.inf)
    with Reader(NTU120, paths[0].parent, workers) as reader:
        list(reader.read(many))  # starts the workers, compiles or loads the compiled code
        for _ in range(ROUNDS):
            for name, (inputs, read) in ways.items():
                started = time.process_time()
                for item in inputs:
                    read(item)
                best[name] = min(best[name], (time.process_time() - started) / len(inputs))
            started, busy = time.perf_counter(), _processor_seconds()
            for _ in reader.read(many):
                pass
            best[together] = min(best[together], (time.perf_counter() - started) / len(many))
            best[per_core] = min(best[per_core], (_processor_seconds() - busy) / len(many))
    megabytes = np.mean([path.stat().st_size for path in paths]) / 1e6
    base = best["straightforward reader"]
    return [Row(name, 1 / took, megabytes / took, base / took) for name, took in best.items()]


def _processor_seconds() -> float:
    """Of this process and its workers so far."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children())]
    return sum(time.user + time.system for time in times)


def _prepared(text: str) -> tuple:
    content = np.frombuffer(text.rstrip().encode() + b"\n\0", np.uint8)
    bodies = text.count("\n") // 27 + 1
    arrays = np.empty(text.count("\n") + 1, np.int64), np.empty((bodies, 2), np.int64)
    return content, 25, *arrays, np.empty((bodies, 25, 3), np.float32)


def measure_store(folder: Path, clips: int, workers: int) -> Stored:
    """Read, split and store many clips under official names, in a process of its own.

    Their contents are those of a few files, which the names link to.
    """
    contents = sorted(folder.glob("*.skeleton"))
    raw = folder / "many"
    raw.mkdir()
    grid = product(range(1, 33), range(1, 4), range(1, 107), range(1, 3), range(1, 121))
    names = (f"S{s:03d}C{c:03d}P{p:03d}R{r:03d}A{a:03d}" for s, c, p, r, a in grid)
    names = (name for name in names if name not in NTU120.excluded)
    for number, name in enumerate(islice(names, clips)):
        os.link(contents[number % len(contents)], raw / f"{name}.skeleton")
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        seconds, peak, worker_peak = process.submit(_store, NTU120, raw, folder / "store", workers).result()
    size = sum(path.stat().st_size for path in (folder / "store").iterdir())
    return Stored(clips, workers, seconds, peak, worker_peak, size / MIB)


def _store(corpus: Corpus, raw: Path, target: Path, workers: int) -> tuple[float, float, float]:
    started = time.perf_counter()
    ingested = ingest(corpus, raw, target, IngestionConfig(workers=workers, max_quarantined_share=0.0))
    split_clips(ingested.index, CorpusFacts.of(corpus), next(iter(corpus.protocols)))
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    own, workers_ = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return seconds, own.ru_maxrss * unit / MIB, workers_.ru_maxrss * unit / MIB


def render(tables: dict[str, list[Row]], stored: list[Stored], command: str) -> str:
    """The Markdown page."""
    from measuring import machine  # here: it imports torch, whose memory is not to be measured

    lines = ["# Reading recordings", ""]
    for title, rows in tables.items():
        lines += [f"{title}:", "", "| reader | files/s | MB/s | times |", "|---|---:|---:|---:|"]
        lines += [
            f"| {row.name} | {row.files_per_second:.0f} | {row.megabytes_per_second:.0f} | {row.times:.1f} |"
            for row in rows
        ]
        lines.append("")
    if stored:
        lines += [
            "Reading, splitting and storing (generated contents under official names):",
            "",
            "| clips | workers | wall seconds | files/s | peak memory, MiB | of a worker, MiB | store, MiB |",
            "|---:|---:|---:|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {s.clips} | {s.workers} | {s.seconds:.1f} | {s.clips / s.seconds:.0f} | {s.peak_mib:.0f} | "
            f"{f'{s.worker_peak_mib:.0f}' if s.workers > 1 else '-'} | {s.store_mib:.0f} |"
            for s in stored
        ]
        lines.append("")
    return "\n".join(
        [
            *lines,
            *machine(command, "0 (of the generated files)", f"numpy {np.__version__}"),
            f"Every reader reads every file {ROUNDS} times, in turns with the others; its best turn counts.",
            "*times* is how many times as fast as the straightforward reader it is. The files lie in the",
            "page cache. Seconds are the processor's (files a second and core), except for all workers",
            "together: there they are the wall clock's and depend on what else the machine does.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, help="folder of NTU RGB+D .skeleton files to read as well")
    parser.add_argument(
        "--store", type=int, default=0, metavar="N", help="also store so many generated clips"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "ingestion.md")
    arguments = parser.parse_args()
    command = " ".join(["python benchmarks/ingestion.py", *sys.argv[1:]])

    tables: dict[str, list[Row]] = {}
    stored = []
    with tempfile.TemporaryDirectory(prefix="llmar-bench-") as name:
        folder = Path(name)
        generate(folder)
        folders = {"Generated": folder} | ({"Real": arguments.real} if arguments.real else {})
        for kind, place in folders.items():
            paths = sorted(place.glob("*.skeleton"))
            kilobytes = np.mean([path.stat().st_size for path in paths]) / 1e3
            tables[f"{kind} files, {len(paths)} of {kilobytes:.0f} kB on average"] = compare(paths)
        if arguments.store:
            for workers in (1, 2):
                place = folder / f"{workers}"
                place.mkdir()
                for path in folder.glob("*.skeleton"):
                    os.link(path, place / path.name)
                stored.append(measure_store(place, arguments.store, workers))
    page = render(tables, stored, command)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
