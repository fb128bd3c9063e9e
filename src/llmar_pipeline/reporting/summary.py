"""The result of a run as text, for the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.reporting.config import RunInfo
from llmar_pipeline.reporting.tables import prediction_table, text_table

READ_OUTS = {
    "bag_of_codes": ("bag of codes", "linear, on counts of codes"),
    "code_transformer": ("codes in order", "a small transformer on codes"),
    "codes": ("codes alone", "by what each said in training; kedro predict --read=codes"),
    "nearest_neighbour": ("nearest neighbour", "on joints, nothing learnt"),
    "head": ("class head", "linear, on stage 1's features; kedro predict --read=head"),
    "text": ("descriptions", "linear, from how far each joint moves to texts of the classes"),
    "transductive": ("the same, transductive", "the test clips by themselves, without labels, as well"),
}
"""Answers without a language model: their name in metrics.json, their title, and what they are."""
LABELS = {"accuracy": "accuracy", "mean_class_accuracy": "mean class accuracy"}
NO_VALIDATION = "There are no validation clips."
SHOWN = 10  # class names in a note; metrics.json has all


def run_summary(
    run: RunInfo,
    metrics: Mapping[str, Any],
    predictions: pd.DataFrame,
    quarantined: int,
    report: Path,
    rows: int,
) -> str:
    """Predicted and true names, the headline metric beside its controls, and where the report lies.

    Args:
        run: which run it is.
        metrics: content of metrics.json.
        predictions: the predictions table of the test clips.
        quarantined: number of recordings left out.
        report: path of report.html.
        rows: clips shown.

    Source: ours.
    """
    first = headline(metrics)
    other = "mean_class_accuracy" if first == "accuracy" else "accuracy"
    results = [
        (
            LABELS[first],
            metrics[first],
            f"95 % interval {interval(metrics)}, {metrics['n_test']} test clips, "
            f"{metrics['n_classes']} classes",
        ),
        (LABELS[other], metrics[other], ""),
        ("top 5", metrics.get("top5"), ""),
        (
            "uncorrected scores",
            metrics.get(f"uncorrected_{first}"),
            "not corrected for content-free sentences",
        ),
        ("free generation", metrics.get(f"generated_{first}"), "exactly the name, unbound by the class list"),
        ("calibration error", metrics.get("calibration_error"), "mean gap of probability and accuracy"),
        (
            f"validation {LABELS[first]}",
            metrics.get(f"val_{first}"),
            f"{metrics['n_val']} clips of training subjects left out{_drawn_from(metrics)}",
        ),
        *(
            (f"control: {title}", metrics.get(f"{name}_{first}"), f"{what}; {llm_adds(metrics, name)}")
            for name, (title, what) in READ_OUTS.items()
        ),
        (
            "control: shuffled",
            metrics.get(f"shuffled_{first}"),
            "the same model, sentences of other clips",
        ),
        (
            "control: majority",
            metrics.get(f"majority_{first}"),
            "always the most frequent training class",
        ),
        ("chance", metrics["chance"], f"one of the {metrics['n_classes']} classes of the list"),
    ]
    table = text_table(
        [(name, f"{100 * value:.1f} %", note) for name, value, note in results if value is not None],
        ["", f"{run.dataset} {run.tested}", ""],
        cell_width=100,
    )
    notes = ["The recordings are synthetic: made up by a generator."] if run.synthetic else []
    if unseen := metrics.get("unseen_classes"):
        among_all = metrics.get("class_list") == "all"
        asked = "asked among all classes" if among_all else "the whole class list of the test"
        notes.append(f"Not trained, and {asked}: {', '.join(unseen)}.")
    notes += [] if metrics["n_val"] else [NO_VALIDATION]
    notes += [note] if (note := trained_on(metrics)) else []
    notes += class_notes(metrics)
    notes += [note] if (note := below_head(metrics)) else []
    notes += [f"{quarantined} damaged recordings were left out (quarantine.parquet)."] if quarantined else []
    return "\n".join(["", prediction_table(predictions, rows), "", table, "", *notes, f"Report: {report}"])


def headline(metrics: Mapping[str, Any]) -> str:
    """Name of the metric that publications on the corpus report. Source: ours."""
    return str(metrics.get("headline", "accuracy"))


def interval(metrics: Mapping[str, Any]) -> str:
    """The 95 % interval of the headline metric, in per cent. Source: ours."""
    low, high = (100 * metrics[f"{headline(metrics)}_{end}"] for end in ("low", "high"))
    return f"{low:.1f} to {high:.1f} %"


def trained_on(metrics: Mapping[str, Any]) -> str:
    """How many clips trained, and on what the settings were chosen; nothing of a run from before it was kept.

    Source: ours.
    """
    if metrics.get("n_train") is None:
        return ""
    trained = f"{metrics['n_train']:,} clips trained"
    if not metrics.get("val_share") and not metrics["n_val"]:
        trained += ", all of the training part (val_share 0)"
    if folds := metrics.get("chosen_on"):
        trained += f"; the settings were chosen on folds of the training part ({folds.replace('+', ', ')})"
    return f"{trained}."


def _drawn_from(metrics: Mapping[str, Any]) -> str:
    drawn_from = metrics.get("val_drawn_from")
    return "" if drawn_from is None else f", drawn from {drawn_from:,}"


def class_notes(metrics: Mapping[str, Any]) -> list[str]:
    """Over which classes the numbers are, where some have no test clip or no training clip.

    Source: ours.
    """
    notes = []
    untested, n_classes = metrics.get("untested_classes") or [], metrics["n_classes"]
    if untested:
        more = " and the untrained ones" if metrics.get("untrained_classes") else ""
        notes.append(
            f"{len(untested)} of {n_classes} classes have no test clip: {_names(untested)}; "
            f"mean class accuracy is over the other {n_classes - len(untested)}{more}, "
            f"chance over all {n_classes}."
        )
    if untrained := metrics.get("untrained_classes"):
        notes.append(
            f"Tested but never trained, so that no answer can be right: {_names(untrained)}; "
            "their clips count as wrong."
        )
    return notes


def _names(classes: Sequence[str]) -> str:
    return ", ".join(classes[:SHOWN]) + (", ..." if len(classes) > SHOWN else "")


def below_head(metrics: Mapping[str, Any]) -> str:
    """A sentence where the language model is below the class head by more than the interval, else nothing.

    Source: ours.
    """
    high = metrics.get("minus_head_high")
    if high is None or high >= 0:
        return ""
    return (
        "The language model answers worse than the class head that reads stage 1's features: "
        "by more than chance explains."
    )


def llm_adds(metrics: Mapping[str, Any], name: str) -> str:
    """The language model less an answer without it, in points, with the paired 95 % interval.

    Args:
        metrics: Content of metrics.json.
        name: One of `READ_OUTS`.

    Returns:
        Nothing where there is no such answer. The interval is of the accuracy: beside another headline
        metric, the difference of the accuracies stands with it.

    Source: ours.
    """
    without = metrics.get(f"{name}_{headline(metrics)}")
    if without is None:
        return ""
    points = round(100 * (metrics[headline(metrics)] - without), 1)
    text = f"the LLM is {abs(points)} points {'above' if points > 0 else 'below'} it"
    if not points:
        text = "the LLM adds nothing to it"
    if metrics.get(f"minus_{name}_low") is None:
        return text
    less, low, high = (100 * metrics[f"minus_{name}{end}"] for end in ("", "_low", "_high"))
    of = "" if headline(metrics) == "accuracy" else f"in accuracy {less:+.1f}, "
    return f"{text} ({of}{low:+.1f} to {high:+.1f})"


def result_of(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The headline metric, its controls in the same metric, and the other numbers, for report and model card.

    Args:
        metrics: Content of metrics.json; what is missing, None or empty is left out.

    Returns:
        `value`, `label` and `interval` of the headline metric; `controls`, (name, value, what the language
        model adds to it); `others`, (name, value); `val` on validation clips, or None, and
        `val_clips`, how many; `class_notes`; `trained_on`; `paired`, whether a control has an interval;
        `below_head`.

    Source: ours.
    """
    first = headline(metrics)
    controls = [
        ("this run", metrics[first], ""),
        ("scores not corrected for the prior", metrics.get(f"uncorrected_{first}"), ""),
        ("free generation, exact match", metrics.get(f"generated_{first}"), ""),
        *(
            (f"{title}: {what}", metrics.get(f"{name}_{first}"), llm_adds(metrics, name))
            for name, (title, what) in READ_OUTS.items()
        ),
        ("shuffled action sentences", metrics.get(f"shuffled_{first}"), ""),
        ("most frequent training class", metrics.get(f"majority_{first}"), ""),
        (f"chance, one of {metrics['n_classes']} classes", metrics["chance"], ""),
    ]
    return {
        "value": metrics[first],
        "label": {"accuracy": "top-1 accuracy"}.get(first, LABELS[first]),
        "interval": interval(metrics).replace(" %", "\u202f%"),
        "controls": [control for control in controls if control[1] is not None],
        "others": [
            *((LABELS[name], metrics[name]) for name in LABELS if name != first),
            *((("top-5 accuracy", metrics["top5"]),) if metrics.get("top5") is not None else ()),
        ],
        "class_notes": class_notes(metrics),
        "trained_on": trained_on(metrics),
        "val_clips": f"{metrics.get('n_val', 0):,} clips{_drawn_from(metrics)}",
        "val": metrics.get(f"val_{first}"),
        "paired": any(metrics.get(f"minus_{name}_low") is not None for name in READ_OUTS),
        "below_head": below_head(metrics),
    }


def percent(fraction: float) -> str:
    """A fraction of 1 in per cent. Source: ours."""
    return f"{100 * fraction:.1f}\u202f%"
