"""The table of a grid: mean, spread over seeds, and the paired interval against the first experiment."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llmar_pipeline.commands.published import ABLATIONS
from llmar_pipeline.commands.rows import shares_of_right
from llmar_pipeline.evaluation.paired import paired_difference_of_shares
from llmar_pipeline.files import whole_file

COLUMNS = {
    "accuracy": ("accuracy, %", 100, 1),
    "mean_class_accuracy": ("mean class accuracy, %", 100, 1),
    "head_accuracy": ("class head, %", 100, 1),
    "bag_of_codes_accuracy": ("bag of codes, %", 100, 1),
    "nearest_neighbour_accuracy": ("nearest neighbour, %", 100, 1),
    "shuffled_accuracy": ("shuffled, %", 100, 1),
    "zipf_js": ("JS(usage, Zipf), nats", 1, 4),
    "correlated_share": ("correlated tokens, %", 100, 2),
    "mmd": ("MMD to words", 1, 3),
    "train_used_codes": ("codes used in training", 1, 0),
    "used_codes": ("in test", 1, 0),
    "perplexity": ("perplexity", 1, 0),
    "reconstruction_error": ("joint error x 1,000", 1000, 0),
    "processor_seconds": ("processor s", 1, 0),
}
"""Number of a row -> heading, factor and digits in the table; of test clips unless named."""
FIRST = "less_first"
PAPER = "the paper (NTU120 X-Set), %"


def table_of(
    identities: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any] | None],
    failed: Sequence[str],
) -> pd.DataFrame:
    """Every run of a grid.

    Args:
        identities: of the runs' rows.
        rows: the row of each, None where there is none.
        failed: of each, why there is none.

    Returns:
        One line a run: environment, protocol, experiment, size, seed, `failed`, every number of its row, and
        `right` and `clips` where the row has them.
    """
    lines = []
    for known, row, why in zip(identities, rows, failed, strict=True):
        names = ("environment", "protocol", "experiment", "size", "seed")
        line = {name: known[name] for name in names} | {"failed": "" if row else why}
        for key in ("metrics", "code_statistics"):
            numbers = (row or {}).get(key, {})
            line |= {name: value for name, value in numbers.items() if isinstance(value, int | float)}
        line |= {key: row[key] for key in ("processor_seconds", "right", "clips") if row and key in row}
        lines.append(line)
    return pd.DataFrame(lines)


def compare(table: pd.DataFrame) -> pd.DataFrame:
    """What came out, a line an experiment and environment.

    Args:
        table: as `table_of` returns it.

    Returns:
        environment, protocol, experiment; `seeds`, the number of finished ones; mean (`<name>`) and standard
        deviation (`<name>_sd`) of each of `COLUMNS`; `less_first`, the accuracy less that of the first
        experiment, over the seeds that both have, the same of each of them as text (`less_first_seeds`), and
        the ends of its paired interval `less_first_low` and `less_first_high`, where all rows say which clips
        were right and speak of the same; `failed`, which seeds, and why.
    """
    lines = []
    for (environment, protocol), group in table.groupby(["environment", "protocol"], sort=False):
        runs = [(str(name), part) for name, part in group.groupby("experiment", sort=False)]
        for experiment, part in runs:
            done, lost = part[part["failed"] == ""], part[part["failed"] != ""]
            line = {"environment": environment, "protocol": protocol, "experiment": experiment}
            line |= {"seeds": len(done)}
            for name in [name for name in COLUMNS if name in done and done[name].notna().any()]:
                values = done[name].astype(float)
                line |= {name: values.mean(), f"{name}_sd": values.std()}
            if experiment != runs[0][0]:
                line |= _less_first(done, runs[0][1][runs[0][1]["failed"] == ""])
            why = [f"seed {seed}: {line}" for seed, line in zip(lost["seed"], lost["failed"], strict=True)]
            lines.append(line | {"failed": "; ".join(why)})
    return pd.DataFrame(lines)


def in_words(compared: pd.DataFrame) -> pd.DataFrame:
    """The same as text, a column a heading.

    Args:
        compared: as `compare` returns it.
    """
    columns: dict[str, list[str]] = {}
    if len(compared[["environment", "protocol"]].drop_duplicates()) > 1:
        columns["corpus"] = [f"{e} {p}" for e, p in compared[["environment", "protocol"]].to_numpy()]
    columns["experiment"] = compared["experiment"].tolist()
    columns["seeds"] = compared["seeds"].astype(str).tolist()
    records = compared.to_dict("records")
    for name in [name for name in COLUMNS if name in compared]:
        heading, factor, digits = COLUMNS[name]
        columns[heading] = [_cell(record, name, factor, digits) for record in records]
        if name == "accuracy" and FIRST in compared:
            columns[f"less {columns['experiment'][0]}, points"] = [_difference(each) for each in records]
            columns["seed by seed"] = [
                each if isinstance(each, str) else "" for each in compared[f"{FIRST}_seeds"]
            ]
        if name == "accuracy" and ABLATIONS.keys() & (
            set(columns["experiment"]) - {columns["experiment"][0]}
        ):
            columns[PAPER] = [_published(each, columns["experiment"][0]) for each in columns["experiment"]]
    if compared["failed"].any():
        columns["failed"] = compared["failed"].tolist()
    return pd.DataFrame(columns)


def as_markdown(words: pd.DataFrame) -> str:
    """A Markdown table.

    Args:
        words: as `in_words` returns it.
    """
    texts = [head for head in words if head in ("corpus", "experiment", "failed")]
    lines = [" | ".join(words), "|".join("---" if head in texts else "---:" for head in words)]
    lines += [" | ".join(cell.replace("|", "\\|") for cell in row) for row in words.to_numpy().tolist()]
    return "\n".join(f"|{line}|" if line.startswith("---") else f"| {line} |" for line in lines)


def write_page(file: Path, title: str, words: pd.DataFrame, notes: Sequence[str], plot: bytes = b"") -> None:
    """Write an HTML page of the table, whole.

    Args:
        file: where.
        title: above it.
        words: as `in_words` returns it.
        notes: below it, a line each.
        plot: an SVG image between both.
    """
    style = (
        "body{font-family:sans-serif}td,th{padding:.2em .8em;text-align:right}table{border-collapse:collapse}"
    )
    image = plot[plot.find(b"<svg") :].decode() if plot else ""
    below = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{style}</style></head><body><h1>{html.escape(title)}</h1>"
        f"{words.to_html(index=False)}{image}<ul>{below}</ul></body></html>\n"
    )
    with whole_file(file) as stream:
        stream.write(page.encode())


def _less_first(done: pd.DataFrame, first: pd.DataFrame) -> dict[str, Any]:
    if "accuracy" not in done:
        return {}
    done, first = (runs[runs["seed"].isin(others["seed"])] for runs, others in ((done, first), (first, done)))
    if done.empty:
        return {}
    less = done.set_index("seed")["accuracy"] - first.set_index("seed")["accuracy"]
    found: dict[str, Any] = {FIRST: float(less.mean())}
    found[f"{FIRST}_seeds"] = ", ".join(f"{100 * points:+.1f}" for points in less.sort_index())
    both = pd.concat([done, first])
    known = {"right", "clips"} <= set(both) and both["right"].notna().all()
    if not known or both["clips"].nunique() > 1:
        return found
    ours, theirs = (shares_of_right(runs.to_dict("records")) for runs in (done, first))
    _, low, high = paired_difference_of_shares(ours, theirs)
    return found | {f"{FIRST}_low": low, f"{FIRST}_high": high}


def _cell(record: Mapping[str, Any], name: str, factor: float, digits: int) -> str:
    mean, spread = factor * record[name], factor * record[f"{name}_sd"]
    if pd.isna(mean):
        return ""
    return f"{mean:,.{digits}f}" + ("" if pd.isna(spread) else f" ± {spread:,.{digits}f}")


def _published(experiment: str, first: str) -> str:
    if experiment not in ABLATIONS:
        return ""
    known = ABLATIONS[experiment]
    less = f" ({known - ABLATIONS[first]:+.1f})" if first in ABLATIONS and experiment != first else ""
    return f"{known:.1f}{less}"


def _difference(record: Mapping[str, Any]) -> str:
    mean, low, high = (100 * record.get(f"{FIRST}{end}", np.nan) for end in ("", "_low", "_high"))
    if pd.isna(mean):
        return ""
    return f"{mean:+.1f}" + ("" if pd.isna(low) else f" ({low:+.1f} to {high:+.1f})")
