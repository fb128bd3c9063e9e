"""`kedro threshold`: from which distance on a recording is none of a trained model's classes."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llmar_pipeline.commands.enrol import load_for_features
from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition.known_classes import no_known_classes, read_known
from llmar_pipeline.recognition.open_set import NO_HELD_OUT, choose_refusal, read_open_set
from llmar_pipeline.recognizer_folder import VQVAE_FOLDER, check_recognizer


def choose_threshold(folder: Path, twins: Sequence[Path], kept: float) -> str:
    """Choose it from clips that were held out from trainings, and keep it beside the model.

    Args:
        folder: Of the recogniser.
        twins: Folders of recognisers of the same settings, trained on fewer clips; none for the model's own.
        kept: Share of these clips that is not to be refused.

    Returns:
        A line that says so.

    Raises:
        UserError: A folder is not whole, a twin has other settings, or no clip was held out.
    """
    settings = _settings(folder)
    refusals = []
    for twin in twins or [folder]:
        if _settings(twin) != settings:
            raise UserError(
                f"expected a twin of {folder}, saw another corpus or other settings of stage 1 in {twin}; "
                "train it with the same environment, experiment and size"
            )
        known = read_known(twin)
        if known is None:
            raise UserError(no_known_classes(twin))
        refusals.append(known[1])
    chosen = choose_refusal(folder, refusals, kept)
    return (
        f"none of these: from a squared distance of {chosen.threshold:.1f} on, which keeps "
        f"{100 * kept:g} % of {len(chosen.distances)} held-out clips; {folder}"
    )


def ask_others(folder: Path, places: Sequence[Path]) -> tuple[str, int]:
    """Ask recordings of other actions, another corpus's, whether they are none of a model's classes.

    They are asked, not learnt from: the threshold stays where held-out clips of known classes have put it.

    Args:
        folder: Of the recogniser.
        places: Files and folders of recordings of none of its classes, trained or enrolled.

    Returns:
        A line that says how many are refused, with the area under the curve against the held-out clips; how
        many could not be read.

    Raises:
        UserError: A folder is not whole, it has no threshold, or nothing could be read.

    Source: ours.
    """
    from sklearn.metrics import roc_auc_score

    from llmar_pipeline.commands.predict import Asked, Prediction  # imports torch

    known = read_open_set(folder, check_recognizer(folder).stage1)
    if known is None:
        raise UserError(no_known_classes(folder))
    held_out = known.refusal.distances
    if not len(held_out):
        raise UserError(NO_HELD_OUT)
    recognizer = load_for_features(folder)
    reading = Prediction(recognizer, Asked(None, 1, "codes", None, False))
    features = recognizer.features(reading.recordings(places))
    if not len(features):
        raise UserError("expected recordings of other actions with --others, saw none that can be read")
    distances = known.distances(features)
    scores = -np.concatenate([held_out, distances])
    area = roc_auc_score(np.repeat([1, 0], [len(held_out), len(distances)]), scores)
    return (
        f"others: {(distances > known.refusal.threshold).mean():.1%} of {len(distances)} recordings are none "
        f"of these; area under the curve {area:.3f}",
        reading.failed,
    )


def _settings(folder: Path) -> object:
    facts = check_recognizer(folder)
    known = json.loads((folder / VQVAE_FOLDER / "config.json").read_text(encoding="utf-8"))
    return known["config"], known["body"], facts.corpus, facts.units, facts.normalization
