"""The report of one run: a single HTML file that opens without a network."""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from llmar_pipeline.evaluation.calibration import expected_calibration_error, reliability
from llmar_pipeline.evaluation.metrics import most_confused, per_class
from llmar_pipeline.reporting.figures import token_color
from llmar_pipeline.reporting.gallery import SIDE, Gallery
from llmar_pipeline.reporting.report_figures import FIGURES, Section
from llmar_pipeline.reporting.summary import percent, result_of
from llmar_pipeline.reporting.tables import example_clips
from llmar_pipeline.reporting.templates import templates

LIMIT = 8_000_000  # bytes of a report
_PARTS = {
    "film_strips": ("film strips", "film_strip.png"),
    "animations": ("the animation", "animation.gif"),
    "gallery": ("the gallery", "the sequences of 03_primary"),
    "figures": ("figures", "the .json files, which Plotly reads"),
}
"""What a report is made smaller by, in this order: the part, what it is called, what it was made from."""


@dataclass(frozen=True)
class ReportContext:
    """What a report shows. A part that is None is left out.

    Attributes:
        dataset: Name of the corpus.
        protocol: Name of the protocol.
        experiment: Its name, and whether it was adapted to the size.
        size: Name of the machine size.
        language_model: Its name, as `language.llm_name` gives it.
        number_type: In which the language model was trained.
        answers_of_head: The language model learnt the class head's probabilities in place of labels.
        rows_of_classes: The action tokens' rows started half way to the words of the training classes.
        revision: Git revision of the code.
        date: Date of the run, as it is to be printed.
        synthetic: The recordings are made up; a banner says so.
        metrics: Content of metrics.json; what is missing, None or empty is left out.
        predictions: The predictions table.
        sentences: Clip name to code indices, for the example clips.
        code_statistics: As `sentences.sentence_statistics` returns them for test clips, with
            `reconstruction_error` (mean distance between a joint and its reconstruction, in `length_unit`);
            the same of training clips under `train_...`. What is missing is left out.
        length_unit: Unit of the sequences' coordinates.
        figures: By the names of `report_figures.FIGURES`.
        animations: Caption to GIF image.
        film_strips: Caption to PNG image.
        clips_read: Number of recordings that could be read; those left out are not among them.
        quarantined: Those left out: table of `reason` and `clips` (a count).
        split_counts: Split name to number of clips.
        parameters: Nested parameters of the run, as they were resolved.
        seed: Of the trainings.
        versions: Name of a program to its version, as `config.versions` gives them.
        gallery: Test clips that move.
        model_card: File of the model's card, beside the report.

    Source: ours.
    """

    dataset: str
    protocol: str
    experiment: str
    size: str
    revision: str
    date: str
    synthetic: bool = False
    metrics: Mapping[str, Any] | None = None
    predictions: pd.DataFrame | None = None
    sentences: Mapping[str, Sequence[int]] | None = None
    code_statistics: Mapping[str, float | int] | None = None
    language_model: str | None = None
    number_type: str | None = None
    answers_of_head: bool = False
    rows_of_classes: bool = False
    length_unit: str = "m"
    figures: Mapping[str, go.Figure] = field(default_factory=dict)
    animations: Mapping[str, bytes] | None = None
    film_strips: Mapping[str, bytes] | None = None
    clips_read: int | None = None
    quarantined: pd.DataFrame | None = None
    split_counts: Mapping[str, int] | None = None
    parameters: Mapping[str, object] | None = None
    seed: str | None = None
    versions: Mapping[str, str] | None = None
    gallery: Gallery | None = None
    model_card: str | None = None


def render_report(context: ReportContext, limit: int = LIMIT) -> str:
    """Write a run's report as one HTML page; scripts and images are inside it.

    Args:
        context: What it shows.
        limit: Its bytes at most. Of a larger one parts are left out, and the page says which, and where what
            they were made from lies: film strips, the animation, the gallery, figures, until it is small
            enough. Tables stay.

    Raises:
        UserError: The predictions table is empty or damaged.

    Source: ours.
    """
    page, left_out = _render(context, []), []
    for part, (what, where) in _PARTS.items():
        if len(page.encode()) <= limit:
            break
        if getattr(context, part):
            nothing: dict[str, Any] = {part: {} if part == "figures" else None}
            context = replace(context, **nothing)
            left_out.append(f"{what} ({where})")
            page = _render(context, left_out)
    return page


