"""Every clip of every split -> its action sentence; what the sentences are like."""

from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from llmar_pipeline.evaluation.animation import animation
from llmar_pipeline.evaluation.code_figures import code_map_figure, usage_figure
from llmar_pipeline.evaluation.config import EvaluationConfig
from llmar_pipeline.evaluation.film_strip import film_strips
from llmar_pipeline.evaluation.sentences import code_usage, sentence_statistics
from llmar_pipeline.language.config import AdapterConfig
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.vqvae.config import TokenizationConfig

TRAINING_CLIPS = 500  # reconstructed at most; enough for a mean


def tokenize(
    vqvae_model: Path,
    sequences: Path,
    splits: pd.DataFrame,
    tokenization: TokenizationConfig,
    augmentation: AugmentationConfig,
    lora: AdapterConfig,
    kept_sentences: Path,
) -> pd.DataFrame:
    """Encode the clips of all splits; training clips also in random readings."""
    from llmar_pipeline.vqvae.tokenize import tokenize_clips

    return tokenize_clips(
        vqvae_model,
        sequences,
        splits,
        tokenization,
        augmentation,
        features=lora.input == "features",
        kept=kept_sentences,
    )


def describe_codes(
    vqvae_model: Path,
    sequences: Path,
    action_sentences: pd.DataFrame,
    evaluation: EvaluationConfig,
) -> tuple[dict[str, float | int], go.Figure, go.Figure, bytes, bytes]:
    """How the codebook is used and what it keeps of test clips; statistics of training clips beside it."""
    from llmar_pipeline.vqvae.tokenize import (
        codebook_facts,
        load_vqvae,
        reconstruct_clips,
        reconstruction_error,
    )

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

    usage = code_usage(test["codes"].tolist(), facts.codes)
    drawn = test.drop_duplicates("action").head(max(evaluation.film_strips, 1))
    pairs = reconstruct_clips(model, sequences, drawn["name"].tolist())
    shown = {
        f"{row.action} ({row.name})": (*pair, row.codes)
        for row, pair in zip(drawn.itertuples(index=False), pairs, strict=True)
    }
    title, (original, reconstruction, codes) = next(iter(shown.items()))
    return (
        statistics,
        usage_figure(usage, facts.books),
        code_map_figure(facts.embeddings, usage, facts.books, facts.geometry, facts.curvature),
        film_strips(shown, topology.bones, topology.mirror, books=facts.books),
        animation(original, reconstruction, topology.bones, title, codes, topology.mirror, books=facts.books),
    )
