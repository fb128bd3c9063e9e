"""Plotly figures of one visual style, for the report and the catalog."""

from collections.abc import Mapping
from colorsys import hls_to_rgb
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

INK, MUTED, GRID = "#1f2933", "#66727f", "#e4e8ec"
BLUE, VERMILLION = "#0072b2", "#d55e00"
DARK_VERMILLION = "#b84a00"  # where text has the colour: it needs more contrast than lines
# Okabe and Ito's palette, which stays distinct under colour blindness, without its yellow.
PALETTE = [BLUE, VERMILLION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK]

# The history's columns beside the losses: the answers, how the codebook is used and what it keeps.
BESIDE_THE_LOSSES = {
    "validation_accuracy": "validation accuracy (%)",
    "codes_in_use": "codes in use (%)",
    "perplexity": "perplexity of the codes",
    "dead_codes": "dead codes",
    "zipf_js": "divergence from Zipf's law (nats)",
    "error": "mean joint error",
}
GREEN = "#009e73"
_SHARES = {"validation_accuracy", "codes_in_use"}  # drawn in per cent
_VALIDATION = f', <span style="color:{DARK_VERMILLION}">validation</span>'

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


def reliability_figure(intervals: pd.DataFrame) -> go.Figure:
    """Draw how often answers are right over the probability they are given with, both in per cent.

    Args:
        intervals: As `calibration.reliability` gives them.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    figure = go.Figure(
        go.Bar(
            x=50 * (intervals["low"] + intervals["high"]),
            y=100 * intervals["accuracy"],
            width=100 * (intervals["high"] - intervals["low"]),
            marker={"color": BLUE, "line": {"color": "white", "width": 1}},
            showlegend=False,
            customdata=intervals[["clips", "confidence"]],
            hovertemplate="%{customdata[0]} clips, mean probability %{customdata[1]:.1%}<br>"
            "%{y:.1f} % of them right<extra></extra>",
        )
    )
    ends = [0, 100]
    figure.add_scatter(x=ends, y=ends, name="as right as sure", mode="lines", line_color=INK, line_dash="dot")
    figure.update_xaxes(title_text="probability of the predicted class (%)", range=ends)
    figure.update_yaxes(title_text="right answers (%)", range=ends)
    return figure.update_layout(template=TEMPLATE, height=320, margin_t=32)


def refusal_figure(curves: Mapping[str, pd.DataFrame], metrics: Mapping[str, float | None]) -> go.Figure:
    """Draw how many known clips are kept over how many unknown ones are, in per cent, at every threshold.

    Args:
        curves: As `refusals.receiver_operating` gives them.
        metrics: As `refusals.refusal_metrics` gives them; where the model has a threshold, a dot is on its
            curves.

    Source: ours.
    """
    figure = go.Figure()
    for number, (kind, curve) in enumerate(curves.items()):
        color = PALETTE[number]
        figure.add_scatter(
            x=100 * curve["kept_unknown"],
            y=100 * curve["kept_known"],
            name=f"{kind}: area {curve.attrs['area']:.3f}",
            mode="lines",
            line_color=color,
            hovertemplate="%{x:.1f} % of the unknown and %{y:.1f} % of the known are kept<extra></extra>",
        )
        refused = metrics.get(f"refusal_refused_{kind}")
        kept = metrics.get(f"refusal_kept_{'test' if kind == 'unseen' else 'sentences'}")
        if refused is not None and kept is not None:
            figure.add_scatter(
                x=[100 * (1 - refused)],
                y=[100 * kept],
                mode="markers",
                marker={"color": color, "size": 10},
                showlegend=False,
                hovertemplate="at the threshold: %{x:.1f} and %{y:.1f} %<extra></extra>",
            )
    figure.update_xaxes(title_text="unknown ones kept (%)", range=[-2, 102])
    figure.update_yaxes(title_text="known ones kept (%)", range=[-2, 102])
    return figure.update_layout(template=TEMPLATE, height=340, margin_t=32)


def history_figure(history: pd.DataFrame) -> go.Figure:
    """Draw a training history as small multiples over a shared step axis.

    Loss terms are on the left, logarithmic where they are positive and span more than a factor of 5. What the
    history has beside the losses is on the right. What was measured on validation clips is vermillion: their
    loss in the panel of the training's, their accuracy on the right.

    Args:
        history: A row a log: `step`, loss terms (`loss`, the total, and columns that end in `_loss`) and any
            columns of `BESIDE_THE_LOSSES`; `validation_loss`. Values that are not finite are left out, and so
            are terms without others.

    Source: ours.
    """
    table = history.astype(float).replace([np.inf, -np.inf], np.nan).dropna(axis="columns", how="all")
    losses = [name for name in table.columns if name == "loss" or name.endswith("_loss")]
    lines = {name: [name] for name in losses if name != "validation_loss"}
    if "validation_loss" in losses:
        lines.setdefault("loss", []).append("validation_loss")
    losses = list(lines)
    beside = [name for name in BESIDE_THE_LOSSES if name in table.columns]
    across = min(len(losses), 2)
    rows = max(-(-len(losses) // max(across, 1)), len(beside), 1)
    places = {name: (1 + i // across, 1 + i % across) for i, name in enumerate(losses)}
    places |= {name: (1 + i, across + 1) for i, name in enumerate(beside)}
    titles = {place: _panel_title(name, len(losses) > 1) for name, place in places.items()}
    validated = {place: _VALIDATION for name, place in places.items() if len(lines.get(name, [])) > 1}
    columns = max(across + bool(beside), 1)
    figure = make_subplots(
        rows,
        columns,
        shared_xaxes="all",
        horizontal_spacing=0.08,
        vertical_spacing=0.36 / rows if rows > 1 else 0,
        subplot_titles=[titles[place] + validated.get(place, "") for place in sorted(titles)],
        specs=[
            [{} if (r, c) in titles or not titles else None for c in range(1, columns + 1)]
            for r in range(1, rows + 1)
        ],
    )
    for name, (row, column) in places.items():
        for drawn in lines.get(name, [name]):
            line = table[["step", drawn]].dropna().sort_values("step")
            colour = DARK_VERMILLION if drawn.startswith("validation_") else BLUE if name in losses else GREEN
            figure.add_scatter(
                x=line["step"],
                y=(100 if drawn in _SHARES else 1) * line[drawn],
                name=titles[row, column] if drawn == name else "validation loss",
                mode="lines" if len(line) > 1 else "markers",
                line={"width": 1.8, "color": colour},
                showlegend=False,
                row=row,
                col=column,
            )
        values = table[lines.get(name, [name])].stack()
        if name in losses and 0 < 5 * values.min() < values.max():
            figure.update_yaxes(type="log", tickvals=_log_ticks(values), row=row, col=column)
        below = [other for other, place in places.items() if place[1] == column and place[0] > row]
        figure.update_xaxes(showticklabels=not below, row=row, col=column)
        figure.update_xaxes(title_text=None if below else "optimiser step", row=row, col=column)
    figure.update_yaxes(tickformat="~g")
    figure.update_annotations(font={"size": 13, "color": INK})
    return figure.update_layout(template=TEMPLATE, height=90 + 170 * rows if rows > 1 else 320, margin_t=32)


def token_color(code: int) -> str:
    """Return the light background colour of a code, the same in every figure and table. Source: ours."""
    # Steps of the golden ratio keep the hues of neighbouring codes far apart; the number is always beside it.
    red, green, blue = hls_to_rgb(code * 0.618034 % 1, 0.86, 0.6)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _panel_title(name: str, among_others: bool) -> str:
    if name == "loss":
        return "total loss" if among_others else "loss"
    return BESIDE_THE_LOSSES.get(name) or name.replace("_", " ").replace("mmd", "MMD").replace("zipf", "Zipf")


def _log_ticks(values: pd.Series) -> list[float]:
    """Return 1, 2 and 5 of every decade, or the decades alone where there are many."""
    decades = range(int(np.floor(np.log10(values.min()))), int(np.ceil(np.log10(values.max()))) + 1)
    return [float(f"{m}e{decade}") for decade in decades for m in ((1, 2, 5) if len(decades) <= 3 else (1,))]


def _short(name: str, length: int = 24) -> str:
    """Shorten a class name for an axis and escape it, since Plotly reads a subset of HTML."""
    return escape(name if len(name) <= length else name[: length - 1].rstrip() + "…")
