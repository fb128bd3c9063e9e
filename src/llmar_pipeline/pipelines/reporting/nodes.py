"""Figures, the report and the table in the terminal."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from llmar_pipeline.evaluation import figures
from llmar_pipeline.evaluation.config import EvaluationConfig, RunInfo
from llmar_pipeline.evaluation.film_strip import film_strips
from llmar_pipeline.evaluation.metrics import confusion
from llmar_pipeline.evaluation.report import ReportContext, render_report
from llmar_pipeline.evaluation.sentences import code_usage, sentence_statistics
from llmar_pipeline.evaluation.summary import run_summary
from llmar_pipeline.io.tracking import git_revision
from llmar_pipeline.skeletons.store import SequenceStore


def describe_codes(
    vqvae_model: Path,
    sequences: Path,
    action_sentences: pd.DataFrame,
    evaluation: EvaluationConfig,
) -> tuple[dict[str, float | int], go.Figure, bytes]:
    """How the codebook is used and what it keeps of the motion, on test clips."""
    from llmar_pipeline.vqvae.tokenize import codebook_size, reconstruct_clips, reconstruction_error

    test = action_sentences[action_sentences["split"] == "test"]
    n_codes = codebook_size(vqvae_model)
    topology = SequenceStore.open(sequences).topology
    pairs = reconstruct_clips(vqvae_model, sequences, test["name"].tolist())
    statistics = {
        **sentence_statistics(test["codes"].tolist(), n_codes),
        "reconstruction_error": reconstruction_error(pairs),
    }
    shown = test.drop_duplicates("action").head(evaluation.film_strips)
    by_name = dict(zip(test["name"], pairs, strict=True))
    strips = film_strips(
        {
            f"{row.action} ({row.name})": (*by_name[row.name], row.codes)
            for row in shown.itertuples(index=False)
        },
        topology.bones,
        topology.mirror,
    )
    return statistics, figures.usage_figure(code_usage(test["codes"].tolist(), n_codes)), strips


def draw_figures(
    predictions: pd.DataFrame, vqvae_history: pd.DataFrame, lora_history: pd.DataFrame
) -> tuple[go.Figure, go.Figure, go.Figure]:
    """Confusion matrix and the two loss curves."""
    return (
        figures.confusion_figure(confusion(predictions)),
        figures.loss_figure(_losses(vqvae_history)),
        figures.loss_figure(_losses(lora_history)),
    )


def write_report(
    run: RunInfo,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    action_sentences: pd.DataFrame,
    splits: pd.DataFrame,
    quarantine: pd.DataFrame,
    code_statistics: dict[str, float | int],
    film_strip: bytes,
    vqvae_history: pd.DataFrame,
    lora_history: pd.DataFrame,
    vqvae_model: Path,
    parameters: dict[str, Any],
) -> str:
    """One HTML file that holds everything."""
    from llmar_pipeline.vqvae.tokenize import codebook_size

    test = action_sentences[action_sentences["split"] == "test"]
    return render_report(
        ReportContext(
            dataset=run.dataset,
            protocol=run.protocol,
            experiment=run.experiment,
            size=run.size,
            revision=git_revision(),
            date=datetime.now().strftime("%Y-%m-%d %H:%M"),
            synthetic=run.synthetic,
            metrics=metrics,
            shuffled_accuracy=metrics["shuffled_accuracy"],
            predictions=predictions,
            sentences=dict(zip(test["name"], test["codes"], strict=True)),
            stage1_losses=_losses(vqvae_history),
            stage2_losses=_losses(lora_history),
            reconstruction_error=code_statistics["reconstruction_error"],
            usage=code_usage(test["codes"].tolist(), codebook_size(vqvae_model)),
            film_strips={"Test clips above their reconstruction, with their action sentence": film_strip},
            clips_read=len(splits),
            quarantined=_reasons(quarantine),
            split_counts={str(k): int(v) for k, v in splits["split"].value_counts().items()},
            parameters={k: v.model_dump() if hasattr(v, "model_dump") else v for k, v in parameters.items()},
        )
    )


def write_summary(
    run: RunInfo,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    quarantine: pd.DataFrame,
    report_file: Path,
    evaluation: EvaluationConfig,
) -> str:
    """What the terminal prints at the end."""
    return run_summary(run, metrics, predictions, len(quarantine), report_file, evaluation.table_rows)


def _losses(history: pd.DataFrame) -> list[dict[str, Any]]:
    """A training history as (step, name, value) records, loss terms only."""
    terms = [name for name in history.columns if name.endswith("loss")]
    long = history.melt(id_vars="step", value_vars=terms, var_name="name")
    return [{str(k): v for k, v in record.items()} for record in long.to_dict("records")]


def _reasons(quarantine: pd.DataFrame) -> pd.DataFrame:
    reasons = "expected " + quarantine["expected"].astype(str)
    return reasons.value_counts().rename_axis("reason").reset_index(name="clips")
