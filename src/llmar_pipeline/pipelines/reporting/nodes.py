"""Figures, the report and the table in the terminal."""

from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from llmar_pipeline.evaluation.calibration import reliability
from llmar_pipeline.evaluation.config import EvaluationConfig
from llmar_pipeline.evaluation.metrics import confusion
from llmar_pipeline.language.config import trained_precision
from llmar_pipeline.reporting import figures
from llmar_pipeline.reporting.config import RunInfo
from llmar_pipeline.reporting.report import ReportContext, render_report
from llmar_pipeline.reporting.summary import run_summary


def draw_figures(
    predictions: pd.DataFrame, vqvae_history: pd.DataFrame, lora_history: pd.DataFrame
) -> tuple[go.Figure, go.Figure, go.Figure, go.Figure]:
    """Confusion matrix, reliability of the probabilities, and the curves of both trainings."""
    return (
        figures.confusion_figure(confusion(predictions)),
        figures.reliability_figure(reliability(predictions)),
        figures.history_figure(vqvae_history),
        figures.history_figure(lora_history),
    )


def write_report(
    run: RunInfo,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    action_sentences: pd.DataFrame,
    splits: pd.DataFrame,
    quarantine: pd.DataFrame,
    recognizer_model: Path,
    code_statistics: dict[str, float | int],
    code_usage_figure: go.Figure,
    code_map_figure: go.Figure,
    animation: bytes,
    film_strip: bytes,
    vqvae_history: pd.DataFrame,
    lora_history: pd.DataFrame,
    parameters: dict[str, Any],
) -> str:
    """One HTML file that holds everything."""
    test = action_sentences[action_sentences["split"] == "test"]
    normalization = parameters["normalization"]
    if hasattr(normalization, "model_dump"):
        normalization = normalization.model_dump()
    return render_report(
        ReportContext(
            dataset=run.dataset,
            protocol=run.protocol,
            experiment=run.method,
            size=run.size,
            number_type=trained_precision(recognizer_model),
            revision=run.revision,
            date=run.date,
            synthetic=run.synthetic,
            length_unit="body units" if normalization["scale_to_body"] else "m",
            metrics=metrics,
            predictions=predictions,
            sentences=dict(zip(test["name"], test["codes"], strict=True)),
            stage1_history=vqvae_history,
            stage2_history=lora_history,
            code_statistics=code_statistics,
            code_usage=code_usage_figure,
            code_map=code_map_figure,
            animations={"A test clip beside its reconstruction": animation},
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
    report: Path,
    evaluation: EvaluationConfig,
) -> str:
    """What the terminal prints at the end."""
    return run_summary(run, metrics, predictions, len(quarantine), report, evaluation.table_rows)


def _reasons(quarantine: pd.DataFrame) -> pd.DataFrame:
    reasons = "expected " + quarantine["expected"].astype(str)
    return reasons.value_counts().rename_axis("reason").reset_index(name="clips")
