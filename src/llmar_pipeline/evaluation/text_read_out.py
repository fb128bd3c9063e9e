"""Unseen classes by their descriptions: a linear map from joints' movement to texts, without the LLM."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from llmar_pipeline.evaluation.baselines import answer_table, drawn_to_fit
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.training import processes
from llmar_pipeline.vqvae.windows import plain_windows

STRENGTH = 0.3
"""Of the ridge, a training clip, on features of unit variance; chosen on folds, as the rest (lab log)."""
SEEN_BIAS = 0.4
"""What is taken from the cosines of classes that trained, where they are asked beside others."""
SHARPNESS, ROUNDS = 10.0, 10
"""Of the transductive answers: how much a cosine counts in a prototype, and how often these are made."""


def text_read_out(
    sequences: Path,
    splits: pd.DataFrame,
    texts: Mapping[str, np.ndarray],
    asked: Sequence[str],
    frames: int,
    seed: int = 0,
) -> pd.DataFrame:
    """Answer test clips of classes that were not trained, by the texts of all classes.

    The map is fitted to training clips, each read as it is, and the texts of their classes; a test clip is
    answered by the text whose direction is nearest to where the map leads. What is mapped is `movement`,
    since descriptions say which parts of a body move. Of more than `MOST_FITTED` training clips so many are
    drawn.

    Args:
        sequences: Folder of the normalised store.
        splits: Columns name, split, action.
        texts: Class -> its text as a vector `[d]`; of the classes that train and those that are asked.
        asked: What a test clip may be called; nothing without unseen classes.
        frames: Of a window.
        seed: Of the clips that are drawn.

    Returns:
        `name`, `true`, `predicted`, and `transductive`, the answer that all test clips together, without
        labels, give to each; one row a test clip, none where nothing is asked.

    Source: ours, of zero-shot learning's oldest parts: ridge regression to attributes (Romera-Paredes and
        Torr 2015), descriptions in place of names, a bias against seen classes (Chao et al. 2016).
    """
    train, test = (splits[splits["split"] == part] for part in ("train", "test"))
    if not len(asked):
        return answer_table(test[:0], []).assign(transductive=[])
    train, store = drawn_to_fit(train, seed), SequenceStore.open(sequences)
    features, moved = (movement(store, part["name"].tolist(), frames) for part in (train, test))
    parts = np.repeat([part.std() or 1.0 for part in np.split(features, 2, axis=1)], features.shape[1] // 2)
    features, moved = features / parts, moved / parts
    seen = sorted(set(train["action"]))
    labels = np.array([seen.index(action) for action in train["action"]])
    known, choices = (np.stack([texts[name] for name in names]) for names in (seen, asked))
    bias = SEEN_BIAS * np.isin(asked, seen)
    led, wanted = led_to_texts(features, labels, known, moved, choices)
    told = _cosines(led, wanted) - bias
    together = with_prototypes(
        _cosines(led - led.mean(axis=0), wanted - wanted.mean(axis=0)) - bias, moved - moved.mean(axis=0)
    )
    answers, transductive = (np.asarray(asked)[scores.argmax(axis=1)].tolist() for scores in (told, together))
    return answer_table(test, answers).assign(transductive=transductive)


def led_to_texts(
    features: np.ndarray,
    labels: np.ndarray,
    texts: np.ndarray,
    asked: np.ndarray,
    choices: np.ndarray,
    strength: float = STRENGTH,
) -> tuple[np.ndarray, np.ndarray]:
    """Where the clips' features lead among texts.

    Both sides are centred on the training: features are divided by their overall deviation, texts have the
    length 1 before.

    Args:
        features: Of training clips `[N, du]`.
        labels: The text of each, an index `[N]`.
        texts: Of the classes that train `[C, d]`.
        asked: Features of the clips that are asked `[M, du]`.
        choices: Texts that they may have `[K, d]`.
        strength: Of the ridge, a training clip.

    Returns:
        Of each clip that is asked, where it leads `[M, d]`; of each choice, where it lies `[K, d]`.

    Source: as of `text_read_out`.
    """
    texts, choices = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (texts, choices))
    middle, centre = features.mean(axis=0), texts.mean(axis=0)
    spread = (features - middle).std() or 1.0
    x, y = (features - middle) / spread, (texts - centre)[labels]
    weights = np.linalg.solve(x.T @ x / len(x) + strength * np.eye(x.shape[1]), x.T @ y / len(x))
    return (asked - middle) / spread @ weights, choices - centre


def with_prototypes(scores: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Scores to which is added how near each clip is to the mean of those that the scores give to a class.

    Args:
        scores: Cosines `[M, K]`.
        features: Of the same clips, less their mean `[M, du]`.

    Returns:
        `[M, K]`.

    Source: ours, after prototypes of unlabelled test clips (Skeleton-Cache, PGFA).
    """
    added = scores
    for _ in range(ROUNDS):
        shares = np.exp(SHARPNESS * (added - added.max(axis=1, keepdims=True)))
        shares /= shares.sum(axis=1, keepdims=True)
        added = scores + _cosines(features, shares.T @ features)
    return added


def movement(store: SequenceStore, names: Sequence[str], frames: int) -> np.ndarray:
    """How far and how fast each joint moves along each axis: deviations of places and steps over the frames.

    Args:
        store: Where the clips are, normalised.
        names: Which.
        frames: Of a window.

    Returns:
        `[clips, 2 x person x joint x coordinate]`, float64, in the store's units (steps: a frame): those of
        the places, then those of the steps.

    Source: ours.
    """
    made = []
    for motion, _ in plain_windows(store, names, processes.device(), frames, "joints"):
        places = motion.double().flatten(2)
        deviations = [part.std(dim=1, correction=0) for part in (places, places.diff(dim=1))]
        made.append(torch.cat(deviations, dim=1).cpu().numpy())
    return np.concatenate(made)


def _cosines(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Of each of `[M, d]` with each of `[K, d]`; 0 where one has no length."""
    lengths = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(columns, axis=1)
    cosines: np.ndarray = rows @ columns.T / np.where(lengths == 0, 1.0, lengths)
    return cosines
