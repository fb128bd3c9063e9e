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
    usual, among_all = _both(name)
    columns = {"descriptions": usual["text_accuracy"], "and test clips": usual["transductive_accuracy"]}
    columns |= _parts(among_all, "all names", "text_")
    columns |= _parts(among_all, "and test clips", "transductive_")
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


def experiment_draws(name: str) -> str:
    """The language model's answers of several experiments side by side, raw scores, and among all names.

    Args:
        name: Of the files that `kedro unseen` wrote, in results/, without their ending.
    """
    usual, among_all = (_by_experiment(runs) for runs in _both(name))
    columns = dict[str, "pd.Series[float]"]()
    for experiment, draws in usual.items():
        columns[f"`{experiment}`"] = draws["accuracy"]
        columns[f"`{experiment}`, shuffled"] = draws["shuffled_accuracy"]
    by_chance = len(columns)
    for experiment, draws in among_all.items():
        columns |= _parts(draws, f"`{experiment}`, all names")
    return draws_table(next(iter(usual.values())), columns, by_chance)


def _both(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was written with the names of unseen classes alone, and with all."""
    usual, among_all = (pd.read_csv(RESULTS / f"{name}{kind}.csv") for kind in ("", "-generalized"))
    return usual, among_all


def _by_experiment(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {
        str(experiment): draws.reset_index(drop=True)
        for experiment, draws in runs.groupby("experiment", sort=False)
    }


def _parts(draws: pd.DataFrame, title: str, key: str = "") -> dict[str, "pd.Series[float]"]:
    """Accuracies among all names, of seen classes and of unseen ones, and their harmonic mean."""
    parts = ("seen_accuracy", "unseen_accuracy", "harmonic_mean")
    names = [part.removesuffix("_accuracy").replace("_", " ") for part in parts]
    return {f"{title}: {name}": draws[key + part] for part, name in zip(parts, names, strict=True)}


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
