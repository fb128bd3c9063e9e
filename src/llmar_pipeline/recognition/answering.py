"""Who answers for clips: the language model, the codes or the class head; and when they are none of all."""

from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.packing import pad_sentences
from llmar_pipeline.language.sentence import format_sentence
from llmar_pipeline.recognition.open_set import OpenSet
from llmar_pipeline.recognition.stage1_answers import Encoded, Read, code_chances, encode, head_chances
from llmar_pipeline.vqvae.features import feature_rows, mean_of_steps
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.windows import Clips

if TYPE_CHECKING:
    from torch import Tensor

    from llmar_pipeline.language.action_language_model import ActionLanguageModel

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
        none_of_these: It is farther from all classes than the model's threshold; they are still ranked.
    """

    clip: str
    names: tuple[str, ...]
    probabilities: tuple[float, ...]
    bound: float
    codes: tuple[int, ...]
    none_of_these: bool = False

    @property
    def sentence(self) -> str:
        """The action sentence as text, such as "<a17> <a402>"."""
        return format_sentence(self.codes)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it: every field, and the sentence."""
        return {**asdict(self), "sentence": self.sentence}

    def __str__(self) -> str:
        rows = [
            f"{probability:7.1%}  {name}"
            for name, probability in zip(self.names, self.probabilities, strict=True)
        ]
        nearest = [f"none of these (nearest: {self.names[0]})"] if self.none_of_these else []
        return "\n".join([self.clip, *nearest, *rows, f"sentence: {self.sentence}"])


class Answering:
    """A trained model's parts that answer.

    Args:
        vqvae: Writes clips as action sentences; as `load_vqvae` returns it.
        model: Reads them; None where stage 1 alone answers.
        class_names: The class list of the training, where there is no model that knows it.
        votes: What speaks for each class in each code, likewise; see `ActionLanguageModel`.
        open_set: What it knows of its classes, and those that were enrolled; None of a model that does not.
        readings: How often a clip is read.

    Attributes:
        class_names: The class list of the training.
    """

    def __init__(
        self,
        vqvae: VQVAE,
        model: "ActionLanguageModel | None",
        class_names: SequenceOf[str],
        votes: "Tensor | None",
        open_set: OpenSet | None,
        readings: int,
    ) -> None:
        self._vqvae, self._model, self._open_set, self._readings = vqvae, model, open_set, readings
        self.class_names: tuple[str, ...] = tuple(class_names if model is None else model.class_names)
        votes = votes if model is None else model.class_votes
        self._votes = vqvae.code_votes() if votes is None else votes  # of a training before models kept them
        if model is not None:
            from llmar_pipeline.language.label_trie import LabelTrie

            if model.input == "codes":
                model.class_votes = self._votes
            self._trie = lru_cache(_LISTS)(partial(LabelTrie, tokenizer=model.tokenizer))

    def check(self, read: Read, names: SequenceOf[str]) -> None:
        """Refuse what this model cannot be asked.

        Args:
            read: Who is to answer, see `predict`.
            names: To choose from.

        Raises:
            UserError: The model has nobody of that kind, or not for these names.
        """
        if _known(read) == "llm":
            if self._model is None:
                raise UserError("expected the language model, saw it not loaded: load with read='llm'")
            self._trie(tuple(names))
            return
        if read == "head" and not self._vqvae.settings.classifies:
            raise UserError(
                "expected a class head of stage 1, saw a model that was trained without: answer with "
                "--read=llm, or train one with --params=experiment=best (vqvae.auxiliary=class)"
            )
        if read == "codes" and self._votes is None:
            raise UserError(
                "expected what each code says of the classes, saw a model that was trained on features and "
                "keeps none: answer with --read=llm"
            )
        others = [name for name in names if name not in self.class_names]
        if others or not names or len(set(names)) < len(names):
            seen = repr(others[0])[:60] if others else "one of them twice" if names else "none"
            raise UserError(
                f"expected classes of the training with --read={read}, which knows no others, each once, saw "
                f"{seen}; correct the list, or answer with --read=llm"
            )

    def answers(
        self, clips: Clips, titles: SequenceOf[str], names: tuple[str, ...] | None, top_k: int, read: Read
    ) -> Iterator[Answer]:
        """What is said of each of some clips.

        Args:
            clips: Normalised.
            titles: What they are called.
            names: To choose from; None takes those of the training and the enrolled ones, and may refuse all.
            top_k: Names in an answer.
            read: Who answers; `check` has let it pass.

        Raises:
            UserError: A score is not finite.

        Source: "Testing" of Sec. 3.2 of the paper, scored exactly; "codes" and "head": ours.
        """
        encoded = encode(self._vqvae, clips, self._readings)
        bounds = np.zeros(len(titles))
        ranked = self.class_names if names is None else names
        if read == "llm":
            found, bounds = self._asked(encoded, ranked, top_k)
        else:
            found = self._told(encoded, [self.class_names.index(name) for name in ranked], read)
        refused = np.zeros(len(titles), bool)
        if names is None and self._open_set is not None:
            plain = encoded.features.unflatten(0, encoded.codes.shape[:2])[:, 0]
            ranked = (*ranked, *(known.name for known in self._open_set.enrolled))
            found, refused = self._open_set.judge(mean_of_steps(plain), found)
        for number, title in enumerate(titles):
            chances = found[number]
            if not np.isfinite(chances).all():
                raise UserError(
                    f"expected finite scores, saw NaN for {title!r}: stage 2 has diverged, train it "
                    "with a lower learning rate"
                )
            best = np.argsort(-chances, kind="stable")[:top_k]
            yield Answer(
                title,
                tuple(ranked[index] for index in best),
                tuple(float(chances[index]) for index in best),
                float(bounds[number]),
                tuple(encoded.codes[number, 0].tolist()),
                bool(refused[number]),
            )

    def _told(self, encoded: Encoded, labels: list[int], read: Read) -> np.ndarray:
        """What stage 1 alone answers: probabilities."""
        if read == "codes" and self._votes is not None:
            return code_chances(self._votes, encoded, labels)
        told = head_chances(self._vqvae, encoded, labels)
        assert told is not None, "`check` has looked"
        return told

    def _asked(self, encoded: Encoded, names: tuple[str, ...], top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """What the language model answers: probabilities, and by how much they may be wrong."""
        from llmar_pipeline.language.answer import find_names
        from llmar_pipeline.language.name_search import Ask

        assert self._model is not None, "`check` has looked"
        trie, features = self._trie(names), self._model.input == "features"
        flat = encoded.codes.flatten(0, 1).cpu().numpy()
        asked, mask = pad_sentences(list(feature_rows(encoded.features) if features else flat))
        by_clip = encoded.codes.shape[:2]
        asked, mask = asked.unflatten(0, by_clip), mask.unflatten(0, by_clip)
        guesses = self._model.guesses(asked[:, 0], mask[:, 0], trie.class_names)
        found = find_names(self._model, asked, mask, trie, Ask(top_k, _TOLERANCE), guesses=guesses)
        return found.probabilities, found.bounds


def _known(read: str) -> str:
    if read not in get_args(Read):
        raise UserError(f"expected read as one of {', '.join(get_args(Read))}, saw {read!r:.40}")
    return read
