"""None of these: how far test clips, and sentences that are no action, are from what is known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.refusals import HELD_OUT, RANDOM, SENTENCES, SHUFFLED, TEST, UNSEEN
from llmar_pipeline.recognition.known_classes import read_known
from llmar_pipeline.recognizer_folder import KNOWN_CLASSES, VQVAE_FOLDER
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.training import processes
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.tokenize import load_vqvae, mean_features, mean_of_steps

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
        `SHUFFLED`, `RANDOM`); distance, squared, to the nearest class; threshold, infinite where none
        was held out.

    Raises:
        UserError: The model does not know its classes so.

    Source: ours.
    """
    known = read_known(recognizer)
    if known is None:
        raise UserError(
            f"expected {KNOWN_CLASSES} in {recognizer}, saw none: it is from before models had it; run "
            "`kedro run --pipelines=lora,evaluation` with its --env and --params"
        )
    prototypes, refusal = known
    model, store = load_vqvae(recognizer / VQVAE_FOLDER), SequenceStore.open(sequences)
    asked, trained = (splits[splits["split"] == part] for part in ("test", "train"))
    kinds = np.where(asked["action"].isin(trained["action"]), TEST, UNSEEN)
    distances = prototypes.distances(mean_features(model, store, asked["name"].tolist())).min(axis=1)
    held = pd.DataFrame({"name": "", "kind": HELD_OUT, "distance": refusal.distances})
    rows = [held, pd.DataFrame({"name": asked["name"], "kind": kinds, "distance": distances})]
    told = sentences[(sentences["split"] == "test") & (sentences["reading"] == 0)]
    told = told[told["action"].isin(trained["action"])]
    drawn = no_actions(told["codes"].tolist(), model.settings.codes, model.tokens_a_step, seed)
    for kind, codes in drawn.items():
        nearest = prototypes.distances(_features_of(model, codes)).min(axis=1)
        rows.append(pd.DataFrame({"name": told["name"], "kind": kind, "distance": nearest}))
    made = pd.concat([part for part in rows if len(part)], ignore_index=True)
    return made.assign(threshold=refusal.threshold)


def no_actions(sentences: Sequence[np.ndarray], codes: int, books: int, seed: int) -> dict[str, np.ndarray]:
    """Sentences that are an action, and such that are none.

    Args:
        sentences: Codes of clips, all of one length.
        codes: In each codebook.
        books: Codebooks, of which the places of a sentence have one after the other.
        seed: Of what is drawn.

    Returns:
        `SENTENCES` as they are; `SHUFFLED`, at each place the code that a clip drawn for it has there;
        `RANDOM` codes, all `[clips, S]`; of fewer than two clips nothing.

    Source: ours.
    """
    if len(sentences) < 2:
        return {}
    rng, as_they_are = np.random.default_rng(seed), np.stack(sentences)
    return {
        SENTENCES: as_they_are,
        SHUFFLED: rng.permuted(as_they_are, axis=0),
        RANDOM: rng.integers(0, codes, as_they_are.shape) + codes * (np.arange(as_they_are.shape[1]) % books),
    }


@torch.no_grad()
def _features_of(model: VQVAE, codes: np.ndarray) -> np.ndarray:
    made = [
        mean_of_steps(model.quantizer.lookup(torch.from_numpy(some).long().to(processes.device())))
        for some in np.array_split(codes, -(-len(codes) // _AT_ONCE))
    ]
    return np.concatenate(made)
