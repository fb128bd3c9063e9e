"""None of these: how far test clips, and sentences that are no action, are from what is known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.correction import content_free_sentences
from llmar_pipeline.evaluation.refusals import CONTENT_FREE, HELD_OUT, RANDOM, SENTENCES, TEST, UNSEEN
from llmar_pipeline.recognition.known_classes import no_known_classes, read_known
from llmar_pipeline.recognizer_folder import VQVAE_FOLDER
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.training import processes
from llmar_pipeline.vqvae.features import mean_features, mean_of_steps
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.trained import load_vqvae

MOST_DRAWN = 1000
"""Sentences that are no action."""
_AT_ONCE = 256


def find_unknown(
    recognizer: Path,
    sequences: Path,
    splits: pd.DataFrame,
    sentences: pd.DataFrame,
    seed: int = 0,
) -> pd.DataFrame:
    """Ask for test clips, and for sentences that are no action, how far from all known classes they are.

    Args:
        recognizer: Folder of the trained recogniser.
        sequences: Folder of the normalised store.
        splits: Columns name, split, action.
        sentences: Columns name, split, action, reading, codes.
        seed: Of the sentences that are no action.

    Returns:
        A row each clip or sentence: name; kind (`TEST`, `UNSEEN`: of a class that was not trained,
        `HELD_OUT`: what the threshold was taken from; `SENTENCES`: test clips read through their codes,
        `CONTENT_FREE`, `RANDOM`); distance, squared, to the nearest class; threshold, infinite where none
        was held out.

    Raises:
        UserError: The model does not know its classes so.

    Source: ours.
    """
    known = read_known(recognizer)
    if known is None:
        raise UserError(no_known_classes(recognizer))
    prototypes, refusal = known
    model, store = load_vqvae(recognizer / VQVAE_FOLDER), SequenceStore.open(sequences)
    asked, trained = (splits[splits["split"] == part] for part in ("test", "train"))
    kinds = np.where(asked["action"].isin(trained["action"]), TEST, UNSEEN)
    distances = prototypes.distances(mean_features(model, store, asked["name"].tolist())).min(axis=1)
    held = pd.DataFrame({"name": "", "kind": HELD_OUT, "distance": refusal.distances})
    rows = [held, pd.DataFrame({"name": asked["name"], "kind": kinds, "distance": distances})]
    told = sentences[(sentences["split"] == "test") & (sentences["reading"] == 0)]
    told = told[told["action"].isin(trained["action"])]
    for kind, codes in no_actions(told["codes"].tolist(), model, seed).items():
        nearest = prototypes.distances(_features_of(model, codes)).min(axis=1)
        rows.append(pd.DataFrame({"name": "", "kind": kind, "distance": nearest}))
    made = pd.concat([part for part in rows if len(part)], ignore_index=True)
    return made.assign(threshold=refusal.threshold)


def no_actions(sentences: Sequence[np.ndarray], model: VQVAE, seed: int) -> dict[str, np.ndarray]:
    """Sentences that are an action, and such that are none.

    Args:
        sentences: Codes of clips, all of one length.
        model: Whose codes they are.
        seed: Of what is drawn.

    Returns:
        `SENTENCES` as they are; as many, but `MOST_DRAWN` at most, that are `CONTENT_FREE`, and of `RANDOM`
        codes; all `[clips, S]`. Of no clip nothing.

    Source: ours.
    """
    if not sentences:
        return {}
    number, books, codes = min(len(sentences), MOST_DRAWN), model.tokens_a_step, model.settings.codes
    drawn = np.random.default_rng(seed).integers(0, codes, (number, len(sentences[0])))
    return {
        SENTENCES: np.stack(sentences),
        CONTENT_FREE: np.stack(content_free_sentences(sentences, seed, number)),
        RANDOM: drawn + codes * (np.arange(drawn.shape[1]) % books),  # each place has a codebook
    }


@torch.no_grad()
def _features_of(model: VQVAE, codes: np.ndarray) -> np.ndarray:
    made = [
        mean_of_steps(model.quantizer.lookup(torch.from_numpy(some).long().to(processes.device())))
        for some in np.array_split(codes, -(-len(codes) // _AT_ONCE))
    ]
    return np.concatenate(made)
