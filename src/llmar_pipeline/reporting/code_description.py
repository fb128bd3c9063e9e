"""What trained codes are like: how they are used, and what they keep of the clips."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from llmar_pipeline.evaluation.sentences import sentence_statistics
from llmar_pipeline.reporting.animation import animation
from llmar_pipeline.reporting.film_strip import film_strips
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.vqvae.reconstruction import reconstruct_clips, reconstruction_error
from llmar_pipeline.vqvae.trained import codebook_facts, load_vqvae

TRAINING_CLIPS = 500  # reconstructed at most; enough for a mean


class CodeDescription(NamedTuple):
    """What the catalog keeps of it, in this order.

    Attributes:
        statistics: Of the test clips' sentences, as `sentence_statistics` gives them, with
            `reconstruction_error`; the same of training clips as `train_...`.
        film_strip: PNG of test clips above their reconstruction.
        animation: GIF of one of them beside it.
    """

    statistics: dict[str, float | int]
    film_strip: bytes
    animation: bytes


def describe_codes(
    vqvae_model: Path, sequences: Path, action_sentences: pd.DataFrame, strips: int
) -> CodeDescription:
    """Describe the codes of a trained VQ-VAE by the clips as they are (reading 0).

    Args:
        vqvae_model: Its folder.
        sequences: Folder of the normalised store.
        action_sentences: Columns name, split, action, reading, codes.
        strips: Test clips that are drawn, each of another class; one at least.

    Source: ours.
    """
    model = load_vqvae(vqvae_model)
    facts = codebook_facts(model)
    topology = SequenceStore.open(sequences).body.topology
    plain = action_sentences[action_sentences["reading"] == 0]
    train, test = (plain[plain["split"] == split] for split in ("train", "test"))
    sampled = train["name"].tolist()[:: -(-len(train) // TRAINING_CLIPS) or 1]
    statistics: dict[str, float | int] = {}
    for clips, names, prefix in [(train, sampled, "train_"), (test, test["name"].tolist(), "")]:
        numbers = sentence_statistics(clips["codes"].tolist(), facts.codes, facts.partners, facts.books)
        numbers["reconstruction_error"] = reconstruction_error(reconstruct_clips(model, sequences, names))
        statistics |= {prefix + name: value for name, value in numbers.items()}

    drawn = test.drop_duplicates("action").head(max(strips, 1))
    pairs = reconstruct_clips(model, sequences, drawn["name"].tolist())
    shown = {
        f"{row.action} ({row.name})": (*pair, row.codes)
        for row, pair in zip(drawn.itertuples(index=False), pairs, strict=True)
    }
    title, (original, reconstruction, codes) = next(iter(shown.items()))
    return CodeDescription(
        statistics,
        film_strips(shown, topology.bones, topology.mirror, books=facts.books),
        animation(original, reconstruction, topology.bones, title, codes, topology.mirror, books=facts.books),
    )
