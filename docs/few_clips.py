"""The table and the figure of accuracy against training clips a class, from the rows in results/."""

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from llmar_pipeline.commands.accuracy_plot import STYLE
from llmar_pipeline.commands.rows import read_rows

DOCS = Path(__file__).resolve().parent
sys.path.append(str(DOCS.parent / "benchmarks"))
from peer_page import difference, percent, read_peers  # noqa: E402

ALL = "all"
READ = {
    "accuracy": "`best`",
    "head_accuracy": "class head",
    "bag_of_codes_accuracy": "bag of codes",
    "nearest_neighbour_accuracy": "nearest neighbour",
}
"""Numbers of a row of `best` -> heading."""
Rows = Sequence[Mapping[str, Any]]


def few_clips(env: str) -> dict[tuple[int | str, bool], tuple[Rows, Rows]]:
    """Rows of `best` and of the peer, by clips a class and by whether a trained model was the start.

    Args:
        env: The dataset.
    """
    folder = DOCS / "results"
    best = [row for row in read_rows(folder) if (row["experiment"], row["size"]) == ("best", "laptop")]
    peers = [row for row in read_peers(folder) if row["streams"] == ["joints"] and row["budget"] == "as best"]
    found: dict[tuple[int | str, bool], tuple[list[Any], list[Any]]] = {}
    for kind, rows in enumerate((best, peers)):
        for row in rows:
            changed = row.get("overrides", {})
            if row["environment"] == env and set(changed) <= {"shots", "shots_seed", "init_from"}:
                place = (changed.get("shots", ALL), "init_from" in changed)
                found.setdefault(place, ([], []))[kind].append(row)
    order = sorted(found, key=lambda place: (place[0] == ALL, place[0] if place[0] != ALL else 0, place[1]))
    return {place: found[place] for place in order}


def few_clips_table(env: str) -> str:
    """A Markdown table, a row a number of clips.

    Args:
        env: The dataset.
    """
    heads = ["training clips a class", "seeds", *(f"{name}, %" for name in READ.values()), "peer, %"]
    heads += ["`best` less peer, points", "processor s"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for (clips, started), (best, peers) in few_clips(env).items():
        if not best:
            continue
        seeds = {row["seed"]: row for row in best}
        rivals = [seeds.get(peer["seed"]) for peer in peers]
        lines.append(
            [
                f"{clips}{', from a trained model' if started else ''}",
                ", ".join(map(str, sorted(seeds))),
                *(_mean(best, name) for name in READ),
                _mean(peers, "accuracy"),
                difference(peers, rivals) if peers else "",
                f"{sum(row['processor_seconds'] for row in best) / len(best):,.0f}",
            ]
        )
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def few_clips_figure(env: str) -> bytes:
    """Curves of the table as an SVG image; where a trained model was the start, dots.

    Args:
        env: The dataset.
    """
    found = few_clips(env)
    ticks = list(dict.fromkeys(clips for clips, _ in found))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.subplots()
        curves = {name: (0, key) for key, name in READ.items() if key != "bag_of_codes_accuracy"}
        for name, (kind, key) in (curves | {"peer": (1, "accuracy")}).items():
            scratch = {clips: rows[kind] for (clips, started), rows in found.items() if not started}
            told = {ticks.index(clips): _values(rows, key) for clips, rows in scratch.items()}
            points = {place: 100 * sum(values) / len(values) for place, values in told.items() if values}
            axes.plot(list(points), list(points.values()), "o-", ms=4, label=name.strip("`"))
        begun = {ticks.index(clips): rows[0] for (clips, started), rows in found.items() if started}
        values = [
            (place, 100 * value) for place, rows in begun.items() for value in _values(rows, "accuracy")
        ]
        if values:
            axes.plot(*zip(*values, strict=True), "*", ms=9, label="best, from a trained model")
        axes.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
        axes.set(xlabel="training clips a class", ylabel="accuracy, %", title=env)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return drawn.getvalue()


def _values(rows: Rows, name: str) -> list[float]:
    return [row["metrics"][name] for row in rows if row["metrics"].get(name) is not None]


def _mean(rows: Rows, name: str) -> str:
    values = _values(rows, name)
    return percent(values) if values else ""
