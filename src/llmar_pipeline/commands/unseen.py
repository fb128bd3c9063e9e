"""`kedro unseen`: recognition of classes that were not trained, over several draws of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from llmar_pipeline.commands import published
from llmar_pipeline.commands.nested_runs import NestedRun, parent_run, written_numbers
from llmar_pipeline.commands.protocols import markdown_table, published_lines
from llmar_pipeline.corpora import folds
from llmar_pipeline.corpora.shots import ShotsConfig
from llmar_pipeline.corpora.unseen import told_apart
from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.metrics import accuracies, seen_and_unseen
from llmar_pipeline.files import write_json
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.records import read_recorded

ANSWERS = {
    "uncorrected_": "LLM, raw scores",
    "": "LLM",
    "text_": "descriptions without the LLM",
    "transductive_": "descriptions and the test clips without labels",
}
"""What answers clips of unseen classes: how its numbers in metrics.json begin, and what it is.

Raw scores are what the paper describes; they stand for themselves where others are corrected for the prior.
"""
_CORRECTED = "LLM, corrected for the prior"

_UNTRAINED = "ingestion,normalization,evaluation"


def run_draws(
    conf_source: Path,
    env: str | None,
    params: Mapping[str, Any],
    classes: int | str,
    draws: int,
    experiments: Sequence[str],
    load: Callable[[dict[str, Any]], StackedConfigLoader],
    tell: Callable[[str], None],
    first: int = 0,
    trained: bool = True,
) -> tuple[pd.DataFrame, Path, StackedConfigLoader]:
    """Train without some classes and test on them, with several draws and experiments.

    Each is a whole `kedro run`, nested in one MLflow run; what a run finds finished it does not repeat.
    A split of the literature is no draw: it is run once.

    Args:
        conf_source: the configuration folder.
        env: the dataset.
        params: what `--params` holds.
        classes: how many, or the name of a split.
        draws: how many draws; their seeds are `first`, `first` + 1, ...
        experiments: names of files in conf/experiments.
        load: a run's parameters -> its configuration.
        tell: takes a line for the terminal.
        first: seed of the first draw; that of a split of the literature decides nothing.
        trained: whether there are trainings. Else descriptions alone answer, which takes none.

    Returns:
        One row a run: experiment, unseen, seed, the classes, and every number of metrics.json; the CSV file
        it stands in, beside a JSON file with the classes of every draw; and one of the configurations.

    Raises:
        UserError: an unknown name, or a run that failed.

    Source: "Evaluation on unseen activity classes" of the paper: 3 classes, five times, averaged.
    """
    for name, option in (
        ("unseen", "--classes"),
        ("unseen_seed", "--draws"),
        ("experiment", "--experiments"),
    ):
        if name in params:
            raise UserError(f"`kedro unseen` sets {name} itself: use {option}=")
    if draws < 1 or first < 0:
        raise UserError(
            f"expected at least one draw and a seed from 0 on, saw --draws={draws} --first={first}"
        )
    seeds = range(first, first + draws) if isinstance(classes, int) else range(1)
    planned = [
        (experiment, seed, dict(params) | {"experiment": experiment, "unseen": classes, "unseen_seed": seed})
        for experiment in experiments
        for seed in seeds
    ]
    loaders = [load(chosen) for *_, chosen in planned]
    selection = loaders[0]["globals"]
    rows = []
    tags = {"protocol": selection["protocol"]}
    title = f"unseen {classes} {selection['size']}{_part(loaders[0])}"
    with parent_run(loaders[0], title, tags) as parent:
        for (experiment, seed, chosen), loader in zip(planned, loaders, strict=True):
            if trained:
                NestedRun(conf_source, env, chosen, "full", parent).finish()
            else:
                NestedRun(
                    conf_source, env, chosen, _UNTRAINED, parent, to_outputs="predictions_text"
                ).finish()
            names = unseen_names(loader)
            tell(f"{experiment}, draw {seed}: {', '.join(names)}")
            row = {
                "experiment": experiment,
                "unseen": str(classes),
                "seed": seed,
                "classes": "; ".join(names),
            }
            rows.append(row | (written_numbers(loader, "metrics") if trained else _told(loader)))
    table = pd.DataFrame(rows)
    from_seed = f"-from{first}" if first and isinstance(classes, int) else ""
    read = "" if trained else "-descriptions"
    name = f"{selection['size']}-{classes}{from_seed}{_part(loaders[0])}{read}.csv"
    file = loaders[0].place("metrics").parents[1] / "unseen" / name
    _write(table, file)
    return table, file, loaders[0]


def _told(loader: StackedConfigLoader) -> dict[str, Any]:
    """What descriptions alone have answered, as metrics.json has it."""
    lists = read_recorded(loader.place("class_lists"))
    told = pd.read_parquet(str(loader.place("predictions_{of}")).format(of="text"))
    unseen = told_apart(lists)
    numbers: dict[str, Any] = {"chance": 1 / len(lists["asked"]), "n_test": len(told)}
    for key, column in (("text_", "predicted"), ("transductive_", "transductive")):
        answers = told.assign(predicted=told[column])
        numbers |= accuracies(answers, key) | seen_and_unseen(answers, unseen, key)
    return numbers


def unseen_names(loader: StackedConfigLoader) -> list[str]:
    """The classes that a run has kept from its training.

    Args:
        loader: the run's configuration.
    """
    return list(read_recorded(loader.place("class_lists"))["unseen"])


def mean_and_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean over draws, and the ends of its 95 % confidence interval.

    The interval is Student's t, which knows that few draws say little; it ends at 0 and 1. NaN for one draw.

    Args:
        values: an accuracy (fraction of 1) a draw.

    Source: ours; the paper gives a mean of five without an interval.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, max(mean - half, 0.0), min(mean + half, 1.0)


def as_markdown(table: pd.DataFrame, loader: StackedConfigLoader) -> str:
    """Every draw, then the mean of each experiment beside chance and what is published.

    Args:
        table: as `run_draws` returns it.
        loader: the configuration of one of the runs.
    """
    selection, parameters = loader["globals"], loader["parameters"]
    unseen = str(table["unseen"].iloc[0])
    known = table.columns[table.notna().all()]
    shown = {key: title for key, title in ANSWERS.items() if f"{key}accuracy" in known}
    if "uncorrected_" in shown:
        shown[""] = _CORRECTED
    titles = ["experiment", "seed", *(f"{title}, %" for title in shown.values()), "classes"]
    drawn = [
        [
            row["experiment"],
            row["seed"],
            *(_of_draw(row, key) for key in shown),
            row["classes"],
        ]
        for _, row in table.iterrows()
    ]
    lines = []
    for experiment, runs in table.groupby("experiment", sort=False):
        draws = f"{len(runs)} draw{'s' if len(runs) > 1 else ''}"
        name = f"ours: {experiment}-{selection['size']}{_part(loader)}, {draws}"
        with_llm = (parameters["vqvae"]["stream"], parameters["llm"]["model"])
        for key, title in shown.items():
            means = _in_words(runs[f"{key}accuracy"].tolist())
            lines.append((f"{name}: {title}", *(("", "") if key.startswith("t") else with_llm), [means]))
            if f"{key}harmonic_mean" in runs:
                lines.append((f"{name}: {title}, harmonic mean", "", "", [_seen_and_unseen(runs, key)]))
    lines.append(("chance", "", "", [f"{100 * table['chance'].mean():.1f}"]))
    lines += published_lines(published.UNSEEN, selection, [unseen])
    title = f"accuracy on classes not trained, {selection['dataset']} {selection['protocol']}, %"
    rows = [titles, ["---", *("---:" for _ in titles[1:-1]), "---"], *drawn]
    head = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([*head, "", markdown_table(title, [unseen], lines)])


def _of_draw(row: pd.Series, key: str) -> str:
    """An accuracy of one draw in %, and its interval where the run has one."""
    low, high = (row.get(f"{key}accuracy_{end}") for end in ("low", "high"))
    told = f"{100 * row[f'{key}accuracy']:.1f}"
    return told if low is None or pd.isna(low) else f"{told} ({100 * low:.1f} to {100 * high:.1f})"


def _seen_and_unseen(runs: pd.DataFrame, key: str) -> str:
    """Of generalized runs, the mean over draws of the harmonic mean, and what it is made of, in %."""
    mean, seen, new = (
        100 * runs[f"{key}{name}"].mean() for name in ("harmonic_mean", "seen_accuracy", "unseen_accuracy")
    )
    return f"{mean:.1f} (seen {seen:.1f}, unseen {new:.1f})"


def _in_words(accuracies: Sequence[float]) -> str:
    """The mean over draws in %, and its interval where there are several."""
    mean, low, high = (100 * value for value in mean_and_interval(accuracies))
    return f"{mean:.1f}" + (f" ({low:.1f} to {high:.1f})" if len(accuracies) > 1 else "")


def _part(loader: StackedConfigLoader) -> str:
    """Among which names, which training clips tested, how few trained; empty where as usual."""
    asked = "-generalized" if loader["globals"]["generalized"] else ""
    part = folds.suffix(loader["globals"]["fold"])
    return asked + part + ShotsConfig(**loader["parameters"]["shots"]).suffix()


def _write(table: pd.DataFrame, file: Path) -> None:
    summary = []
    for experiment, runs in table.groupby("experiment", sort=False):
        draws = [
            {"seed": int(row["seed"]), "classes": row["classes"].split("; ")}
            | {name: row[name] for name in runs if str(name).endswith("accuracy")}
            for _, row in runs.iterrows()
        ]
        means: dict[str, Any] = {}
        for key in ("", "uncorrected_"):
            if f"{key}accuracy" in runs and runs[f"{key}accuracy"].notna().all():
                mean, low, high = mean_and_interval(runs[f"{key}accuracy"].tolist())
                means |= {f"{key}accuracy": mean, f"{key}interval": None if len(runs) < 2 else [low, high]}
        summary.append({"experiment": experiment, **means, "draws": draws})
    write_json(file.with_suffix(".json"), summary)
    table.to_csv(file, index=False)
