"""Unseen classes by their descriptions: a linear map from stage 1's features to texts, without the LLM."""

from pathlib import Path

import numpy as np
import pandas as pd

from llmar_pipeline.evaluation.baselines import answer_table, drawn_to_fit
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.vqvae.tokenize import load_vqvae, mean_features

STRENGTH = 100.0
"""Of the ridge, on features of unit variance: as good as any from 1 to 10,000 on folds (docs/lab_log.md)."""


def text_read_out(
    model_folder: Path,
    sequences: Path,
    splits: pd.DataFrame,
    seen: dict[str, np.ndarray],
    unseen: dict[str, np.ndarray],
    seed: int = 0,
) -> pd.DataFrame:
    """Answer test clips of classes that were not trained, by the texts of all classes.

    The map is fitted to training clips, each read as it is, and the texts of their classes; a clip of an
    unseen class is answered by the unseen text whose direction is nearest to where the map leads. Of more
    than `MOST_FITTED` training clips so many are drawn.

    Args:
        model_folder: A trained VQ-VAE.
        sequences: Folder of the normalised store.
        splits: Columns name, split, action.
        seen: Class that trains -> its text as a vector `[d]`.
        unseen: The same of those that are asked.
        seed: Of the clips that are drawn.

    Returns:
        `name`, `true`, `predicted`, one row a test clip; no row without unseen classes.

    Source: ours, of zero-shot learning's oldest parts: ridge regression to attributes (Romera-Paredes and
        Torr 2015), descriptions in place of names.
    """
    train, test = (splits[splits["split"] == part] for part in ("train", "test"))
    if not unseen:
        return answer_table(test[:0], [])
    train = drawn_to_fit(train, seed)
    model, store = load_vqvae(model_folder), SequenceStore.open(sequences)
    features, asked = (mean_features(model, store, part["name"].tolist()) for part in (train, test))
    texts, labels = np.stack(list(seen.values())), [list(seen).index(action) for action in train["action"]]
    scores = nearest_texts(features, np.asarray(labels), texts, asked, np.stack(list(unseen.values())))
    return answer_table(test, np.asarray(list(unseen))[scores.argmax(axis=1)].tolist())


def nearest_texts(
    features: np.ndarray,
    labels: np.ndarray,
    texts: np.ndarray,
    asked: np.ndarray,
    choices: np.ndarray,
    strength: float = STRENGTH,
) -> np.ndarray:
    """How near each clip's features lead to each text.

    Both sides are centred on the training: features are divided by their overall deviation, texts have the
    length 1 before.

    Args:
        features: Of training clips `[N, du]`.
        labels: The text of each, an index `[N]`.
        texts: Of the classes that train `[C, d]`.
        asked: Features of the clips that are asked `[M, du]`.
        choices: Texts that they may have `[K, d]`.
        strength: Of the ridge.

    Returns:
        Cosines `[M, K]`.

    Source: as of `text_read_out`.
    """
    texts, choices = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (texts, choices))
    middle, centre = features.mean(axis=0), texts.mean(axis=0)
    spread = (features - middle).std() or 1.0
    x, y = (features - middle) / spread, (texts - centre)[labels]
    weights = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)
    led, wanted = (asked - middle) / spread @ weights, choices - centre
    lengths = np.linalg.norm(led, axis=1, keepdims=True) * np.linalg.norm(wanted, axis=1)
    cosines: np.ndarray = led @ wanted.T / np.where(lengths == 0, 1.0, lengths)
    return cosines
