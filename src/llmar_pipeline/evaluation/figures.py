"""Plotly figures of one visual style, for the report and the catalog."""

from collections.abc import Iterable, Mapping
from colorsys import hls_to_rgb
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from llmar_pipeline.evaluation.sentences import js_divergence, perplexity, used_codes, zipf_target

INK, MUTED, GRID = "#1f2933", "#66727f", "#e4e8ec"
BLUE, VERMILLION = "#0072b2", "#d55e00"
# Okabe and Ito's palette, which stays distinct under colour blindness, without its yellow.
PALETTE = [BLUE, VERMILLION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK]

TEMPLATE = go.layout.Template(
    layout={
        "font": {
            "family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
            "size": 13,
            "color": INK,
        },
        "colorway": PALETTE,
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 12, "r": 12, "t": 48, "b": 12},
        "title": {"font": {"size": 15}, "x": 0, "xref": "paper", "xanchor": "left"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hoverlabel": {"bgcolor": "white", "font": {"color": INK}},
        **{
            axis: {
                "gridcolor": GRID,
                "zeroline": False,
                "linecolor": MUTED,
                "ticks": "outside",
                "tickcolor": GRID,
                "automargin": True,
                "title": {"standoff": 14, "font": {"size": 13}},
            }
            for axis in ("xaxis", "yaxis")
        },
    }
)


def confusion_figure(counts: pd.DataFrame) -> go.Figure:
    """Draw a confusion matrix as a heat map of each true class's clips, in per cent.

    Args:
        counts: Clips of every (true, predicted) pair, as `metrics.confusion` gives them.

    Source: ours.
    """
    n = len(counts)
    clips = counts.to_numpy()
    total = clips.sum(axis=1, keepdims=True)
    share = np.divide(100 * clips, total, out=np.full(clips.shape, np.nan), where=total > 0)
    names = [escape(str(name)) for name in counts.index]
    labels = [_short(str(name)) for name in counts.index]
    figure = go.Figure(
        go.Heatmap(
            z=share,
            zmin=0,
            zmax=100,
            xgap=1,
            ygap=1,
            colorscale=[[0, "#f3f6f9"], [0.5, "#6aaed6"], [1, "#08406f"]],
            colorbar={
                "title": {"text": "% of true class", "side": "right", "font": {"size": 12}},
                "thickness": 10,
                "outlinewidth": 0,
                "lenmode": "pixels",
                "len": 200,
                "y": 1,
                "yanchor": "top",
            },
            showscale=n > 15,
            text=[[str(c) if c else "" for c in row] for row in clips] if n <= 15 else None,
            texttemplate="%{text}" if n <= 15 else None,
            customdata=[[[names[i], names[j], int(clips[i, j])] for j in range(n)] for i in range(n)],
            hovertemplate="true: %{customdata[0]}<br>predicted: %{customdata[1]}"
            "<br>%{customdata[2]} clips, %{z:.1f} %<extra></extra>",
        )
    )
    ticks = {
        "tickvals": list(range(n)),
        "ticktext": labels,
        "showgrid": False,
        "ticks": "",
        "ticklabelstandoff": 5,
        "showline": False,
        "tickfont": {"size": 12 if n <= 30 else 9},
    }
    figure.update_xaxes(title_text="predicted class", tickangle=-45 if n <= 30 else -90, **ticks)
    figure.update_yaxes(title_text="true class", autorange="reversed", **ticks)
    height = 200 + n * (30 if n <= 15 else 20 if n <= 30 else 12)
    return figure.update_layout(template=TEMPLATE, height=height, margin_t=12)


