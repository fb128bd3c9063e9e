"""Segments of recordings that are glued together from clips: frame accuracy and segment F1.

Window, step and thresholds are chosen on glued validation clips (training clips where none validate), by F1;
the recordings of test clips are read once, with these.

    python benchmarks/segments.py --recognizer FOLDER --corpus ntu60 --raw FOLDER --protocol xsub [--out FILE]
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
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
from llmar_pipeline.recognition.segments import NAMES, Sliding, Thresholds, Told, merged, window_of
from llmar_pipeline.recognizer import Answer, Recognizer
from llmar_pipeline.skeletons.sequence import Sequence as Recording

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


class Teller:
    """What a recogniser tells of the windows of recordings, asked once."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self._known: dict[tuple[int, Sliding], list[Told | None]] = {}

    def __call__(self, glueds: Sequence[Glued], sliding: Sliding) -> list[list[Told | None]]:
        """Of each recording, what is told of every window."""
        return [self._of(one.data, sliding) for one in glueds]

    def names(self, clips: Iterable[np.ndarray]) -> list[str]:
        """The likeliest name of each clip."""
        return [answer.names[0] for answer in self._recognizer.predict_all(clips, top_k=1)]

    def _of(self, data: np.ndarray, sliding: Sliding) -> list[Told | None]:
        if (id(data), sliding) not in self._known:
            cut = [
                window_of(data[:, start : start + sliding.window], self._recognizer.body, "window")
                for start in sliding.starts(data.shape[1])
            ]
            asked = [window for window in cut if window is not None]
            answers = iter(self._recognizer.predict_all(asked, top_k=NAMES))
            self._known[id(data), sliding] = [
                None if window is None else _told(next(answers)) for window in cut
            ]
        return self._known[id(data), sliding]


def _told(answer: Answer) -> Told:
    return dict(zip(answer.names, answer.probabilities, strict=True))


def score(glueds: Sequence[Glued], found: Sequence[Sequence[Truth]]) -> Score:
    right = sum(matched(one.truth, segments, OVERLAP) for one, segments in zip(glueds, found, strict=True))
    truths, segments = sum(len(one.truth) for one in glueds), sum(map(len, found))
    frames = [frame_accuracy(one.truth, told) for one, told in zip(glueds, found, strict=True)]
    weights = [one.data.shape[1] for one in glueds]
    return Score(f1(right, truths, segments), float(np.average(frames, weights=weights)), segments)


def found_by(
    tell: Teller, glueds: Sequence[Glued], sliding: Sliding, thresholds: Thresholds
) -> list[list[Truth]]:
    """Segments of recordings."""
    return [
        [
            Truth(one.name, one.begin, one.end)
            for one in merged(told, recording.data.shape[1], sliding, thresholds)
        ]
        for recording, told in zip(glueds, tell(glueds, sliding), strict=True)
    ]


def choose(
    tell: Teller, glueds: Sequence[Glued], slidings: Sequence[Sliding]
) -> tuple[Sliding, Thresholds, Score]:
    """The best of the settings: by F1, then by frames."""
    pairs = [Thresholds(enter, leave) for enter, leave in product(ENTER, EXIT) if leave <= enter]
    reached = [
        (sliding, pair, score(glueds, found_by(tell, glueds, sliding, pair)))
        for sliding, pair in product(slidings, pairs)
    ]
    return max(reached, key=lambda one: one[2][:2])


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
    parser.add_argument("--windows", type=float, nargs="+", default=[1.2, 1.5, 1.8], help="seconds")
    parser.add_argument("--steps", type=int, nargs="+", default=[3, 6], help="a window")
    parser.add_argument("--read", default="llm", choices=["llm", "codes", "head"], help="who answers")
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
    recognizer = Recognizer.load(options.recognizer, read=options.read)
    tell = Teller(recognizer)
    slidings = [
        Sliding.of_seconds(options.fps, window_s, window_s / steps)
        for window_s, steps in product(options.windows, options.steps)
    ]
    sliding, thresholds, reached = choose(tell, chosen_on, slidings)
    usual = recognizer.sliding(options.fps)
    started = now()
    found = found_by(tell, tested, sliding, thresholds)
    cost = now() - started
    seconds = sum(one.data.shape[1] for one in tested) / options.fps
    whole = tell.names(one.data for one in tested)
    parts = [one.data[:, part.begin : part.end] for one in tested for part in one.truth]
    alone = iter(tell.names(parts))
    rows = {
        "one answer for the whole file": score(
            tested, [[Truth(name, 0, one.truth[-1].end)] for name, one in zip(whole, tested, strict=True)]
        ),
        "segments, chosen settings": score(tested, found),
        "segments, the defaults": score(tested, found_by(tell, tested, usual, Thresholds())),
        "each clip alone, begins and ends given": score(
            tested, [[replace(part, name=next(alone)) for part in one.truth] for one in tested]
        ),
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
        f"{100 * reached.frames:.1f}): {_settings(sliding, thresholds)}.",
        f"The defaults: {_settings(usual, Thresholds())}.",
        "",
        f"With the chosen settings {cost / seconds:.2f} processor seconds a second of recording, one thread.",
        "",
        *machine("python " + " ".join(sys.argv)),
    ]
    write_page(options.out, lines)


def _settings(sliding: Sliding, thresholds: Thresholds) -> str:
    length, step = sliding.window / sliding.fps, sliding.step / sliding.fps
    return (
        f"windows of {length:.2f} s every {step:.2f} s, enter {thresholds.enter:g}, exit {thresholds.exit:g}"
    )


if __name__ == "__main__":
    main()
