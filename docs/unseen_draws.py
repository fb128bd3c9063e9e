"""The tables of unseen classes in results.md, from what `kedro unseen` wrote."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from llmar_pipeline.commands.unseen import mean_and_interval

RESULTS = Path(__file__).resolve().parent / "results"


def described_draws(name: str) -> str:
    """A Markdown table of unseen classes, by their descriptions: every draw, then the means.

    Args:
        name: Of the files that `kedro unseen --descriptions` wrote, in results/, without their ending.
    """
    usual, among_all = (pd.read_csv(RESULTS / f"{name}{kind}.csv") for kind in ("", "-generalized"))
    columns = {"descriptions": usual["text_accuracy"], "and test clips": usual["transductive_accuracy"]}
    for key, title in (("text_", "all names"), ("transductive_", "and test clips")):
        for part in ("seen_accuracy", "unseen_accuracy", "harmonic_mean"):
            columns[f"{title}: {part.removesuffix('_accuracy').replace('_', ' ')}"] = among_all[key + part]
    return draws_table(usual, columns, by_chance=2)


def model_draws(name: str) -> str:
    """The same of the language model's answers, beside its controls on the same clips.

    Args:
        name: Of the file that `kedro unseen` wrote, in results/, without its ending.
    """
    draws = pd.read_csv(RESULTS / f"{name}.csv")
    columns, answers = {}, "language model"
    if "uncorrected_accuracy" in draws:
        columns[answers] = draws["uncorrected_accuracy"]
        answers = "corrected for the prior"
    columns |= {answers: draws["accuracy"], f"{answers}, shuffled": draws["shuffled_accuracy"]}
    columns["descriptions"] = draws["text_accuracy"]
    return draws_table(draws, columns, by_chance=len(columns))


def draws_table(draws: pd.DataFrame, columns: Mapping[str, "pd.Series[float]"], by_chance: int) -> str:
    """Every draw of unseen classes, then means with intervals, and chance.

    Args:
        draws: As `kedro unseen` writes them.
        columns: Heading -> accuracies (fractions of 1), one a draw.
        by_chance: How many of the columns chance is of, from the first on.
    """
    heads = ["draw", "unseen classes", "test clips", *columns]
    rows = [
        [str(draw.seed), draw.classes.replace("; ", ", "), str(draw.n_test)]
        + [f"{100 * column[place]:.1f}" for column in columns.values()]
        for place, draw in enumerate(draws.itertuples(index=False))
    ]
    intervals = [[100 * value for value in mean_and_interval(column.tolist())] for column in columns.values()]
    means = ["{:.1f} ({:.1f} to {:.1f})".format(*values) for values in intervals]
    chance = [f"{100 * draws['chance'].mean():.1f}"] * by_chance
    rows += [
        ["", "mean, 95 % interval (Student's t over draws)", "", *means],
        ["", "chance", "", *chance, *[""] * (len(columns) - by_chance)],
    ]
    ruled = [heads, ["---:", "---", *["---:"] * (len(heads) - 2)], *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in ruled)
