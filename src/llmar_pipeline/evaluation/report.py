"""The report of one run: a single HTML file that opens without a network."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from llmar_pipeline.evaluation.figures import (
    confusion_figure,
    loss_figure,
    per_class_figure,
    token_color,
    usage_figure,
)
from llmar_pipeline.evaluation.metrics import confusion, most_confused, per_class
from llmar_pipeline.evaluation.tables import example_clips

Losses = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class ReportContext:
    """What a report shows. A part that is None is left out.

    Attributes:
        dataset: Name of the corpus.
        protocol: Name of the protocol.
        experiment: Name of the experiment.
        size: Name of the machine size.
        revision: Git revision of the code.
        date: Date of the run, as it is to be printed.
        synthetic: The recordings are made up; a banner says so.
        metrics: As `metrics.metrics` returns them; `val_accuracy` is shown where it is there.
        shuffled_accuracy: Accuracy (fraction of 1) where every clip is given another clip's sentence.
        predictions: The predictions table.
        sentences: Clip name to code indices, for the example clips.
        stage1_losses: Records of `step`, `name`, `value`.
        stage2_losses: The same.
        reconstruction_error: Mean distance between a joint and its reconstruction, in `length_unit`.
        length_unit: Unit of the sequences' coordinates.
        usage: Occurrences of every code, [U].
        film_strips: Caption to PNG image.
        clips_read: Number of clips read.
        quarantined: Table of `reason` and `clips` (a count).
        split_counts: Split name to number of clips.
        parameters: Nested parameters of the run.

    Source: ours.
    """

    dataset: str
    protocol: str
    experiment: str
    size: str
    revision: str
    date: str
    synthetic: bool = False
    metrics: Mapping[str, float | int | None] | None = None
    shuffled_accuracy: float | None = None
    predictions: pd.DataFrame | None = None
    sentences: Mapping[str, Sequence[int]] | None = None
    stage1_losses: Losses | None = None
    stage2_losses: Losses | None = None
    reconstruction_error: float | None = None
    length_unit: str = "m"
    usage: np.ndarray | None = None
    film_strips: Mapping[str, bytes] | None = None
    clips_read: int | None = None
    quarantined: pd.DataFrame | None = None
    split_counts: Mapping[str, int] | None = None
    parameters: Mapping[str, object] | None = None


def render_report(context: ReportContext) -> str:
    """Write a run's report as one HTML page; scripts and images are inside it.

    Raises:
        UserError: The predictions table is empty or damaged.

    Source: ours.
    """
    # Every value that reaches the page is escaped, except Plotly's own markup.
    environment = Environment(
        loader=PackageLoader("llmar_pipeline", "evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "token_color": token_color}
    c, predictions = context, context.predictions
    classes = None if predictions is None else per_class(predictions)
    figures = {
        "confusion": None if predictions is None else _plot(confusion_figure(confusion(predictions))),
        "per_class": None if classes is None else _plot(per_class_figure(classes)),
        "stage1": None if c.stage1_losses is None else _plot(loss_figure(c.stage1_losses)),
        "stage2": None if c.stage2_losses is None else _plot(loss_figure(c.stage2_losses)),
        "usage": None if c.usage is None else _plot(usage_figure(c.usage)),
    }
    return environment.get_template("report.html").render(
        c=c,
        figures=figures,
        plotly_js=Markup(get_plotlyjs()) if any(figures.values()) else None,
        controls=[] if c.metrics is None else _controls(c.metrics, c.shuffled_accuracy),
        classes=None if classes is None else _records(classes),
        confused=None if predictions is None else _records(most_confused(predictions, 5)),
        examples=None if predictions is None else _records(example_clips(predictions)),
        sentences=c.sentences or {},
        quarantined=None if c.quarantined is None else _records(c.quarantined),
        strips={
            caption: "data:image/png;base64," + b64encode(image).decode()
            for caption, image in (c.film_strips or {}).items()
        },
        parameters=list(_flatten(c.parameters or {})),
    )


def _controls(metrics: Mapping[str, float | int | None], shuffled: float | None) -> list[tuple[str, float]]:
    rows = [
        ("this run", metrics["accuracy"]),
        ("shuffled action sentences", shuffled),
        ("most frequent training class", metrics["majority_accuracy"]),
        (f"chance, {metrics['n_classes']} classes", metrics["chance"]),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _flatten(parameters: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    for key, value in parameters.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _plot(figure: go.Figure) -> Markup:
    config = {"displayModeBar": False, "responsive": True}
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, config=config))


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None)]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}\u202f%"
