"""What a trained model knows of its own classes, beyond their names: a file of its folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file, save

from llmar_pipeline.files import whole_file
from llmar_pipeline.recognition.prototypes import Prototypes, fit_prototypes
from llmar_pipeline.recognition.refusal import Refusal, fit_refusal
from llmar_pipeline.recognizer_folder import KNOWN_CLASSES
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.vqvae.features import mean_features
from llmar_pipeline.vqvae.trained import load_vqvae

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


def learn_known(
    folder: Path, vqvae: Path, sequences: Path, train: pd.DataFrame, held_out: pd.DataFrame
) -> None:
    """Write where a model's training clips lie among its features, and how far held-out ones are.

    Args:
        folder: Of the recogniser; `complete_recognizer` makes the file a part of it.
        vqvae: Folder of its trained VQ-VAE.
        sequences: Folder of the normalised store.
        train: Clips that it was trained on: columns name, action.
        held_out: Clips that it was not trained on and that are no test clips, of the same classes; none where
            all trained.

    Source: ours.
    """
    model, store = load_vqvae(vqvae), SequenceStore.open(sequences)
    classes = {action: number for number, action in enumerate(sorted(set(train["action"])))}

    def read(clips: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        features = mean_features(model, store, clips["name"].tolist())
        return features, np.array([classes[action] for action in clips["action"]], np.int64)

    if held_out.empty:
        logger.info(
            "no clip was held out from the training, so nothing is refused as none of its classes; "
            "`kedro threshold` takes a threshold from a twin"
        )
    fitted = fit_prototypes(*read(train))
    prototypes = Prototypes(*(_as_kept(n) for n in (fitted.whitening, fitted.means, fitted.counts)))
    features, labels = read(held_out)
    refusal = fit_refusal(prototypes.distances(features), labels)
    numbers = {
        "whitening": prototypes.whitening,
        "means": prototypes.means,
        "counts": prototypes.counts,
        "held_out_distances": refusal.distances,
        "temperature": np.array([refusal.temperature]),
    }
    with whole_file(folder / KNOWN_CLASSES) as stream:
        stream.write(save({name: np.ascontiguousarray(n, np.float32) for name, n in numbers.items()}))


def _as_kept(numbers: np.ndarray) -> np.ndarray:
    """Rounded as in the file, so that the distances of held-out clips are those that it gives."""
    return numbers.astype(np.float32).astype(np.float64)


def read_known(folder: Path) -> tuple[Prototypes, Refusal] | None:
    """What `learn_known` wrote; None of a model from before models knew.

    Args:
        folder: Of the recogniser; `check_recognizer` has passed it.

    Source: ours.
    """
    if not (folder / KNOWN_CLASSES).is_file():
        return None
    numbers = {name: array.astype(np.float64) for name, array in load_file(folder / KNOWN_CLASSES).items()}
    prototypes = Prototypes(*(numbers[name] for name in ("whitening", "means", "counts")))
    return prototypes, Refusal(numbers["held_out_distances"], float(numbers["temperature"][0]))


def no_known_classes(folder: Path) -> str:
    """The line for a model that does not know its classes so.

    Args:
        folder: Of the recogniser.

    Source: ours.
    """
    return (
        f"expected {KNOWN_CLASSES} in {folder}, saw none: it is from before models had it; run "
        "`kedro run --pipelines=lora` with the --env and --params of its training"
    )
