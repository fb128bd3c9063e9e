"""`kedro tune`: candidates compared on folds of the training clips, and the command for the best of them."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from llmar_pipeline.commands.folds import (
    SECONDS,
    Load,
    Planned,
    Tell,
    metric_of,
    percent,
    run_planned,
    spread,
    subject_folds,
)
from llmar_pipeline.commands.nested_runs import with_seed
from llmar_pipeline.corpora.own.yaml_file import read_yaml
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.conf_folder import conf_folder
from llmar_pipeline.io.config_loader import SELECTORS
from llmar_pipeline.io.known_names import check_choice
from llmar_pipeline.io.params_text import read_params, write_params
from llmar_pipeline.io.run_names import leaves

MOST_FOLDS = 5
TUNED_ALIKE = {*SELECTORS, "val_share"} - {"experiment"}
"""What no candidate may choose, since all are to read the same clips."""


class Section(BaseModel):
    """Candidates and folds.

    Attributes:
        candidates: Name -> parameters that are changed, nested or dotted; `experiment` may be among them.
        folds: On which they are compared, unless the command names others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: dict[str, dict[str, Any] | None] = {}
    folds: tuple[str, ...] = ()


class TuneFile(Section):
    """The content of `conf/tune/<experiment>.yml`.

    Attributes:
        environments: What one dataset has besides; its folds in place of those above.
    """

    environments: dict[str, Section] = Field(default={})

    def of(self, env: str) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
        """Candidates and folds of an environment."""
        own = self.environments.get(env, Section())
        candidates = {name: values or {} for name, values in (self.candidates | own.candidates).items()}
        return candidates, own.folds or self.folds


def tune(
    conf_source: Path,
    env: str | None,
    params: Mapping[str, Any],
    experiment: str,
    folds: Sequence[str],
    seeds: Sequence[int],
    pipelines: str,
    load: Load,
    tell: Tell,
) -> tuple[pd.DataFrame, Path, dict[str, Any]]:
    """Run every candidate of an experiment on every fold with every seed.

    Folds are made of the protocol's training clips, so no run reads its test clips.

    Args:
        conf_source: the configuration folder.
        env: the dataset.
        params: what `--params` holds.
        experiment: whose candidates, of conf/tune.
        folds: on which; none takes those of the file, or else each of the first five training subjects.
        seeds: of both trainings.
        pipelines: what `kedro run --pipelines=` gets.
        load: a run's parameters -> its configuration.
        tell: takes a line for the terminal.

    Returns:
        One row a run (candidate, fold, seed and its numbers), the CSV file it stands in, and the parameters
        of the final run: those of the best candidate, trained on all training clips with seed 0; `chosen_on`
        names the folds, so that its metrics say it.

    Raises:
        UserError: an unknown name; no candidate came to its end on all folds.

    Source: ours.
    """
    for name, option in (("fold", "--folds"), ("experiment", "--experiment"), ("unseen", "no class but all")):
        if name in params:
            raise UserError(f"`kedro tune` sets {name} itself: use {option}")
    start = load({**params, "experiment": experiment})
    candidates, usual = read_candidates(
        Path(conf_folder(str(conf_source))), experiment, start.env or start.default_run_env
    )
    chosen = {
        name: leaves(params) | {"experiment": experiment} | leaves(values)
        for name, values in candidates.items()
    }
    planned = [
        Planned(
            {"candidate": name, "fold": fold, "seed": seed},
            read_params(write_params(with_seed({**values, "fold": fold}, seed))),
        )
        for fold in folds or usual or subject_folds(start, MOST_FOLDS)
        for seed in seeds
        for name, values in chosen.items()
    ]
    run = start["globals"]["run"]
    file = start.place("metrics").parents[1] / "tune" / f"{run}.csv"
    table = run_planned(conf_source, env, planned, pipelines, f"tune {run}", file, load, tell)
    final = read_params(write_params(chosen[pick(table, metric_of(start))]))
    final["chosen_on"] = "+".join(table["fold"].unique())
    if load(final)["parameters"]["val_share"]:
        final["val_share"] = 0
    return table, file, final


def read_candidates(
    conf: Path, experiment: str, env: str
) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """The candidates of an experiment, and the folds that its file names for an environment.

    Args:
        conf: the configuration folder.
        experiment: name of a file in its folder `tune`.
        env: the environment.

    Raises:
        UserError: no such file, none of that form, or a candidate that reads other clips than the others.
    """
    there = sorted(path.stem for path in Path(conf, "tune").glob("*.yml"))
    check_choice("experiment with candidates (conf/tune)", experiment, there, "--experiment=")
    candidates, folds = read_yaml(conf / "tune" / f"{experiment}.yml", TuneFile).of(env)
    if not candidates:
        raise UserError(f"conf/tune/{experiment}.yml: expected candidates for {env}, saw none")
    for name, values in candidates.items():
        if odd := sorted(TUNED_ALIKE & values.keys()):
            raise UserError(
                f"conf/tune/{experiment}.yml, candidates: {name}: expected what all may differ in, saw "
                f"{', '.join(odd)}: give it by --params= to all of them"
            )
    return candidates, folds


def pick(table: pd.DataFrame, metric: str) -> str:
    """The candidate with the best mean over folds and seeds; of equal ones the first.

    Args:
        table: one row a run: candidate, and the metric.
        metric: the column that counts. A candidate that lacks it anywhere is out.

    Raises:
        UserError: all are out.

    Source: ours.
    """
    means = table.groupby("candidate", sort=False)[metric].agg(lambda runs: runs.mean(skipna=False))
    whole = means.dropna().round(9)  # so that the order of adding makes no winner
    if whole.empty:
        raise UserError("no candidate came to its end on all folds: see above, and run the command again")
    return str(whole.idxmax())


def final_command(conf_source: str, env: str | None, params: Mapping[str, Any]) -> str:
    """What to type for the final run.

    Args:
        conf_source: the configuration folder.
        env: the dataset.
        params: its parameters, as `tune` returns them.
    """
    where = [f"--env={env}"] if env else []
    where += [f"--conf-source={conf_source}"] if conf_source != "conf" else []
    return " ".join(["kedro run --pipelines=full", *where, shlex.quote(f"--params={write_params(params)}")])


def as_markdown(table: pd.DataFrame, metric: str) -> str:
    """Mean and standard deviation of each candidate, and its mean on each fold.

    Args:
        table: as `tune` returns it.
        metric: the column that counts.
    """
    folds = list(table["fold"].unique())
    lines = [
        f"| candidate | {metric.replace('_', ' ')}, % | {' | '.join(folds)} | {SECONDS} |",
        f"|---|---:|{'---:|' * len(folds)}---:|",
    ]
    for name, runs in table.groupby("candidate", sort=False):
        by_fold = [runs.loc[runs["fold"] == fold, metric].mean(skipna=False) for fold in folds]
        mean = percent(runs[metric].mean(skipna=False)) + spread(runs[metric])
        cells = [str(name), mean, *map(percent, by_fold), f"{runs[SECONDS].sum():,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
