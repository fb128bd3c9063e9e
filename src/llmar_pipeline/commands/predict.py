"""`kedro predict`: names for recordings of any format, file by file."""

import csv
import json
import sys
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from llmar_pipeline.corpora.recordings import clips_of, recordings_in
from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.errors import UserError, escaped
from llmar_pipeline.files import whole_file
from llmar_pipeline.progress import Progress
from llmar_pipeline.recognition.stage1_answers import Read
from llmar_pipeline.recognizer import Answer, Recognizer
from llmar_pipeline.recognizer_folder import newest_recognizer
from llmar_pipeline.skeletons.sequence import Sequence

_AT_ONCE = 32  # recordings; more gain little, and wait longer for the first answer
_NAMED = 3  # of the files that are passed over


class Asked(NamedTuple):
    """What is wanted of each recording.

    Attributes:
        classes: Names to choose from; None: those of the training.
        top: Names in an answer.
        read: Who answers.
        form: What the files are; None: what their content says.
        persons: Whether each person, and each pair, gets an answer.
    """

    classes: tuple[str, ...] | None
    top: int
    read: Read
    form: str | None
    persons: bool


def load(model: str | None, asked: Asked) -> Recognizer:
    """The trained model that is asked, and a line on stderr where it was not named.

    Args:
        model: Its folder; None takes the newest.
        asked: What is wanted of it.

    Raises:
        UserError: As of `newest_recognizer`, `Recognizer.load` and `Recognizer.check_read`.
    """
    folder = newest_recognizer() if model is None else Path(model)
    if model is None:
        _say(f"model: {folder} (the newest; --model names another)")
    recognizer = Recognizer.load(folder, read=asked.read)
    recognizer.check_read(asked.read, asked.classes)
    return recognizer


def class_list(text: str | None) -> tuple[str, ...] | None:
    """Names set apart by commas; one with a comma in it stands in quotes.

    Raises:
        UserError: There is none.
    """
    if text is None:
        return None
    try:
        told = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise UserError(f'--classes: expected names such as "wave, clap", saw {error}') from error
    names = tuple(name for name in map(str.strip, told) if name)
    if not names:
        raise UserError(f'--classes={text}: expected names such as "wave, clap", saw none')
    return names


class Prediction:
    """Answers for files and folders, and how many of them there were none for.

    Args:
        recognizer: Who recognises.
        asked: What is wanted.
        as_json: A JSON object a line in place of tables.
        gif: Where the one recording goes as an animation; None: nowhere.

    Attributes:
        failed: Recordings without an answer.
    """

    def __init__(
        self, recognizer: Recognizer, asked: Asked, as_json: bool = False, gif: Path | None = None
    ) -> None:
        self._recognizer, self._asked, self._as_json, self._gif = recognizer, asked, as_json, gif
        self.failed = 0

    def run(self, places: SequenceOf[Path]) -> None:
        """Answer, file by file; whatever has no answer is one line on stderr.

        Args:
            places: Files, and folders of some.

        Raises:
            UserError: An animation of several recordings is asked for.
        """
        clips = list(self._clips(places))
        self._check_one("--gif", self._gif, clips)
        waiting = iter(clips)
        with Progress(total=len(clips), title="recognising", leave=len(clips) > 1) as progress:
            while batch := list(islice(waiting, _AT_ONCE)):
                read = [its for clip in batch for its in self._read(clip)]
                answers = self._recognizer.predict_all(
                    (sequence for _, _, sequence in read),
                    self._asked.classes,
                    self._asked.top,
                    _AT_ONCE,
                    self._asked.read,
                )
                for (clip, who, sequence), answer in zip(read, answers, strict=True):
                    self._show(clip, who, sequence, answer)
                progress.update(len(batch))

    def recordings(self, places: SequenceOf[Path]) -> Iterator[Sequence]:
        """What is read of files and folders; whatever cannot be read is one line on stderr.

        Args:
            places: As `run` takes them.
        """
        for clip in self._clips(places):
            for _, _, sequence in self._read(clip):
                yield sequence

    def _check_one(self, option: str, target: Path | None, clips: SequenceOf[Source]) -> None:
        """Refuse what draws one recording where there are several, or people of one."""
        if target is not None and (len(clips) > 1 or self._asked.persons):
            seen = "--persons" if self._asked.persons else f"{len(clips)}"
            raise UserError(
                f"{option}={target}: expected one recording, of all its people, saw {seen}; name one"
            )

    @staticmethod
    def _title(clip: Source, who: tuple[str, ...]) -> str:
        title = f"{clip.at}: {clip.name}" if clip.member else clip.at
        return f"{title}, {' and '.join(who)}" if who else title

    def _clips(self, places: SequenceOf[Path]) -> Iterator[Source]:
        for place in places:
            try:
                files, others = recordings_in(place, self._refuse)
            except UserError as error:
                self._refuse(error)
                continue
            if others:
                names = ", ".join(path.name for path in others[:_NAMED])
                more = ", ..." if len(others) > _NAMED else ""
                _say(f"{place}: {len(others)} files passed over, no recordings by their names: {names}{more}")
            for file in files:
                try:
                    yield from clips_of(file, self._asked.form)
                except UserError as error:
                    self._refuse(error)

    def _read(self, clip: Source) -> list[tuple[Source, tuple[str, ...], Sequence]]:
        try:
            if self._asked.persons:
                found = self._recognizer.read_people(clip, self._asked.form)
            else:
                found = {(): self._recognizer.read(clip, self._asked.form)}
        except UserError as error:
            self._refuse(error)
            return []
        return [(clip, who, sequence) for who, sequence in found.items()]

    def _show(self, clip: Source, who: tuple[str, ...], sequence: Sequence, answer: Answer) -> None:
        if self._as_json:
            content: dict[str, Any] = {"file": clip.at, "clip": clip.name}
            content |= {"persons": who, "bodies": [body.decision for body in sequence.bodies]} if who else {}
            content |= {key: value for key, value in answer.as_dict().items() if key != "clip"}
            content |= {"remark": sequence.remark} if sequence.remark else {}
            Progress.write(json.dumps(content))
        else:
            title = self._title(clip, who)
            title += "".join(f" ({body.decision})" for body in sequence.bodies if len(who) == 1)
            remark = f"\nnote: {sequence.remark}" if sequence.remark else ""
            Progress.write(escaped("\n".join([title, *str(answer).splitlines()[1:]]) + remark) + "\n")
        if self._gif is not None:
            self._draw(sequence, answer, self._gif)

    def _draw(self, sequence: Sequence, answer: Answer, path: Path) -> None:
        from llmar_pipeline.reporting.animation import animation  # imports matplotlib

        before, after = self._recognizer.reconstruct(sequence)
        topology = self._recognizer.body.topology
        nearest = "none of these, nearest: " * answer.none_of_these
        title = f"{nearest}{answer.names[0]}, {answer.probabilities[0]:.0%}"
        books = self._recognizer.tokens_a_step
        drawn = animation(before, after, topology.bones, title, answer.codes, topology.mirror, books)
        with whole_file(path) as file:
            file.write(drawn)
        _say(f"drawn: {path}")

    def _refuse(self, error: UserError) -> None:
        self.failed += 1
        _say(error.message)


def _say(line: str) -> None:
    Progress.write(escaped(line), file=sys.stderr)
