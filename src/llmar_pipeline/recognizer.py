"""A trained model, picked up and used: recordings in, names and action sentences out.

    from llmar_pipeline.recognizer import Recognizer

    recognizer = Recognizer.load("data/06_models/demo/xsub/llm_ar-demo/recognizer")
    print(recognizer.predict("S001C001P001R001A001.skeleton"))

It needs neither Kedro, MLflow nor pandas (see docs/recognizer.md).
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Literal, Self

import numpy as np

from llmar_pipeline.corpora.formats.keypoint_files import SUFFIXES, read_frame_rate
from llmar_pipeline.corpora.own.custom import CUSTOM
from llmar_pipeline.errors import UserError
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import find_names
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.llm_cache import llm_cache
from llmar_pipeline.language.name_search import Ask
from llmar_pipeline.language.packed_linear import pack_linear_layers
from llmar_pipeline.language.packing import pad_sentences
from llmar_pipeline.language.sentence import format_sentence
from llmar_pipeline.language.trained_model import load_model
from llmar_pipeline.recognition.live import Current, People, answers
from llmar_pipeline.recognition.segments import NAMES, Segment, Sliding, Thresholds, Told, find_segments
from llmar_pipeline.recognizer_folder import VQVAE_FOLDER, RecognizerFacts, check_recognizer, corpus_of
from llmar_pipeline.skeletons.normalization import normalize, without_absent
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import Body
from llmar_pipeline.training import processes
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.tokenize import (
    codebook_of,
    encode_readings,
    feature_rows,
    load_vqvae,
    readings_to_recognize,
)
from llmar_pipeline.vqvae.windows import Clips

THRESHOLDS = Thresholds()
"""When an action begins and ends."""

_SHARE = 0.7  # of the model's own frames make a window: less than a clip, so that fewer show two actions
_STEPS = 3  # a window
_LISTS = 8  # of classes, kept as trees
_TOLERANCE = 1e-3  # of a probability, which is shown to that


@dataclass(frozen=True)
class Answer:
    """What a recogniser says of one recording; `print` shows it as a small table.

    Attributes:
        clip: The recording's name.
        names: Class names, the likeliest first; of all classes at most `top_k`.
        probabilities: Of each of them, over the whole class list.
        bound: By how much any of them may be wrong; names and their order are certain.
        codes: The action sentence of the whole recording, 0-based indices into the codebook.
    """

    clip: str
    names: tuple[str, ...]
    probabilities: tuple[float, ...]
    bound: float
    codes: tuple[int, ...]

    @property
    def sentence(self) -> str:
        """The action sentence as text, such as "<a17> <a402>"."""
        return format_sentence(self.codes)

    def __str__(self) -> str:
        rows = [
            f"{probability:7.1%}  {name}"
            for name, probability in zip(self.names, self.probabilities, strict=True)
        ]
        return "\n".join([self.clip, *rows, f"sentence: {self.sentence}"])


class Recognizer:
    """The whole way from a recording to its answer, as the evaluation of the training goes it.

    Args:
        facts: How a recording becomes a clip.
        vqvae: Writes clips as action sentences; as `load_vqvae` returns it.
        model: Reads them.

    Attributes:
        body: What it works on.
        class_names: The class list of the training.
        vertical: Where y points in keypoint files, and in frames that come live.
    """

    def __init__(self, facts: RecognizerFacts, vqvae: VQVAE, model: ActionLanguageModel) -> None:
        self._facts, self._vqvae, self._model = facts, vqvae, model
        self.body: Body = vqvae.body
        self.class_names: tuple[str, ...] = model.class_names
        self.vertical = facts.vertical
        self._corpus = corpus_of(facts, vqvae.body)
        if model.class_votes is None and model.input == "codes":  # of a training before models kept them
            model.class_votes = vqvae.code_votes()
        self._trie = lru_cache(_LISTS)(partial(LabelTrie, tokenizer=model.tokenizer))

    @classmethod
    def load(cls, folder: str | Path, llm: str | None = None, cache: str | Path | None = None) -> Self:
        """Read what the pipeline `lora` wrote.

        Args:
            folder: Of the trained model, `06_models/<dataset>/<protocol>/<run>/recognizer`.
            llm: Where the language model lies by now (a folder or a hub id), if not where it lay in training.
            cache: Folder of converted language models; the user's cache by default.

        Raises:
            UserError: A part of the folder is missing or was changed, or the language model cannot be had or
                is another one.
        """
        folder = Path(folder)
        facts = check_recognizer(folder)
        vqvae = load_vqvae(folder / VQVAE_FOLDER)
        model = load_model(
            folder,
            llm_cache(tempfile.gettempdir()) if cache is None else Path(cache),
            codebook_of(folder / VQVAE_FOLDER),
            # As in the evaluation: in bfloat16 sums drift by up to 1 nat.
            dtype="float32",
            llm=None if llm is None else LLMConfig(model=llm, precision="float32"),
        )
        model = model.to(processes.device())
        pack_linear_layers(model.decoder)
        return cls(facts, vqvae, model)

    def predict(
        self,
        recording: str | Path | Sequence | np.ndarray,
        classes: SequenceOf[str] | None = None,
        top_k: int = 5,
    ) -> Answer:
        """Recognise one recording.

        Args:
            recording: A file of the corpus that the model was trained on, whatever its name; or a sequence,
                or its array `[person, frame, joint, coordinate]`, as such a file would be read: in the
                corpus's units, y up, NaN where a joint is missing.
            classes: Names to choose from in place of the class list of the training.
            top_k: Names in the answer.

        Returns:
            The likeliest names, with their probabilities, and the action sentence.

        Raises:
            UserError: The recording cannot be read or is of another body, or the names are none or not
                different.

        Source: "Testing" of Sec. 3.2 of the paper, scored exactly.
        """
        return next(self.predict_all([recording], classes, top_k))

    def predict_all(
        self,
        recordings: Iterable[str | Path | Sequence | np.ndarray],
        classes: SequenceOf[str] | None = None,
        top_k: int = 5,
        batch_size: int = 32,
    ) -> Iterator[Answer]:
        """Recognise many recordings, several at once, which takes less time a recording.

        Args:
            recordings: As `predict` takes them; read as they are needed.
            classes: Names to choose from in place of the class list of the training.
            top_k: Names in each answer.
            batch_size: Recordings read and recognised together.

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
        trie = self._trie(self.class_names if classes is None else tuple(classes))
        return self._in_batches(iter(recordings), trie, top_k, batch_size)

    def segments(
        self,
        recording: str | Path | Sequence | np.ndarray,
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
        recording: object = None,
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
        waiting: Iterator[str | Path | Sequence | np.ndarray],
        trie: LabelTrie,
        top_k: int,
        batch_size: int,
    ) -> Iterator[Answer]:
        while True:
            read: list[Sequence] = []
            refused: UserError | None = None
            for recording in islice(waiting, batch_size):
                try:
                    read.append(self.read(recording))
                except UserError as error:
                    refused = error
                    break
            if read:
                yield from self._answers(read, trie, top_k)
            if refused is not None:
                raise refused
            if not read:
                return

    def _answers(self, sequences: list[Sequence], trie: LabelTrie, top_k: int) -> Iterator[Answer]:
        steps = self._facts.normalization
        data = [normalize(without_absent(sequence.data), self.body.topology, steps) for sequence in sequences]
        clips = Clips.from_arrays(data, self.body, processes.device())
        readings = [
            reading
            for clip in range(len(data))
            for reading in readings_to_recognize(clips, clip, self._facts.test_readings)
        ]
        features, _ = encode_readings(self._vqvae, clips, readings)
        codes = self._vqvae.nearest_codes(features)
        asked, mask = pad_sentences(
            list(feature_rows(features) if self._model.input == "features" else codes.cpu().numpy())
        )
        by_clip = (len(data), -1)
        asked, mask, of_clips = (rows.unflatten(0, by_clip) for rows in (asked, mask, codes))
        guesses = self._model.guesses(asked[:, 0], mask[:, 0], trie.class_names)
        found = find_names(self._model, asked, mask, trie, Ask(top_k, _TOLERANCE), guesses=guesses)
        for number, sequence in enumerate(sequences):
            chances = found.probabilities[number]
            if not np.isfinite(chances).all():
                raise UserError(
                    f"expected finite scores, saw NaN for {sequence.name!r}: stage 2 has diverged, train it "
                    "with a lower learning rate"
                )
            best = np.argsort(-chances, kind="stable")[:top_k]
            yield Answer(
                sequence.name,
                tuple(trie.class_names[index] for index in best),
                tuple(float(chances[index]) for index in best),
                float(found.bounds[number]),
                tuple(of_clips[number, 0].tolist()),
            )

    def read(self, recording: str | Path | Sequence | np.ndarray) -> Sequence:
        """A recording as the model takes it.

        Args:
            recording: As `predict` takes it.

        Raises:
            UserError: It cannot be read, or is of another body.
        """
        if isinstance(recording, str | Path):
            sequence = self._read_file(Path(recording))
        elif isinstance(recording, Sequence):
            sequence = recording
        else:
            sequence = Sequence("array", np.asarray(recording, np.float32))
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

    def _read_file(self, path: Path) -> Sequence:
        known = SUFFIXES if self._corpus.name == CUSTOM.name else (self._corpus.suffix,)
        if path.suffix.lower() not in known:
            expected = f"a recording of {self._corpus.name} ({', '.join(f'*{suffix}' for suffix in known)})"
            raise SkeletonFileError(expected, f"*{path.suffix}", file=str(path))
        return self._corpus.load(path, named=False)
