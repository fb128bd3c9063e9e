"""Classes that are added to a trained model by a few examples, without training."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmar_pipeline.errors import UserError, is_safe
from llmar_pipeline.holders import hold
from llmar_pipeline.recognition.beside import read_beside, write_beside
from llmar_pipeline.records import ADDED

LONGEST = 100
"""Characters of a name."""


@dataclass(frozen=True)
class Enrolled:
    """A class that was added to a trained model.

    Attributes:
        name: Of the class.
        clips: Names of its examples.
        features: Of each, the mean of what stage 1 makes of it, `[k, du]`.
    """

    name: str
    clips: tuple[str, ...]
    features: np.ndarray


def check_name(name: str, taken: Collection[str]) -> None:
    """Refuse a name that no class can have.

    Args:
        name: Of the class to be added.
        taken: Names of the classes that there are.

    Raises:
        UserError: It is empty, too long, not of one line, or taken.
    """
    if not name.strip() or name != name.strip() or len(name) > LONGEST or not is_safe(name):
        raise UserError(
            f"expected a name of 1 to {LONGEST} characters on one line, without spaces around it, saw "
            f"{name[:LONGEST]!r}; type another --name"
        )
    if same := [known for known in taken if known.casefold() == name.casefold()]:
        raise UserError(
            f"expected the name of a class that the model does not have, saw {same[0]!r}; type another "
            "--name, or take an enrolled class away first: kedro enrol --remove NAME"
        )


def enrol(recognizer: Path, enrolled: Enrolled, stage1: str, trained: Collection[str]) -> None:
    """Add a class to a trained model; of several processes at once none loses what another one adds.

    Args:
        recognizer: Folder of the model.
        enrolled: The class.
        stage1: Checksum of the VQ-VAE's weights that made its features.
        trained: Names of the model's own classes.

    Raises:
        UserError: No class can have its name, or it has it.

    Source: ours.
    """
    with hold(_folder(recognizer), wait=True):
        check_name(enrolled.name, [*trained, *(known.name for known in enrolled_classes(recognizer, stage1))])
        facts = {"name": enrolled.name, "clips": list(enrolled.clips)}
        numbers = {"features": enrolled.features.astype(np.float32)}
        write_beside(_place(recognizer, enrolled.name), facts, numbers, stage1)


def enrolled_classes(recognizer: Path, stage1: str) -> list[Enrolled]:
    """The classes that were added to a trained model, by name.

    Args:
        recognizer: Folder of the model.
        stage1: Checksum of its VQ-VAE's weights.

    Raises:
        UserError: One is damaged, or was added to another model.

    Source: ours.
    """
    found = []
    for path in _folder(recognizer).glob("*.json"):
        again = f"remove {path.name} and the .safetensors of that name, and enrol the class again"
        facts, numbers = read_beside(path, stage1, again)
        found.append(Enrolled(facts["name"], tuple(facts["clips"]), numbers["features"]))
    return sorted(found, key=lambda known: known.name)


def remove(recognizer: Path, name: str) -> None:
    """Take an added class away again, be it damaged or of another model.

    Args:
        recognizer: Folder of the model.
        name: Of the class.

    Raises:
        UserError: No class of that name was added.

    Source: ours.
    """
    path = _place(recognizer, name)
    if not path.is_file():
        raise UserError(
            f"expected the name of an enrolled class, saw {name!r}, which is none of {recognizer}; "
            "`kedro enrol --list` shows those that there are"
        )
    with hold(_folder(recognizer), wait=True):
        path.unlink(missing_ok=True)
        path.with_suffix(".safetensors").unlink(missing_ok=True)


def _folder(recognizer: Path) -> Path:
    return recognizer / ADDED / "enrolled"


def _place(recognizer: Path, name: str) -> Path:
    """A class's file: any name, in any script, has one of its own."""
    return (
        _folder(recognizer) / f"{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:16]}.json"
    )
