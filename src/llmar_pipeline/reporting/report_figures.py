"""The report's figures: from what each is drawn, and where it stands."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from llmar_pipeline.evaluation.calibration import reliability
from llmar_pipeline.evaluation.metrics import confusion, per_class
from llmar_pipeline.evaluation.refusals import receiver_operating, refusal_metrics
from llmar_pipeline.evaluation.sentences import code_usage
from llmar_pipeline.reporting.code_figures import code_map_figure, usage_figure
from llmar_pipeline.reporting.figures import (
    confusion_figure,
    history_figure,
    per_class_figure,
    refusal_figure,
    reliability_figure,
)

if TYPE_CHECKING:
    from llmar_pipeline.vqvae.trained import CodebookFacts

Section = Literal["confusion", "classes", "calibration", "stage1", "stage2"]
"""Places of `report.html` where figures stand."""


class Results(NamedTuple):
    """What figures are drawn from.

    Attributes:
        predictions: The predictions table.
        stage1_history: Training history of the VQ-VAE.
        stage2_history: The same of LoRA.
        codebook: Of the trained VQ-VAE.
        usage: Occurrences of each of its codes in the test clips.
        refusals: As `unknown.find_unknown` gives them.
    """

    predictions: pd.DataFrame
    stage1_history: pd.DataFrame
    stage2_history: pd.DataFrame
    codebook: "CodebookFacts"
    usage: np.ndarray
    refusals: pd.DataFrame


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report.

    Attributes:
        draw: What draws it.
        section: Where it stands.
        title: Its heading; empty where that of the section is enough.
        note: Text above it.
        wide: On a small screen it is scrolled rather than made narrow.
    """

    draw: Callable[[Results], go.Figure]
    section: Section
    title: str = ""
    note: str = ""
    wide: bool = False


# Name -> figure, in the order of the report. The catalog's name is `<name>_figure`, the file's `<name>.json`.
FIGURES: dict[str, ReportFigure] = {
    "confusion": ReportFigure(lambda seen: confusion_figure(confusion(seen.predictions)), "confusion"),
    "per_class": ReportFigure(lambda seen: per_class_figure(per_class(seen.predictions)), "classes"),
    "reliability": ReportFigure(
        lambda seen: reliability_figure(reliability(seen.predictions)), "calibration"
    ),
    "refusal": ReportFigure(
        lambda seen: refusal_figure(receiver_operating(seen.refusals), refusal_metrics(seen.refusals)),
        "calibration",
        "None of these",
        "What is known is kept by its distance to the nearest class. Unknown are clips of classes that were "
        "not trained (unseen), and sentences that are no action: content-free, each code of another clip's, "
        "or random. A dot is where the model's threshold lies; without held-out clips there is none.",
    ),
    "code_usage": ReportFigure(
        lambda seen: usage_figure(seen.usage, seen.codebook.books), "stage1", "Use of the codebook"
    ),
    "code_map": ReportFigure(
        lambda seen: code_map_figure(
            seen.codebook.embeddings,
            seen.usage,
            seen.codebook.books,
            seen.codebook.geometry,
            seen.codebook.curvature,
        ),
        "stage1",
        "Map of the codes",
        "A projection, so distances are hints: directions and the order of distances from the middle (the "
        "mean token) are kept within the plane of the map. The area of a dot is the code's usage; a plus "
        "marks the origin of the space.",
    ),
    "vqvae_loss": ReportFigure(
        lambda seen: history_figure(seen.stage1_history), "stage1", "Training of the VQ-VAE", wide=True
    ),
    "lora_loss": ReportFigure(
        lambda seen: history_figure(seen.stage2_history), "stage2", "Training of LoRA", wide=True
    ),
}


def draw_figures(
    predictions: pd.DataFrame,
    action_sentences: pd.DataFrame,
    recognizer_model: Path,
    stage1_history: pd.DataFrame,
    stage2_history: pd.DataFrame,
    refusals: pd.DataFrame,
) -> dict[str, go.Figure]:
    """Draw every figure of the report.

    Args:
        predictions: The predictions table.
        action_sentences: Columns split, reading, codes.
        recognizer_model: Folder of the recogniser, which holds the VQ-VAE that made the sentences.
        stage1_history: As `figures.history_figure` takes it.
        stage2_history: The same of LoRA.
        refusals: As `unknown.find_unknown` gives them.

    Returns:
        By the names of `FIGURES`.

    Source: ours.
    """
    from llmar_pipeline.recognizer_folder import VQVAE_FOLDER  # these import torch, which takes seconds
    from llmar_pipeline.vqvae.trained import codebook_facts, load_vqvae

    codebook = codebook_facts(load_vqvae(recognizer_model / VQVAE_FOLDER))
    plain = action_sentences[action_sentences["reading"] == 0]
    usage = code_usage(plain.loc[plain["split"] == "test", "codes"].tolist(), codebook.codes)
    seen = Results(predictions, stage1_history, stage2_history, codebook, usage, refusals)
    return {name: figure.draw(seen) for name, figure in FIGURES.items()}
