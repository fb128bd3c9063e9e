"""How long a run will take on this machine, in one line."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llmar_pipeline import machine
from llmar_pipeline.errors import UserError
from llmar_pipeline.estimate.reading import look
from llmar_pipeline.estimate.stages import StageTime, precision_of, stage_times
from llmar_pipeline.ingestion.survey import Survey

HOURS = 2 * 3600
"""Seconds from which on a run is told how to be shorter."""


class Outlook(NamedTuple):
    """What can be known beforehand.

    Attributes:
        times: One entry a stage that could be estimated, `start` before them.
        known: What the numbers rest on, in words.
        unknown: Why there are none; empty where there are.
    """

    times: list[StageTime]
    known: str
    unknown: str

    @property
    def seconds(self) -> float:
        """Of all stages together, as far as they are known."""
        return sum(time.seconds for time in self.times if not math.isnan(time.seconds))

    def line(self, size: str) -> str:
        """All of it in one line, with a hint where it will be hours.

        Args:
            size: The size that was chosen.
        """
        if self.unknown:
            return f"how long this takes cannot be known: {self.unknown}"
        each = ", ".join(f"{time.stage} {in_words(time.seconds)}" for time in self.times)
        return f"about {in_words(self.seconds)}: {each} ({self.known}){self.hint(size)}"

    def hint(self, size: str) -> str:
        """What to do where it will be hours; empty where it will not."""
        if self.seconds < HOURS:
            return ""
        smaller = {"paper": "gpu", "qlora": "gpu", "gpu": "laptop"}.get(size, "demo")
        return f"; for less, take a smaller size (--params=size={smaller}) or a machine with a GPU"


def outlook(
    selection: Mapping[str, Any],
    parameters: Mapping[str, Any],
    llm_cache: Path,
    stages: Sequence[str],
    found: Survey | None = None,
    officially: bool = False,
) -> Outlook:
    """Estimate the stages of a run; never an error, since no run should end for it.

    Args:
        selection: The configuration's globals, selectors resolved.
        parameters: The merged parameters.
        llm_cache: Folder of converted language models.
        stages: Which of the seven.
        found: What lies in the folder of recordings, if it was looked at already.
        officially: Whether official counts may stand for recordings that are not there.

    Source: ours.
    """
    try:
        recordings = look(selection, parameters, found, officially)
        speeds = measured_speeds(parameters)
        times = stage_times(recordings, selection, parameters, llm_cache, speeds, stages)
    except UserError as error:
        return Outlook([], "", error.message.split(";")[0])  # what to do is said where it stops the run
    except Exception as error:  # a guess that fails is no reason to stop
        return Outlook([], "", f"{type(error).__name__}: {error}")
    rates = ", ".join(f"{speed / 1e9:,.0f} GFLOP/s in {name}" for name, speed in speeds.items())
    return Outlook(times, f"{recordings.known}; measured {rates}", "")


def measured_speeds(parameters: Mapping[str, Any]) -> dict[str, float]:
    """Number type that the run computes in -> operations a second of large products."""
    names = {"float32": None, precision_of(parameters): None, parameters["vqvae_training"]["precision"]: None}
    return {name: machine.speed(name) for name in names}


def in_words(seconds: float) -> str:
    """A duration, with two digits as a rule: 0.4 s, 8.0 s, 14 s, 1.5 min, 2.2 h."""
    if math.isnan(seconds):
        return "unknown"
    value, unit = (seconds, "s") if seconds < 100 else (seconds / 60, "min")
    value, unit = (value, unit) if seconds < 6000 else (seconds / 3600, "h")
    return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
