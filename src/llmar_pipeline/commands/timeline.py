"""`kedro predict --segments` and `--timeline`: which action a long recording shows when."""

import json
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import Any, NamedTuple

from llmar_pipeline.commands.predict import Asked, Prediction
from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.errors import UserError, escaped
from llmar_pipeline.files import whole_file
from llmar_pipeline.progress import Progress
from llmar_pipeline.recognition.segments import Segment, Thresholds
from llmar_pipeline.recognizer import Recognizer
from llmar_pipeline.skeletons.sequence import Sequence


class Windows(NamedTuple):
    """Of windows and answers, as `Recognizer.segments` takes them; `kedro watch` has the same."""

    fps: float | None
    window_s: float | None
    step_s: float | None
    thresholds: Thresholds


class Segmentation(Prediction):
    """Segments of files and folders, and how many of them there were none for.

    Args:
        recognizer: Who recognises.
        asked: What is wanted.
        windows: Where the windows are, and when an action begins and ends.
        as_json: A JSON object a recording in place of lines.
        page: Where the timeline of the one recording goes; None: nowhere.

    Attributes:
        failed: Recordings without an answer.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        asked: Asked,
        windows: Windows,
        as_json: bool = False,
        page: Path | None = None,
    ) -> None:
        super().__init__(recognizer, asked, as_json)
        self._windows, self._page = windows, page

    def run(self, places: SequenceOf[Path]) -> None:
        """Answer, file by file; whatever has no answer is one line on stderr.

        Args:
            places: Files, and folders of some.

        Raises:
            UserError: A timeline of several recordings is asked for.
        """
        clips = list(self._clips(places))
        self._check_one("--timeline", self._page, clips)
        for clip in clips:
            for _, who, sequence in self._read(clip):
                try:
                    self._segments_of(clip, who, sequence)
                except UserError as error:
                    self._refuse(error)

    def _segments_of(self, clip: Source, who: tuple[str, ...], sequence: Sequence) -> None:
        recognizer, (fps, window_s, step_s, thresholds) = self._recognizer, self._windows
        rate = recognizer.sliding(fps, window_s, step_s, None if clip.member else clip.path).fps
        classes = self._asked.classes
        found = recognizer.segments(sequence, rate, window_s, step_s, thresholds, classes)
        if self._as_json:
            persons = {"persons": who} if who else {}
            remark = {"remark": sequence.remark} if sequence.remark else {}
            content = {"file": clip.at, "clip": clip.name, **persons, "fps": rate, **remark}
            Progress.write(json.dumps({**content, "segments": [_as_dict(one) for one in found]}))
        else:
            lines = [str(one) for one in found] or ["  no action that is sure enough"]
            lines += [f"note: {sequence.remark}"] if sequence.remark else []
            Progress.write(escaped("\n".join([self._title(clip, who), *lines])) + "\n")
        if self._page is not None:
            from llmar_pipeline.reporting.timeline import render_timeline  # imports plotly

            page = render_timeline(sequence, recognizer.body.topology, found, rate)
            with whole_file(self._page) as file:
                file.write(page.encode())


def _as_dict(one: Segment) -> dict[str, Any]:
    return {
        "name": one.name,
        "probability": round(one.probability, 4),
        "begin": one.begin,
        "end": one.end,
        "begin_s": round(one.begin_s, 3),
        "end_s": round(one.end_s, 3),
        "repetitions": one.repetitions,
    }
