"""A `kedro run` that writes down where its time goes: a stage, and what is done in it.

    python benchmarks/clocks.py times.json run [options of kedro run]

Functions are wrapped from outside once their module is imported; what calls another one that is listed is not
charged for it. What worker processes do counts as the wall time in which they are waited for.
"""

import functools
import importlib._bootstrap as bootstrap
import json
import resource
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

WHAT = ("training", "encoding", "scoring", "controls", "imports", "MLflow", "checks", "pictures", "other")
"""Columns. Controls: answers without a language model, trained and asked. Checks: what precedes a run."""
MODELS = WHAT[:4]
"""Training and scoring, of codes, names and controls."""
WATCHED = {  # module: attribute -> column
    "transformers.trainer": {"Trainer.train": "training"},
    "llmar_pipeline.vqvae.tokenize": {"encode_readings": "encoding"},
    "llmar_pipeline.vqvae.reconstruction": {"reconstruction_error": "encoding"},
    "llmar_pipeline.evaluation.answers": dict.fromkeys(
        ("find_names", "score_classes", "generate_names"), "scoring"
    ),
    "llmar_pipeline.evaluation.baselines": {"bag_of_codes": "controls", "head_answers": "controls"},
    "llmar_pipeline.evaluation.code_transformer": {"code_transformer": "controls"},
    "llmar_pipeline.evaluation.nearest_neighbour": {"nearest_neighbour": "controls"},
    "llmar_pipeline.evaluation.text_read_out": {"text_read_out": "controls"},
    "llmar_pipeline.io.tracking": {"TrackedRun.start": "MLflow", "TrackedRun._tell": "MLflow"},
    "llmar_pipeline.hooks.preflight": {"PreflightHook.before_pipeline_run": "checks"},
    "llmar_pipeline.reporting.code_description": {"film_strips": "pictures", "animation": "pictures"},
    "llmar_pipeline.reporting.report_figures": {"draw_figures": "pictures"},
    "llmar_pipeline.reporting.report": {"render_report": "pictures"},
}


class Clocks:
    """Seconds by stage and column, of the wall's clock and of the processors'.

    The main thread's doings count; a stage's clock runs until the next one begins.
    """

    def __init__(self) -> None:
        self.stage, self.seconds = "start", defaultdict[str, dict[str, list[float]]](dict)
        self.peaks: dict[str, int] = {}
        self._doing, self._last = ["other"], _now()

    def charge(self) -> None:
        """Book the time since the last booking on what is being done."""
        now = _now()
        booked = self.seconds[self.stage].get(self._doing[-1], [0.0, 0.0])
        passed = [after - before for after, before in zip(now, self._last, strict=True)]
        self.seconds[self.stage][self._doing[-1]] = [a + b for a, b in zip(booked, passed, strict=True)]
        self.peaks[self.stage] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._last = now

    def enter(self, stage: str) -> None:
        """Another stage begins."""
        if stage != self.stage:
            self.charge()
            self.stage = stage

    def timed(self, function: Callable[..., Any], what: str) -> Callable[..., Any]:
        """The function, charged to a column."""

        @functools.wraps(function)
        def call(*arguments: Any, **settings: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return function(*arguments, **settings)
            self.charge()
            self._doing.append(what)
            try:
                return function(*arguments, **settings)
            finally:
                self.charge()
                self._doing.pop()

        return call

    def watch(self) -> None:
        """Wrap imports, and what is `WATCHED` as soon as it is imported."""
        find = bootstrap._find_and_load

        def load(name: str, import_: Any) -> Any:
            module = find(name, import_)
            for attribute, what in WATCHED.pop(name, {}).items():
                owner, _, last = f"module.{attribute}".rpartition(".")
                owner = functools.reduce(getattr, owner.split(".")[1:], module)
                function = vars(owner)[last]
                if isinstance(function, classmethod):
                    setattr(owner, last, classmethod(self.timed(function.__func__, what)))
                else:
                    setattr(owner, last, self.timed(function, what))
            return module

        bootstrap._find_and_load = self.timed(load, "imports")


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def main() -> None:
    clocks, times = Clocks(), Path(sys.argv[1])
    sys.argv = ["kedro", *sys.argv[2:]]
    clocks.watch()
    from kedro.framework.cli import main as kedro
    from kedro.runner.task import Task

    execute = Task.execute

    def at_stage(task: Any) -> Any:
        clocks.enter(task.node.name.split(".")[0])
        return execute(task)

    Task.execute = at_stage
    try:
        kedro()
    finally:
        clocks.charge()
        times.write_text(json.dumps({"seconds": clocks.seconds, "peaks": clocks.peaks}), encoding="utf-8")


if __name__ == "__main__":
    main()
