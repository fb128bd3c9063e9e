"""Segments of recordings that are glued together from clips: frame accuracy and segment F1.

Window, step and thresholds are chosen on glued validation clips (training clips where none validate), by F1;
the recordings of test clips are read once, with these.

    python benchmarks/segments.py --recognizer FOLDER --corpus ntu60 --raw FOLDER --protocol xsub [--out FILE]
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from gluing import Truth, f1, frame_accuracy, glued, matched, plans
from measuring import machine, now, one_thread, write_page

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.splits import split_clips
from llmar_pipeline.recognition.segments import NAMES, Sliding, Thresholds, merged, window_of
from llmar_pipeline.recognizer import Recognizer
from llmar_pipeline.skeletons.sequence import Sequence as Recording

WINDOWS_S = (1.2, 1.5, 1.8)
STEP_S = 0.25
EVERY = (1, 2)  # of the steps
ENTER, EXIT = (0.3, 0.4, 0.5, 0.6, 0.7), (0.2, 0.3, 0.4, 0.5)
OVERLAP = 0.5


class Glued(NamedTuple):
    """One recording, and what is known of it."""

    data: np.ndarray
    truth: list[Truth]


class Score(NamedTuple):
    """Of several recordings."""

    f1: float
    frames: float
    segments: int


def recordings(clips: Mapping[str, Recording], table: pd.DataFrame, per: int, most: int) -> list[Glued]:
    """Clips of a split, glued."""
    names = dict(zip(table["name"], table["action"], strict=True))
    made = []
    for plan in list(plans(table, per, seed=0))[:most]:
        arrays = [clips[name].data for name in plan]
        cuts = np.cumsum([0, *(array.shape[1] for array in arrays)]).tolist()
        truth = [Truth(names[name], *span) for name, *span in zip(plan, cuts, cuts[1:], strict=False)]
        made.append(Glued(glued(arrays, root=1), truth))
    return made


def told_of(recognizer: Recognizer, data: np.ndarray, sliding: Sliding) -> list[dict[str, float] | None]:
    """What is told of every window."""
    cut = [
        window_of(data[:, start : start + sliding.window], recognizer.body, "window")
        for start in sliding.starts(data.shape[1])
    ]
    answers = recognizer.predict_all([window for window in cut if window is not None], top_k=NAMES)
    return [
        None
        if window is None
        else dict(zip((answer := next(answers)).names, answer.probabilities, strict=True))
        for window in cut
    ]


def score(glueds: Sequence[Glued], found: Sequence[Sequence[Truth]]) -> Score:
    right = sum(matched(one.truth, segments, OVERLAP) for one, segments in zip(glueds, found, strict=True))
    truths, segments = sum(len(one.truth) for one in glueds), sum(map(len, found))
    frames = [frame_accuracy(one.truth, told) for one, told in zip(glueds, found, strict=True)]
    weights = [one.data.shape[1] for one in glueds]
    return Score(f1(right, truths, segments), float(np.average(frames, weights=weights)), segments)


def sliced(
    glueds: Sequence[Glued],
    told: Sequence[Sequence[dict[str, float] | None]],
    sliding: Sliding,
    every: int,
    thresholds: Thresholds,
) -> list[list[Truth]]:
    """Segments at every n-th of the steps."""
    coarser = replace(sliding, step=every * sliding.step)
    return [
        [
            Truth(one.name, one.begin, one.end)
            for one in merged(list(answers[::every]), recording.data.shape[1], coarser, thresholds)
        ]
        for recording, answers in zip(glueds, told, strict=True)
    ]


def choose(
    recognizer: Recognizer, glueds: Sequence[Glued], fps: float
) -> tuple[Sliding, int, Thresholds, Score]:
    """The best of the settings: by F1, then by frames."""
    best: tuple[Sliding, int, Thresholds, Score] | None = None
    pairs = [Thresholds(enter, leave) for enter, leave in product(ENTER, EXIT) if leave <= enter]
    for window_s in WINDOWS_S:
        sliding = Sliding.of_seconds(fps, window_s, STEP_S)
        told = [told_of(recognizer, one.data, sliding) for one in glueds]
        for every, thresholds in product(EVERY, pairs):
            reached = score(glueds, sliced(glueds, told, sliding, every, thresholds))
            if best is None or reached[:2] > best[3][:2]:
                best = sliding, every, thresholds, reached
    assert best is not None
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recognizer", type=Path, required=True)
    parser.add_argument("--corpus", default="ntu60")
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--protocol", default="xsub")
    parser.add_argument("--val-share", type=float, default=0.1)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--clips", type=int, default=10, help="of a recording")
    parser.add_argument("--recordings", type=int, default=12, help="of each split, at most")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    one_thread()
    corpus = CORPORA[options.corpus]
    clips = {c.name: c for c in corpus.read(options.raw) if isinstance(c, Recording) and c.n_frames > 1}
    index = pd.DataFrame([{"name": name, **corpus.parse_name(name)} for name in sorted(clips)])
    splits = split_clips(index, CorpusFacts.of(corpus), options.protocol, options.val_share)
    table = index.assign(split=splits["split"].to_numpy(), action=splits["action"].to_numpy())
    held = "val" if (table["split"] == "val").any() else "train"
    chosen_on, tested = (
        recordings(clips, table[table["split"] == split], options.clips, options.recordings)
        for split in (held, "test")
    )
    recognizer = Recognizer.load(options.recognizer)
    sliding, every, thresholds, reached = choose(recognizer, chosen_on, options.fps)
    started = now(), time.perf_counter()
    told = [told_of(recognizer, one.data, replace(sliding, step=every * sliding.step)) for one in tested]
    cost = now() - started[0]
    seconds = sum(one.data.shape[1] for one in tested) / options.fps
    found = sliced(tested, told, replace(sliding, step=every * sliding.step), 1, thresholds)
    usual = recognizer.sliding(options.fps)
    of_usual = [told_of(recognizer, one.data, usual) for one in tested]
    whole = [recognizer.predict(one.data).names[0] for one in tested]
    at_once = [[Truth(name, 0, one.data.shape[1])] for name, one in zip(whole, tested, strict=True)]
    cut = [
        [
            replace(part, name=answer.names[0])
            for part, answer in zip(
                one.truth,
                recognizer.predict_all(one.data[:, p.begin : p.end] for p in one.truth),
                strict=True,
            )
        ]
        for one in tested
    ]
    rows = {
        "one answer for the whole file": score(tested, at_once),
        "segments, chosen": score(tested, found),
        "segments, the defaults": score(tested, sliced(tested, of_usual, usual, 1, Thresholds())),
        "each clip alone, begins and ends given": score(tested, cut),
    }
    truths = sum(len(one.truth) for one in tested)
    given = f"{options.corpus} {options.protocol}, by {options.recognizer}"
    lines = [
        "# Segments of glued recordings",
        "",
        f"{len(tested)} recordings of {options.clips} test clips each ({truths} segments, {seconds:.0f} s),",
        f"each of one person and camera, of {given}.",
        "",
        f"| | frame accuracy, % | segment F1 at overlap {OVERLAP}, % | segments |",
        "|---|---:|---:|---:|",
        *(f"| {name} | {100 * s.frames:.1f} | {100 * s.f1:.1f} | {s.segments} |" for name, s in rows.items()),
        "",
        f"Chosen on {len(chosen_on)} recordings of {held} clips (F1 {100 * reached.f1:.1f}, frames "
        f"{100 * reached.frames:.1f}): {_settings(replace(sliding, step=every * sliding.step), thresholds)}.",
        f"The defaults: {_settings(usual, Thresholds())}.",
        "",
        f"With the chosen settings {cost / seconds:.2f} processor seconds a second of recording, one thread.",
        "",
        *machine("python benchmarks/segments.py " + " ".join(_said(options))),
    ]
    write_page(options.out, lines)


def _settings(sliding: Sliding, thresholds: Thresholds) -> str:
    length, step = sliding.window / sliding.fps, sliding.step / sliding.fps
    return (
        f"windows of {length:.2f} s every {step:.2f} s, enter {thresholds.enter:g}, exit {thresholds.exit:g}"
    )


def _said(options: argparse.Namespace) -> list[str]:
    return [
        f"--{name.replace('_', '-')} {value}" for name, value in vars(options).items() if value is not None
    ]


if __name__ == "__main__":
    main()
