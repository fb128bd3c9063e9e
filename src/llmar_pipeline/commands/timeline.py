"""The segments of one file: found, printed, drawn; `--segments` and `--timeline` of `kedro predict`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmar_pipeline.files import whole_file
from llmar_pipeline.recognition.segments import Segment, Thresholds
from llmar_pipeline.recognizer import THRESHOLDS, Recognizer
from llmar_pipeline.reporting.timeline import render_timeline


def show_segments(
    recognizer: Recognizer,
    file: Path,
    say: Callable[[str], None],
    page: Path | None = None,
    as_json: bool = False,
    fps: float | None = None,
    window_s: float | None = None,
    step_s: float | None = None,
    thresholds: Thresholds = THRESHOLDS,
    classes: list[str] | None = None,
) -> list[Segment]:
    """Find the actions of a recording, and say them line by line.

    Args:
        recognizer: The trained model.
        file: The recording.
        say: Prints a line.
        page: Where the timeline goes; None draws none.
        as_json: Say all of them as one JSON object.
        fps: As of `Recognizer.segments`, like what follows.
        window_s: Seconds recognised at once.
        step_s: Seconds from one window to the next.
        thresholds: When an action begins and ends.
        classes: Names to choose from.

    Returns:
        The segments.

    Raises:
        UserError: As `Recognizer.segments`.
    """
    sequence = recognizer.read(file)
    sliding = recognizer.sliding(fps, window_s, step_s, file)
    found = recognizer.segments(sequence, sliding.fps, window_s, step_s, thresholds, classes)
    record = _record(sequence.name, sliding.fps, found)
    say(json.dumps(record, ensure_ascii=False) if as_json else sequence.name)
    for segment in () if as_json else found:
        say(str(segment))
    if page is not None:
        html = render_timeline(sequence, recognizer.body.topology, found, sliding.fps)
        with whole_file(page) as target:
            target.write(html.encode())
    return found


def _record(name: str, fps: float, found: list[Segment]) -> dict[str, Any]:
    of_each = [
        {
            "name": one.name,
            "probability": round(one.probability, 4),
            "begin": one.begin,
            "end": one.end,
            "begin_s": round(one.begin_s, 3),
            "end_s": round(one.end_s, 3),
            "repetitions": one.repetitions,
        }
        for one in found
    ]
    return {"clip": name, "fps": fps, "segments": of_each}
