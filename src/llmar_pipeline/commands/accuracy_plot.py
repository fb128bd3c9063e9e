"""The figure of a grid: every run's accuracy as a dot, every experiment's mean as a bar beside them."""

import io
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

_ROW, _PANEL = 0.32, 4.2  # inches: height of an experiment, width of a corpus
_COLOUR, _SEEDS = "#1f5fa8", "#8a8a8a"
# Text stays text, and the same numbers give the same bytes.
STYLE: Any = {
    **{"svg.fonttype": "none", "svg.hashsalt": "llmar", "font.size": 9},
    **{"axes.spines.top": False, "axes.spines.right": False},
}


def accuracy_plot(table: pd.DataFrame, compared: pd.DataFrame) -> bytes:
    """Draw the accuracies of a grid, a panel a corpus, experiments from top to bottom as they were named.

    Args:
        table: A line a run: environment, protocol, experiment, `accuracy`, as `comparison.table_of` gives it.
        compared: A line an experiment: the same, with the mean in `accuracy`, as `comparison.compare` does.

    Returns:
        An SVG image; empty where no run has an accuracy.

    Source: ours.
    """
    if "accuracy" not in compared or compared["accuracy"].isna().all():
        return b""
    corpora = list(compared.groupby(["environment", "protocol"], sort=False))
    rows = max(len(means) for _, means in corpora)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(0.9 + _PANEL * len(corpora), 0.8 + _ROW * rows), layout="constrained")
        for axes, ((environment, protocol), means) in zip(
            figure.subplots(1, len(corpora), squeeze=False)[0], corpora, strict=True
        ):
            runs = table[(table["environment"] == environment) & (table["protocol"] == protocol)]
            places = {name: place for place, name in enumerate(means["experiment"])}
            axes.plot(100 * runs["accuracy"], runs["experiment"].map(places), "o", color=_SEEDS, ms=4)
            axes.plot(100 * means["accuracy"], list(places.values()), "|", color=_COLOUR, ms=16, mew=2.5)
            for place, mean in enumerate(100 * means["accuracy"]):
                if pd.notna(mean):
                    axes.annotate(
                        f"{mean:.1f}", (mean, place), (0, 9), textcoords="offset points", ha="center"
                    )
            axes.set(title=f"{environment} {protocol}", xlabel="accuracy, %", ylim=(len(places) - 0.5, -0.7))
            axes.set_yticks(list(places.values()), list(places))
            axes.grid(axis="x", alpha=0.3)
            axes.margins(x=0.1)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return drawn.getvalue()
