"""The result of a run as text, for the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.evaluation.config import RunInfo
from llmar_pipeline.evaluation.tables import prediction_table, text_table


def run_summary(
    run: RunInfo,
    metrics: Mapping[str, Any],
    predictions: pd.DataFrame,
    quarantined: int,
    report: Path,
    rows: int,
) -> str:
    """Predicted and true names, the accuracy beside its controls, and where the report lies.

    Args:
        run: which run it is.
        metrics: content of metrics.json.
        predictions: the predictions table of the test clips.
        quarantined: number of recordings left out.
        report: path of report.html.
        rows: clips shown.

    Source: ours.
    """
    results = [
        ("accuracy", metrics["accuracy"], f"95 % interval {_span(metrics)}, {metrics['n_test']} test clips"),
        ("mean class accuracy", metrics["mean_class_accuracy"], f"{metrics['n_classes']} classes"),
        ("top 5", metrics["top5"], ""),
        (
            "validation accuracy",
            metrics["val_accuracy"],
            f"{metrics['n_val']} clips of training subjects left out",
        ),
        ("control: shuffled", metrics["shuffled_accuracy"], "the same model, sentences of other clips"),
        ("control: majority", metrics["majority_accuracy"], "always the most frequent training class"),
        ("chance", metrics["chance"], ""),
    ]
    table = text_table(
        [(name, f"{100 * value:.1f} %", note) for name, value, note in results if value is not None],
        ["", f"{run.dataset} {run.protocol}", ""],
        cell_width=80,
    )
    notes = ["The recordings are synthetic: made up by a generator."] if run.synthetic else []
    notes += [f"{quarantined} damaged recordings were left out (quarantine.parquet)."] if quarantined else []
    return "\n".join(["", prediction_table(predictions, rows), "", table, "", *notes, f"Report: {report}"])


def _span(metrics: Mapping[str, Any]) -> str:
    return f"{100 * metrics['accuracy_low']:.1f} to {100 * metrics['accuracy_high']:.1f} %"
