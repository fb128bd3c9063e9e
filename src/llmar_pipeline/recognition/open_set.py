"""A trained model's classes as an open set: others can be added, and a recording can be none of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition.beside import read_beside, write_beside
from llmar_pipeline.recognition.enrolment import Enrolled, enrolled_classes
from llmar_pipeline.recognition.known_classes import read_known
from llmar_pipeline.recognition.prototypes import Prototypes
from llmar_pipeline.recognition.refusal import Refusal, log_shares
from llmar_pipeline.recognizer_folder import check_recognizer
from llmar_pipeline.records import ADDED

_DISTANCES = "held_out_distances"
NO_HELD_OUT = (
    "expected a model with clips that were held out from its training, saw none; train a twin with "
    "--params=val_share=0.1, or one on each fold of `kedro tune`, and name it: kedro threshold TWIN"
)


@dataclass(frozen=True)
class OpenSet:
    """What a model knows of its own classes, and the classes that were added.

    Attributes:
        prototypes: Of its own classes.
        refusal: When a recording is none of them.
        enrolled: The added ones.
    """

    prototypes: Prototypes
    refusal: Refusal
    enrolled: tuple[Enrolled, ...] = ()

    def judge(self, features: np.ndarray, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rank added classes with the model's own, and tell what is none of both.

        Distances to prototypes say how likely each added class is; what they leave is shared out among the
        model's own classes as the model has it.

        Args:
            features: Of recordings, as `Recognizer.features` gives them, `[N, du]`.
            chances: What the model says, probabilities of its own classes, `[N, C]`.

        Returns:
            Probabilities of its own and then of the added classes, `[N, C + E]`; whether a recording is
            farther from all of them than the threshold, `[N]`.

        Source: ours.
        """
        distances = self._each(features)
        added = np.exp(log_shares(distances, self.refusal.temperature))[:, len(self.prototypes.counts) :]
        left = 1 - added.sum(axis=1, keepdims=True)
        return np.hstack([chances * left, added]), distances.min(axis=1) > self.refusal.threshold

    def distances(self, features: np.ndarray) -> np.ndarray:
        """How far recordings are from the nearest class, its own or an added one, squared.

        Args:
            features: As `judge` takes them, `[N, du]`.

        Returns:
            `[N]`.

        Source: ours.
        """
        nearest: np.ndarray = self._each(features).min(axis=1)
        return nearest

    def _each(self, features: np.ndarray) -> np.ndarray:
        return self.prototypes.added([known.features for known in self.enrolled]).distances(features)


def read_open_set(recognizer: Path, stage1: str) -> OpenSet | None:
    """The open set of a trained model; None of one that was trained before models knew their classes so.

    Args:
        recognizer: Folder of the model, which is whole.
        stage1: Checksum of its VQ-VAE's weights, as `recognizer.json` has it.

    Raises:
        UserError: An added class or threshold is damaged, or of another model.

    Source: ours.
    """
    known = read_known(recognizer)
    if known is None:
        return None
    prototypes, refusal = known
    path = _threshold(recognizer)
    if path.is_file():
        facts, numbers = read_beside(path, stage1, f"choose it again by `kedro threshold`, or remove {path}")
        refusal = Refusal(numbers[_DISTANCES].astype(np.float64), facts["temperature"], facts["kept"])
    return OpenSet(prototypes, refusal, tuple(enrolled_classes(recognizer, stage1)))


def choose_refusal(recognizer: Path, refusals: Sequence[Refusal], kept: float) -> Refusal:
    """Have a model refuse by what held-out clips said, its own or those of other trainings of the same kind.

    Args:
        recognizer: Folder of the model.
        refusals: Whose clips count.
        kept: Share of them that is to be kept.

    Returns:
        By all their clips together; its temperature is the geometric mean of theirs.

    Raises:
        UserError: No clip was held out in any of them, or the share is none.

    Source: ours.
    """
    if not 0 < kept <= 1:
        raise UserError(f"expected a share to be kept above 0 and at most 1, saw {kept:g} (--keep=0.95)")
    told = [refusal for refusal in refusals if len(refusal.distances)]
    if not told:
        raise UserError(NO_HELD_OUT)
    temperature = float(np.exp(np.mean(np.log([refusal.temperature for refusal in told]))))
    chosen = Refusal(np.concatenate([refusal.distances for refusal in told]), temperature, kept)
    numbers = {_DISTANCES: chosen.distances.astype(np.float32)}
    stage1 = check_recognizer(recognizer).stage1
    write_beside(_threshold(recognizer), {"temperature": temperature, "kept": kept}, numbers, stage1)
    return chosen


def _threshold(recognizer: Path) -> Path:
    return recognizer / ADDED / "threshold.json"
