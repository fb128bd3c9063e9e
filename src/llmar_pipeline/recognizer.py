"""A trained model, picked up and used: recordings in, names and action sentences out.

    from llmar_pipeline.recognizer import Recognizer

    recognizer = Recognizer.load("data/06_models/demo/xsub/llm_ar-demo/recognizer")
    print(recognizer.predict("S001C001P001R001A001.skeleton"))

It needs neither Kedro, MLflow nor pandas (see docs/recognizer.md).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from llmar_pipeline.corpora.formats.keypoint_files import read_frame_rate
from llmar_pipeline.corpora.recordings import clips_of
from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.errors import UserError
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.llm_cache import llm_cache
from llmar_pipeline.language.model_folder import trained_classes, trained_votes
from llmar_pipeline.recognition.answering import Answer, Answering
from llmar_pipeline.recognition.intake import people_of, read_clip
from llmar_pipeline.recognition.live import Current, People, answers
from llmar_pipeline.recognition.open_set import OpenSet, read_open_set
from llmar_pipeline.recognition.segments import NAMES, Segment, Sliding, Thresholds, Told, find_segments
from llmar_pipeline.recognition.stage1_answers import Read
from llmar_pipeline.recognizer_folder import VQVAE_FOLDER, RecognizerFacts, check_recognizer, corpus_of
from llmar_pipeline.skeletons.normalization import normalize, without_absent
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.topology import Body
from llmar_pipeline.training import processes
from llmar_pipeline.vqvae.features import mean_of_steps
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.reconstruction import reconstructed
from llmar_pipeline.vqvae.tokenize import encode_readings
from llmar_pipeline.vqvae.trained import codebook_of, load_vqvae
from llmar_pipeline.vqvae.windows import Clips, stacked

if TYPE_CHECKING:
    from torch import Tensor

    from llmar_pipeline.language.action_language_model import ActionLanguageModel

Recording = str | Path | Source | Sequence | np.ndarray
"""A file, one clip of a file of many, what was read of one, or its array."""

THRESHOLDS = Thresholds()
"""When an action begins and ends."""

_SHARE = 0.7  # of the model's own frames make a window: less than a clip, so that fewer show two actions
_STEPS = 3  # a window


class Recognizer:
    """The whole way from a recording to its answer, as the evaluation of the training goes it.

    Args:
        facts: How a recording becomes a clip.
        vqvae: Writes clips as action sentences; as `load_vqvae` returns it.
        model: Reads them; None where stage 1 alone answers.
        class_names: The class list of the training, where there is no model that knows it.
        votes: What speaks for each class in each code, likewise; see `ActionLanguageModel`.
        read: Who answers where nothing else is asked for.
        open_set: What it knows of its classes, and those that were enrolled; None of a model that does not.

    Attributes:
        body: What it works on.
        class_names: The class list of the training.
        vertical: Where y points in keypoint files, and in frames that come live.
    """

    def __init__(
        self,
        facts: RecognizerFacts,
        vqvae: VQVAE,
        model: ActionLanguageModel | None,
        class_names: SequenceOf[str] = (),
        votes: Tensor | None = None,
        read: Read = "llm",
        open_set: OpenSet | None = None,
    ) -> None:
        self._facts, self._vqvae, self._read_by = facts, vqvae, read
        self.body: Body = vqvae.body
        self.vertical = facts.vertical
        self._corpus = corpus_of(facts, vqvae.body)
        self._answering = Answering(vqvae, model, class_names, votes, open_set, facts.test_readings)
        self.class_names: tuple[str, ...] = self._answering.class_names

    @classmethod
    def load(
        cls,
        folder: str | Path,
        llm: str | None = None,
        cache: str | Path | None = None,
        read: Read = "llm",
    ) -> Self:
        """Read what the pipeline `lora` wrote.

        Args:
            folder: Of the trained model, `06_models/<dataset>/<protocol>/<run>/recognizer`; or one file, as
                `kedro pack` writes it.
            llm: Where the language model lies by now (a folder or a hub id), if not where it lay in training.
            cache: Folder of converted language models; the user's cache by default.
            read: Who answers where nothing else is asked for, see `predict`; without "llm" the language model
                is neither looked for nor loaded.

        Raises:
            UserError: A part of the folder is missing or was changed, or the language model cannot be had or
                is another one.
        """
        folder = Path(folder)
        cache = llm_cache(tempfile.gettempdir()) if cache is None else Path(cache)
        if folder.is_file():
            from llmar_pipeline.recognition.packed import unpacked

            folder, inside = unpacked(folder, cache)
            llm = llm or (None if inside is None else str(inside))
        facts = check_recognizer(folder)
        open_set = read_open_set(folder, facts.stage1)
        vqvae = load_vqvae(folder / VQVAE_FOLDER)
        if read != "llm":
            made = cls(facts, vqvae, None, trained_classes(folder), trained_votes(folder), read, open_set)
            made.check_read(read)
            return made
        from llmar_pipeline.language.trained_model import load_scorer

        model = load_scorer(
            folder,
            cache,
            processes.device(),
            codebook_of(folder / VQVAE_FOLDER),
            None if llm is None else LLMConfig(model=llm, precision="float32"),
        )
        return cls(facts, vqvae, model, open_set=open_set)

    def predict(
        self,
        recording: Recording,
        classes: SequenceOf[str] | None = None,
        top_k: int = 5,
        read: Read | None = None,
    ) -> Answer:
        """Recognise one recording.

        Args:
            recording: A file of any format that the corpora have, whatever its name; or a sequence, or its
                array `[person, frame, joint, coordinate]`, as a file of the training's corpus would be read:
                in its units, y up, NaN where a joint is missing.
            classes: Names to choose from in place of the class list of the training; the language model alone
                knows others.
            top_k: Names in the answer.
            read: Who answers: "llm", the language model; "codes", what each code says by itself, as it was
                counted in training; "head", stage 1's class head. By default as loaded.

        Returns:
            The likeliest names, with their probabilities, and the action sentence.

        Raises:
            UserError: The recording cannot be read or is of another body, the names are none, not different,
                or not known to who answers, or the model has nobody of that kind.

        Source: "Testing" of Sec. 3.2 of the paper, scored exactly; "codes" and "head": ours.
        """
        return next(self.predict_all([recording], classes, top_k, read=read))

    def predict_all(
        self,
        recordings: Iterable[Recording],
        classes: SequenceOf[str] | None = None,
        top_k: int = 5,
        batch_size: int = 32,
        read: Read | None = None,
    ) -> Iterator[Answer]:
        """Recognise many recordings, several at once, which takes less time a recording.

        Args:
            recordings: As `predict` takes them; read as they are needed.
            classes: Names to choose from in place of the class list of the training.
            top_k: Names in each answer.
            batch_size: Recordings read and recognised together.
            read: As of `predict`.

        Returns:
            The answer to each, in their order, as `predict` gives it. All before the first recording that
            cannot be recognised are answered, then it is refused as `predict` refuses it.

        Raises:
            UserError: As `predict`, or a batch of no recordings.

        Source: "Testing" of Sec. 3.2 of the paper, scored exactly.
        """
        if isinstance(classes, str) or min(top_k, batch_size) < 1:
            raise UserError(
                "expected classes as a list of names, top_k and batch_size from 1 on, saw "
                f"classes={classes!r}, top_k={top_k} and batch_size={batch_size}; correct the call of predict"
            )
        names = None if classes is None else tuple(classes)
        read = self._read_by if read is None else read
        self.check_read(read, classes)
        return self._in_batches(iter(recordings), names, top_k, batch_size, read)

    def check_read(self, read: Read, classes: SequenceOf[str] | None = None) -> None:
        """Refuse what this model cannot be asked.

        Args:
            read: Who is to answer, see `predict`.
            classes: Names to choose from; by default those of the training.

        Raises:
            UserError: The model has nobody of that kind, or not for these names.
        """
        self._answering.check(read, self.class_names if classes is None else tuple(classes))

    def read(self, recording: Recording, form: str | None = None) -> Sequence:
        """Read a recording as `predict` does.

        Args:
            recording: As of `predict`.
            form: What the file is, one of `corpora.recordings.FORMATS`; by default its content says so.

        Returns:
            Its data in the joints of `body`; the remark says what was mapped or left out.

        Raises:
            UserError: As `predict`; or the file holds several clips (`corpora.recordings.clips_of`).
        """
        if isinstance(recording, str | Path):
            clips = clips_of(Path(recording), form)
            if len(clips) > 1:
                raise UserError(
                    f"{recording}: expected one clip, saw {len(clips)}; ask for each that "
                    "llmar_pipeline.corpora.recordings.clips_of lists, or type kedro predict"
                )
            recording = clips[0]
        if isinstance(recording, Source):
            sequence = read_clip(recording, self._corpus, self._facts.normalization, form)
        elif isinstance(recording, Sequence):
            sequence = recording
        else:
            sequence = Sequence("array", np.asarray(recording, np.float32))
        return self._fitting(sequence)

    def read_people(self, clip: Source, form: str | None = None) -> dict[tuple[str, ...], Sequence]:
        """Read everyone whom a clip shows, each alone; with a model of two people also each two together.

        Args:
            clip: As `corpora.recordings.clips_of` lists it.
            form: As of `read`.

        Returns:
            By the file's own ids of those who are in it, what `predict` takes for recordings.

        Raises:
            UserError: As `read`.
        """
        everyone = read_clip(clip, self._corpus, self._facts.normalization, form, everyone=True)
        found = people_of(everyone, pairs=self.body.persons > 1)
        return {who: self._fitting(sequence) for who, sequence in found.items()}

    @property
    def tokens_a_step(self) -> int:
        """Codes of an action sentence that stand for one time step."""
        return self._vqvae.tokens_a_step

    def reconstruct(self, sequence: Sequence) -> tuple[np.ndarray, np.ndarray]:
        """The motion that stage 1 sees, and what its action sentence brings back of it.

        Args:
            sequence: As `read` returns it.

        Returns:
            (original, reconstruction), `[person, V, joint, coordinate]`, normalised, NaN where missing.
        """
        clips, settings = self._clips([sequence]), self._vqvae.settings
        motion, mask = clips.windows(stacked([clips.plain(0)]), settings.frames, *settings.streams)
        before, after = reconstructed(self._vqvae, motion, mask)
        return before[0], after[0]

    def segments(
        self,
        recording: Recording,
        fps: float | None = None,
        window_s: float | None = None,
        step_s: float | None = None,
        thresholds: Thresholds = THRESHOLDS,
        classes: SequenceOf[str] | None = None,
    ) -> list[Segment]:
        """Find the actions of a long recording.

        Args:
            recording: As `predict` takes it, of any length.
            fps: Frames a second; by default what the file says, else what the corpus has.
            window_s: Seconds that are recognised at once; by default 0.7 of the model's own frames.
            step_s: Seconds from one window to the next; by default a third of a window.
            thresholds: When an action begins and ends.
            classes: Names to choose from in place of the class list of the training.

        Returns:
            Actions with begin, end, probability and repetitions, in the order of time; moments of no action
            that is sure enough are in none.

        Raises:
            UserError: As `predict`; or the frame rate is not known, or windows or thresholds make no sense.

        Source: ours.
        """
        sequence = self.read(recording)
        sliding = self.sliding(fps, window_s, step_s, recording)
        tell = partial(self._tell, classes=classes)
        return find_segments(sequence, self.body, sliding, thresholds, tell)

    def stream(
        self,
        frames: Iterable[np.ndarray | People],
        fps: float | None = None,
        window_s: float | None = None,
        step_s: float | None = None,
        thresholds: Thresholds = THRESHOLDS,
        classes: SequenceOf[str] | None = None,
        behind: Callable[[], bool] = lambda: False,
        vertical: Literal["up", "down"] = "up",
    ) -> Iterator[Current]:
        """Say what goes on while frames come: an answer at the end of every window.

        It waits for frames and they for it, so of one that is slow none is lost: the windows, and when an
        action begins and ends, are those of `segments`.

        Args:
            frames: Each `[person, joint, coordinate]` with NaN where missing, or persons by their ids, in the
                units of the corpus; a person is the same row, or id, in all frames.
            fps: Frames a second; by default what the corpus has.
            window_s: As of `segments`, like the next three.
            step_s: Seconds from one answer to the next.
            thresholds: When an action begins and ends.
            classes: Names to choose from in place of the class list of the training.
            behind: Whether a newer window is waiting: then this one is left out, and counted.
            vertical: The way y grows.

        Returns:
            What goes on, as it becomes known; `recognition.live.changes` keeps what is news.

        Raises:
            UserError: As `segments`, or a frame is no array of such joints.

        Source: ours.
        """
        sliding = self.sliding(fps, window_s, step_s)
        tell = partial(self._tell, classes=classes)
        return answers(frames, self.body, sliding, thresholds, tell, behind, vertical)

    def sliding(
        self,
        fps: float | None = None,
        window_s: float | None = None,
        step_s: float | None = None,
        recording: Recording | None = None,
    ) -> Sliding:
        """The windows of `segments` and `stream`, which take the same values."""
        if fps is None and isinstance(recording, str | Path):
            fps = read_frame_rate(Path(recording))
        usual = self._corpus.frame_rate
        rate = usual if fps is None else fps
        if rate is None:
            raise UserError(
                "expected a recording that says its frame rate, or a corpus that has a usual one, saw "
                f"neither, for {self._corpus.name}; say it, such as fps=30 (--fps=30)"
            )
        if window_s is None:
            window_s = _SHARE * self._vqvae.settings.frames / (usual or rate)
        return Sliding.of_seconds(rate, window_s, window_s / _STEPS if step_s is None else step_s)

    def _tell(self, windows: Iterable[Sequence], classes: SequenceOf[str] | None) -> Iterator[Told]:
        for answer in self.predict_all(windows, classes, top_k=NAMES):
            yield dict(zip(answer.names, answer.probabilities, strict=True))

    def _in_batches(
        self,
        waiting: Iterator[Recording],
        names: tuple[str, ...] | None,
        top_k: int,
        batch_size: int,
        read: Read,
    ) -> Iterator[Answer]:
        while True:
            sequences: list[Sequence] = []
            refused: UserError | None = None
            for recording in islice(waiting, batch_size):
                try:
                    sequences.append(self.read(recording))
                except UserError as error:
                    refused = error
                    break
            if sequences:
                titles = [sequence.name for sequence in sequences]
                yield from self._answering.answers(self._clips(sequences), titles, names, top_k, read)
            if refused is not None:
                raise refused
            if not sequences:
                return

    def features(self, recordings: Iterable[Recording], batch_size: int = 32) -> np.ndarray:
        """What stage 1 makes of recordings: one vector each, of which alike actions have near ones.

        Args:
            recordings: As `predict` takes them.
            batch_size: Recordings encoded together.

        Returns:
            The mean of each one's features over steps and parts, `[N, du]` float64.

        Raises:
            UserError: As `predict`.

        Source: ours.
        """
        waiting, made = iter(recordings), [np.zeros((0, self._vqvae.settings.code_dim))]
        while read := [self.read(recording) for recording in islice(waiting, batch_size)]:
            clips = self._clips(read)
            readings = [clips.plain(clip) for clip in range(len(read))]
            made.append(mean_of_steps(encode_readings(self._vqvae, clips, readings)[0]))
        return np.concatenate(made)

    def _clips(self, sequences: list[Sequence]) -> Clips:
        steps = self._facts.normalization
        data = [normalize(without_absent(sequence.data), self.body.topology, steps) for sequence in sequences]
        return Clips.from_arrays(data, self.body, processes.device())

    def _fitting(self, sequence: Sequence) -> Sequence:
        persons, _, *joints = sequence.data.shape
        topology = self.body.topology
        if joints != [len(topology.joints), topology.coordinates] or persons > self.body.persons:
            raise UserError(
                f"expected a recording of {self.body} at most, saw {list(sequence.data.shape)} as [person, "
                f"frame, joint, coordinate] in {sequence.name!r}; load the model that was trained for it"
            )
        if np.isinf(sequence.data).any() or np.isnan(sequence.data).all():
            raise UserError(
                "expected coordinates that are numbers, or NaN for a missing joint, and not all missing, saw "
                f"others in {sequence.name!r}; leave it out"
            )
        return sequence
