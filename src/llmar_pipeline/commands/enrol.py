"""`kedro enrol`: classes added to a trained model by a few examples, shown, and taken away again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.model_folder import trained_classes, trained_votes
from llmar_pipeline.recognition import enrolment
from llmar_pipeline.recognition.known_classes import no_known_classes, read_known
from llmar_pipeline.recognizer_folder import check_recognizer

if TYPE_CHECKING:
    from llmar_pipeline.recognizer import Recognizer


def enrol(folder: Path, name: str, files: Sequence[Path]) -> str:
    """Add a class to a trained model.

    Args:
        folder: Of the recogniser.
        name: Of the class.
        files: Recordings of it, as `Recognizer.predict` takes them.

    Returns:
        A line that says so.

    Raises:
        UserError: No files, the same twice, one that cannot be read or is of another body; a name that no
            class can have, or that one has already; a model from before models knew their classes so.
    """
    if not files:
        raise UserError(
            f"expected recordings of {name!r} to learn it from, saw none; type "
            'kedro enrol --name "wave with both arms" FILE FILE FILE'
        )
    if len({file.resolve() for file in files}) < len(files):
        raise UserError(f"expected different recordings of {name!r}, saw one of them twice; leave it out")
    facts, trained = check_recognizer(folder), trained_classes(folder)
    if read_known(folder) is None:
        raise UserError(no_known_classes(folder))
    enrolment.check_name(name, trained)
    features = load_for_features(folder).features(files)
    clips = tuple(file.stem for file in files)
    enrolment.enrol(folder, enrolment.Enrolled(name, clips, features), facts.stage1, trained)
    return f"{name}: enrolled by {len(files)} recording{'s' * (len(files) > 1)}, beside {folder}"


def load_for_features(folder: Path) -> Recognizer:
    """A trained model without its language model, where it can do without."""
    from llmar_pipeline.recognizer import Recognizer  # imports torch

    return Recognizer.load(folder, read="llm" if trained_votes(folder) is None else "codes")


def listed(folder: Path) -> list[str]:
    """A line an enrolled class: its name, and from how many recordings; one that says so where there is none.

    Args:
        folder: Of the recogniser.

    Raises:
        UserError: One is damaged, or was added to another model.
    """
    known = enrolment.enrolled_classes(folder, check_recognizer(folder).stage1)
    lines = [f"{each.name}: {len(each.clips)} ({', '.join(each.clips)})" for each in known]
    return lines or [f"no class is enrolled beside {folder}"]
