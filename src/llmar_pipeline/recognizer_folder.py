"""The folder of a trained recogniser: one, and whole without the project around it."""

import logging
import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from llmar_pipeline.corpora import CORPORA, Corpus
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.own.custom import CUSTOM
from llmar_pipeline.errors import UserError
from llmar_pipeline.files import file_checksum, set_aside, whole_file
from llmar_pipeline.language.model_folder import model_files, trained_classes
from llmar_pipeline.records import ADDED, read_sealed, write_sealed
from llmar_pipeline.skeletons.normalization import NormalizationConfig
from llmar_pipeline.skeletons.topology import Body
from llmar_pipeline.vqvae.initial_weights import NEW, InitialWeights

logger = logging.getLogger(__name__)

MODELS = Path("data", "06_models")
MANIFEST = "recognizer.json"
CARD = "README.md"
VQVAE_FOLDER = "vqvae"
KNOWN_CLASSES = "known_classes.safetensors"
_OF_VQVAE = ("model.safetensors", "config.json")
_AGAIN = "copy the whole folder again, or run `kedro run --pipelines=stage2`"


class RecognizerFacts(BaseModel):
    """The content of `recognizer.json`: how a recording becomes a clip, and what else belongs to the folder.

    What other files of the folder say is not said again: body, V and stream are in `vqvae/config.json`, class
    list, instruction and language model in `language_model.json`.

    Attributes:
        format: Of the folder.
        corpus: Name of the corpus whose reader reads files.
        units: Of the coordinates in the recordings.
        vertical: Where y points in keypoint files; what is read has y up.
        normalization: Which steps are taken.
        test_readings: How often a clip is read.
        files: SHA-256 of every file that recognising reads, by its path in the folder. What is added to a
            model later lies in files of its own beside these, and is none of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    corpus: str
    units: Literal["metres", "pixels"]
    vertical: Literal["up", "down"]
    normalization: NormalizationConfig
    test_readings: int = 1
    files: dict[str, str]

    @property
    def stage1(self) -> str:
        """Checksum of the VQ-VAE's weights: what is added to the model later belongs to them."""
        return self.files[f"{VQVAE_FOLDER}/{_OF_VQVAE[0]}"]


def complete_recognizer(
    folder: Path,
    vqvae: Path,
    normalization: NormalizationConfig,
    corpus: CorpusFacts,
    test_readings: int = 1,
) -> Path:
    """Make the folder of a trained language model that of a whole recogniser.

    The VQ-VAE is copied into it; `recognizer.json` is written last, so a folder that holds it is complete.
    What was added to an earlier model in the same folder is set aside beside it, if that had another stage 1.
    Its model card, `README.md`, is written once it has been evaluated.

    Args:
        folder: As `save_model` left it.
        vqvae: Folder of the trained VQ-VAE that made its action sentences.
        normalization: Which steps made the sequences.
        corpus: Whose recordings they are.
        test_readings: How often a clip is read that is to be recognised.

    Returns:
        `folder`.

    Source: ours.
    """
    for name in (MANIFEST, CARD):  # peft's card, which knows of adapters alone, or that of an earlier model
        (folder / name).unlink(missing_ok=True)
    weights, earlier = vqvae / _OF_VQVAE[0], folder / VQVAE_FOLDER / _OF_VQVAE[0]
    same = earlier.is_file() and file_checksum(earlier) == file_checksum(weights)
    if (folder / ADDED).is_dir() and not same:
        aside = folder.with_name(f"{folder.name}-{ADDED}")
        if aside.exists():
            set_aside(aside)
        (folder / ADDED).rename(aside)
        logger.info("%s was added to an earlier model: set aside as %s", folder / ADDED, aside)
    for name in _OF_VQVAE:
        with (vqvae / name).open("rb") as source, whole_file(folder / VQVAE_FOLDER / name) as target:
            shutil.copyfileobj(source, target)
    known = [folder / KNOWN_CLASSES] if (folder / KNOWN_CLASSES).is_file() else []
    members = [*model_files(folder), *known, *(folder / VQVAE_FOLDER / name for name in _OF_VQVAE)]
    facts = RecognizerFacts(
        corpus=corpus.name,
        units=corpus.units,
        vertical=corpus.vertical,
        normalization=normalization,
        test_readings=test_readings,
        files={file.relative_to(folder).as_posix(): file_checksum(file) for file in members},
    )
    write_sealed(folder / MANIFEST, facts.model_dump(mode="json"))
    return folder