def per_class_figure(per_class: pd.DataFrame) -> go.Figure:
    """Draw the accuracy of every class as bars, best first, in per cent.

    Args:
        per_class: As `metrics.per_class` gives it.

    Source: ours.
    """
    table = per_class.sort_values(["accuracy", "class"], ascending=[True, False])
    figure = go.Figure(
        go.Bar(
            x=100 * table["accuracy"],
            y=list(range(len(table))),
            orientation="h",
            marker_color=BLUE,
            customdata=[
                [escape(c), k, n]
                for c, k, n in zip(table["class"], table["correct"], table["clips"], strict=True)
            ],
            hovertemplate="%{customdata[0]}: %{x:.1f} %<br>"
            "%{customdata[1]} of %{customdata[2]} clips<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="accuracy (%)", range=[0, 100])
    figure.update_yaxes(
        tickvals=list(range(len(table))),
        ticktext=[_short(str(name)) for name in table["class"]],
        showgrid=False,
        ticks="",
        ticklabelstandoff=5,
    )
    return figure.update_layout(
        template=TEMPLATE, height=110 + 20 * len(table), bargap=0.3, margin_t=12, margin_r=24
    )


def loss_figure(records: Iterable[Mapping[str, object]]) -> go.Figure:
    """Draw losses against the step, one line a name; the axis is logarithmic where they are all positive.

    Args:
        records: Mappings with `step`, `name` and `value`. Values that are not finite are left out.

    Source: ours.
    """
    table = pd.DataFrame(list(records), columns=["step", "name", "value"])
    table = table[np.isfinite(table["value"].astype(float))]
    figure = go.Figure()
    for name, line in table.groupby("name", sort=False):
        line = line.sort_values("step")
        figure.add_scatter(
            x=line["step"],
            y=line["value"],
            name=escape(str(name)),
            mode="lines" if len(line) > 1 else "markers",
            line_width=2,
        )
    logarithmic = len(table) > 0 and bool((table["value"] > 0).all())
    figure.update_xaxes(title_text="optimiser step")
    figure.update_yaxes(
        title_text="loss (log scale)" if logarithmic else "loss",
        type="log" if logarithmic else "linear",
        tickvals=_log_ticks(table["value"]) if logarithmic else None,
        tickformat="~g",
    )
    return figure.update_layout(template=TEMPLATE, height=360, showlegend=True, hovermode="x unified")


def usage_figure(usage: np.ndarray) -> go.Figure:
    """Draw the share of every code by rank against Zipf's law, both axes logarithmic.

    Args:
        usage: Occurrences of every code, [U], as `sentences.code_usage` gives them.

    Source: Eq. 2 of the paper.
    """
    target = zipf_target(len(usage))
    rank = np.arange(1, len(usage) + 1)
    share = 100 * np.sort(usage)[::-1] / np.sum(usage)
    used = used_codes(usage)
    figure = go.Figure()
    figure.add_scatter(
        x=rank[:used],
        y=share[:used],
        name="action sentences",
        mode="markers",
        marker={"size": 5, "color": BLUE},
    )
    figure.add_scatter(x=rank, y=100 * target, name="Zipf's law", mode="lines", line_color=VERMILLION)
    figure.update_xaxes(title_text="rank of the code", type="log", dtick=1)
    figure.update_yaxes(title_text="share of all tokens (%)", type="log", dtick=1, tickformat="~g")
    title = (
        f"{used} of {len(usage)} codes used, perplexity {perplexity(usage):.1f}"
        f" (Zipf {perplexity(target):.1f}),"
        f"<br>Jensen-Shannon divergence {js_divergence(usage, target):.3f} nats"
    )
    return figure.update_layout(
        template=TEMPLATE,
        height=400,
        title={"text": title, "font": {"size": 13}},
        margin_t=64,
        legend={"x": 0.02, "y": 0.04, "yanchor": "bottom", "orientation": "v"},
    )


def token_color(code: int) -> str:
    """Return the light background colour of a code, the same in every figure and table. Source: ours."""
    # Steps of the golden ratio keep the hues of neighbouring codes far apart; the number is always beside it.
    red, green, blue = hls_to_rgb(code * 0.618034 % 1, 0.86, 0.6)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _log_ticks(values: pd.Series) -> list[float]:
    """Return 1, 2 and 5 of every decade, or the decades alone where there are many."""
    decades = range(int(np.floor(np.log10(values.min()))), int(np.ceil(np.log10(values.max()))) + 1)
    return [float(f"{m}e{decade}") for decade in decades for m in ((1, 2, 5) if len(decades) <= 5 else (1,))]


def _short(name: str, length: int = 24) -> str:
    """Shorten a class name for an axis and escape it, since Plotly reads a subset of HTML."""
    return escape(name if len(name) <= length else name[: length - 1].rstrip() + "…")
