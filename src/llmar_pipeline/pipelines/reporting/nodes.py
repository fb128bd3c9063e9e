"""Figures, the report and the table in the terminal."""

from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from llmar_pipeline.evaluation.config import EvaluationConfig
from llmar_pipeline.io.run_names import seeds
from llmar_pipeline.language.config import AdapterConfig, LLMConfig, trained_precision
from llmar_pipeline.language.llm_name import llm_name
from llmar_pipeline.reporting.config import RunInfo, versions
from llmar_pipeline.reporting.gallery import gallery
from llmar_pipeline.reporting.model_card import model_card as card_of
from llmar_pipeline.reporting.report import ReportContext, render_report
from llmar_pipeline.reporting.report_figures import draw_figures as draw
from llmar_pipeline.reporting.summary import run_summary
from llmar_pipeline.reporting.tables import evenly_chosen


def draw_figures(
    predictions: pd.DataFrame,
    action_sentences: pd.DataFrame,
    recognizer_model: Path,
    vqvae_history: pd.DataFrame,
    lora_history: pd.DataFrame,
    refusals: pd.DataFrame,
) -> dict[str, go.Figure]:
    """Every figure of the report, by its name."""
    return draw(predictions, action_sentences, recognizer_model, vqvae_history, lora_history, refusals)


def write_report(
    run: RunInfo,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    action_sentences: pd.DataFrame,
    splits: pd.DataFrame,
    quarantine: pd.DataFrame,
    sequences: Path,
    recognizer_model: Path,
    model_card: Path,
    code_statistics: dict[str, float | int],
    animation: bytes,
    film_strip: bytes,
    parameters: dict[str, Any],
    **figures: go.Figure,
) -> str:
    """One HTML file that holds everything."""
    test = action_sentences[action_sentences["split"] == "test"]
    values = {k: v.model_dump() if hasattr(v, "model_dump") else v for k, v in parameters.items()}
    lora = values["lora"]
    return render_report(
        ReportContext(
            dataset=run.dataset,
            protocol=run.tested,
            experiment=run.method,
            size=run.size,
            language_model=llm_name(values["llm"]["model"]),
            number_type=trained_precision(recognizer_model),
            answers_of_head=lora["answers"] == "head",
            rows_of_classes=lora["input"] == "codes" and lora["action_rows"] == "classes",
            revision=run.revision,
            date=run.date,
            synthetic=run.synthetic,
            length_unit="body units" if values["normalization"]["scale_to_body"] else "m",
            metrics=metrics,
            predictions=predictions,
            sentences=dict(zip(test["name"], test["codes"], strict=True)),
            code_statistics=code_statistics,
            figures=figures,
            animations={"A test clip beside its reconstruction": animation},
            film_strips={"Test clips above their reconstruction, with their action sentence": film_strip},
            clips_read=len(splits),
            quarantined=_reasons(quarantine),
            split_counts=_counts(splits),
            parameters=values,
            seed=seeds(values),
            versions=versions(),
            gallery=gallery(evenly_chosen(predictions), sequences),
            model_card=model_card.name,
        )
    )


def write_model_card(
    run: RunInfo,
    metrics: dict[str, Any],
    splits: pd.DataFrame,
    quarantine: pd.DataFrame,
    recognizer_model: Path,
    llm_cache: Path,
    llm: LLMConfig,
    lora: AdapterConfig,
) -> str:
    """What the trained model is, for whoever finds its folder."""
    return card_of(run, metrics, recognizer_model, _counts(splits), len(quarantine), llm, lora, llm_cache)


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


def _counts(splits: pd.DataFrame) -> dict[str, int]:
    return {str(split): int(clips) for split, clips in splits["split"].value_counts().items()}