def newest_recognizer(models: Path = MODELS) -> Path:
    """The folder of the recogniser that was trained last.

    Args:
        models: Folder of models.

    Raises:
        UserError: There is none.

    Source: ours.
    """
    found = models.glob(f"*/*/*/recognizer/{MANIFEST}")
    newest = max(found, key=lambda file: file.stat().st_mtime_ns, default=None)
    if newest is None:
        raise UserError(
            f"expected a trained model below {models}, saw none; train one by `kedro run`, or name its "
            "folder: --model data/06_models/<dataset>/<protocol>/<run>/recognizer"
        )
    return newest.parent


def check_recognizer(folder: Path, again: str = _AGAIN) -> RecognizerFacts:
    """Read `recognizer.json`, and make sure that every file it names is there and unchanged.

    Args:
        folder: Of a whole recogniser.
        again: What to do where it is not whole.

    Raises:
        UserError: A file is missing, or not the one that was written.

    Source: ours.
    """
    path = folder / MANIFEST
    if not path.is_file():
        seen = "an incomplete one" if folder.is_dir() else "no such folder"
        raise UserError(
            f"expected the folder of a trained recogniser with {MANIFEST}, saw {seen}: {folder}; {again}"
        )
    try:
        facts = RecognizerFacts.model_validate(read_sealed(path))
    except (OSError, ValueError) as error:  # pydantic's are ValueErrors
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"expected {MANIFEST} as training writes it, saw {path} ({reason}); {again}"
        ) from error
    for name, checksum in facts.files.items():
        if not (folder / name).is_file():
            raise UserError(f"expected the file {name} of the recogniser, saw none in {folder}; {again}")
        _check(folder / name, checksum, file_checksum(folder / name), again)
    return facts


def check_initial(folder: Path) -> RecognizerFacts:
    """Make sure that a training can start from a folder: `check_recognizer`, with what to do here."""
    return check_recognizer(
        folder, "init_from takes the whole folder `recognizer` of a trained model; leave it out to start anew"
    )


def initial_vqvae(folder: Path, class_names: Sequence[str], unseen: Collection[str] = ()) -> InitialWeights:
    """The VQ-VAE of a trained recogniser, for a training that starts from it.

    Args:
        folder: Of the recogniser.
        class_names: Of the training to come, in the order of its labels.
        unseen: Names of classes that it must not know.

    Raises:
        UserError: As of `check_recognizer`; or it was trained on an unseen class.

    Source: ours.
    """
    check_initial(folder)
    known = trained_classes(folder)
    if leaked := sorted(set(unseen) & set(known)):
        raise UserError(
            f"init_from: expected a model that was not trained on the unseen classes, saw {leaked[0]!r} "
            f"among the classes of {folder}; start from another one, or anew"
        )
    numbers = tuple(known.index(name) if name in known else NEW for name in class_names)
    return InitialWeights(folder / VQVAE_FOLDER, numbers)


def corpus_of(facts: RecognizerFacts, body: Body) -> Corpus:
    """Who reads the files: the corpus of the training; a user's own by what its folder said of it.

    Args:
        facts: Of the trained model.
        body: What its VQ-VAE works on.

    Raises:
        UserError: This version has no such corpus, or it is of another body.
    """
    corpus = CORPORA.get(facts.corpus)
    if corpus is not None and facts.corpus == CUSTOM.name:
        return replace(
            corpus,
            topology=body.topology,
            persons=body.persons,
            units=facts.units,
            vertical=facts.vertical,
        )
    if corpus is None or Body(corpus.topology, corpus.persons) != body:
        raise UserError(
            f"expected the corpus {facts.corpus} with recordings of {body}, as in training, saw "
            f"{'none of that name' if corpus is None else Body(corpus.topology, corpus.persons)} in this "
            "version of llmar_pipeline; install the version of the training, or train again"
        )
    return corpus


def _check(path: Path, expected: str, seen: str, again: str) -> None:
    if seen != expected:
        raise UserError(
            f"expected checksum {expected[:12]}, saw {seen[:12]}: the file {path.name} of {path.parent} was "
            f"changed or is damaged; {again}"
        )