def _render(context: ReportContext, left_out: list[str]) -> str:
    # Every value that reaches the page is escaped, except Plotly's own markup.
    environment = templates()
    environment.filters |= {"percent": percent, "token_color": token_color}
    c, predictions = context, context.predictions
    classes = None if predictions is None else per_class(predictions)
    intervals = None if predictions is None else reliability(predictions)
    return environment.get_template("report.html").render(
        c=c,
        figures={section: _figures(c.figures, section) for section in get_args(Section)},
        plotly_js=Markup(get_plotlyjs()) if c.figures else None,
        result=None if c.metrics is None else result_of(c.metrics),
        unseen=(c.metrics or {}).get("unseen_classes"),
        among_all=(c.metrics or {}).get("class_list") == "all",
        calibration_error=None if intervals is None else expected_calibration_error(intervals),
        classes=None if classes is None else _records(classes),
        confused=None if predictions is None else _records(most_confused(predictions, 5)),
        examples=None if predictions is None else _records(example_clips(predictions)),
        sentences=c.sentences or {},
        quarantined=None if c.quarantined is None else _records(c.quarantined),
        statistics=_statistics(c.code_statistics or {}, c.length_unit),
        animations=_images(c.animations, "gif"),
        strips=_images(c.film_strips, "png"),
        parameters=list(_flatten(c.parameters or {})),
        left_out=left_out,
        side=SIDE,
        gallery_data=None if c.gallery is None else Markup(_gallery_data(c.gallery)),
    )


def _gallery_data(shown: Gallery) -> str:
    """What the page's script draws: numbers alone, so nothing in it can end the script."""
    frames = [clip.frames for clip in shown.clips]
    return json.dumps({"joints": shown.joints, "bones": shown.bones, "clips": frames}, separators=(",", ":"))


def _statistics(values: Mapping[str, float | int], unit: str) -> list[tuple[str, str, str, str]]:
    """Rows of (statistic, of test clips, of training clips, what to compare with)."""

    def number(key: str, form: str) -> str:
        return form.format(values[key]).replace("%", "\u202f%") if key in values else ""

    rows = [
        ("codes in use", "used_codes", "{:d}", number("codes", "of {:d}")),
        ("perplexity of the codes", "perplexity", "{:.1f}", number("zipf_perplexity", "Zipf's law {:.1f}")),
        ("divergence from Zipf's law", "zipf_js", "{:.3f} nats", "equal 0, disjoint 0.693"),
        (
            "tokens in correlated pairs",
            "correlated_share",
            "{:.1%}",
            number("random_correlated_share", "random pairs {:.1%}"),
        ),
        ("mean joint error", "reconstruction_error", "{:.3g} " + unit, ""),
    ]
    return [
        (label, number(key, form), number(f"train_{key}", form), reference)
        for label, key, form, reference in rows
        if key in values
    ]


def _images(images: Mapping[str, bytes] | None, kind: str) -> dict[str, str]:
    return {
        caption: f"data:image/{kind};base64," + b64encode(image).decode()
        for caption, image in (images or {}).items()
    }


def _flatten(parameters: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    for key, value in parameters.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _figures(drawn: Mapping[str, go.Figure], section: str) -> list[dict[str, object]]:
    """What stands in a section of the report, in its order."""
    return [
        {
            "title": figure.title,
            "label": figure.title or name.replace("_", " "),
            "note": figure.note,
            "wide": figure.wide,
            "plot": _plot(drawn[name]),
        }
        for name, figure in FIGURES.items()
        if figure.section == section and name in drawn
    ]


def _plot(figure: go.Figure) -> Markup:
    config = {"displayModeBar": False, "responsive": True}
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, config=config))


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None)]
