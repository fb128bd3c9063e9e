"""`kedro folds`: a training for every fold of a protocol, and their mean."""

import resource
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from llmar_pipeline.commands.nested_runs import NestedRun, parent_run, written_numbers
from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.folds import training_values
from llmar_pipeline.errors import UserError
from llmar_pipeline.estimate.reading import made_up_clips
from llmar_pipeline.ingestion.survey import survey
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.records import read_recorded

SECONDS = "processor seconds"
"""Of a run as it was now: what it found finished costs nothing."""

Load = Callable[[dict[str, Any]], StackedConfigLoader]
Tell = Callable[[str], None]


class Planned(NamedTuple):
    """A run that is to come: what its row of the table begins with, and its parameters."""

    row: dict[str, Any]
    params: dict[str, Any]


def run_folds(
    conf_source: Path, env: str | None, params: Mapping[str, Any], parts: int, load: Load, tell: Tell
) -> tuple[pd.DataFrame, Path, str]:
    """Train and test once for every fold of a protocol that has no test clips of its own.

    Args:
        conf_source: the configuration folder.
        env: the dataset.
        params: what `--params` holds, `protocol` among it: leave_one_subject_out or k_fold.
        parts: how many folds `k_fold` has; the other has one a subject.
        load: a run's parameters -> its configuration.
        tell: takes a line for the terminal.

    Returns:
        As `run_planned`, and the metric that counts.

    Raises:
        UserError: the corpus has no such protocol, a fold was named, or there are not two.

    Source: ours.
    """
    if "fold" in params:
        raise UserError("`kedro folds` runs every fold: use `kedro run` for one of them")
    if parts < 2:
        raise UserError(f"--k={parts}: expected at least 2")
    loader = load(dict(params))
    selection, protocol = loader["globals"], params["protocol"]
    if protocol == "k_fold":
        folds, name = [f"{part}of{parts}" for part in range(1, parts + 1)], f"{selection['run']}-{parts}"
    else:
        folds, name = subject_folds(loader), selection["run"]
    planned = [Planned({"fold": fold}, {**params, "fold": fold}) for fold in folds]
    file = loader.place("metrics").parents[1] / "folds" / f"{name}.csv"
    table = run_planned(conf_source, env, planned, "full", f"folds {protocol} {name}", file, load, tell)
    return table, file, metric_of(loader)


def run_planned(
    conf_source: Path,
    env: str | None,
    planned: Sequence[Planned],
    pipelines: str,
    name: str,
    file: Path,
    load: Load,
    tell: Tell,
) -> pd.DataFrame:
    """Run all that is planned, nested in one MLflow run; go on where one fails.

    What a run finds finished it does not repeat.

    Args:
        conf_source: the configuration folder.
        env: the dataset.
        planned: the runs.
        pipelines: what `kedro run --pipelines=` gets.
        name: of the MLflow run around them.
        file: where the table is kept, written anew behind every run.
        load: a run's parameters -> its configuration.
        tell: takes a line for the terminal.

    Returns:
        One row a run: its own beginning, the processor's seconds, and every number of its metrics.json; of
        one that failed, none.

    Raises:
        UserError: an unknown name, before anything is run; or not one run came to its end.

    Source: ours.
    """
    loaders = [load(run.params) for run in planned]
    metric, rows = metric_of(loaders[0]), []
    tags = {key: str(loaders[0]["globals"][key]) for key in ("protocol", "experiment")}
    file.parent.mkdir(parents=True, exist_ok=True)
    with parent_run(loaders[0], name, tags) as parent:
        for run, loader in zip(planned, loaders, strict=True):
            what = ", ".join(f"{key} {value}" for key, value in run.row.items())
            tell(what)
            before, numbers = _processor_seconds(), {metric: float("nan")}
            try:
                NestedRun(conf_source, env, run.params, pipelines, parent).finish()
                numbers |= written_numbers(loader, "metrics")
            except UserError as error:
                tell(f"{what} failed: {error.message}")
            rows.append({**run.row, SECONDS: round(_processor_seconds() - before, 1), **numbers})
            pd.DataFrame(rows).to_csv(file, index=False)
    table = pd.DataFrame(rows)
    if table[metric].isna().all():
        raise UserError(f"no run wrote {metric}: see above, or choose --pipelines that end with evaluation")
    return table


def as_markdown(table: pd.DataFrame, metric: str) -> str:
    """Every fold, then their mean and standard deviation.

    Args:
        table: as `run_folds` returns it.
        metric: the column that counts.
    """
    lines = [f"| fold | test clips | {metric.replace('_', ' ')}, % | {SECONDS} |", "|---|---:|---:|---:|"]
    for row in table.to_dict("records"):
        clips = "" if pd.isna(row[metric]) else f"{row['n_test']:.0f}"
        lines.append(f"| {row['fold']} | {clips} | {percent(row[metric])} | {row[SECONDS]:,.0f} |")
    done = table.dropna(subset=metric)
    mean = f"{percent(done[metric].mean())}{spread(done[metric])}"
    whose = f"mean of {len(done)}" + (f", {len(table) - len(done)} failed" if len(done) < len(table) else "")
    lines.append(f"| {whose} | {done['n_test'].sum():.0f} | {mean} | {table[SECONDS].sum():,.0f} |")
    return "\n".join(lines)


def percent(share: float) -> str:
    """A share in per cent; that there is none."""
    return "failed" if pd.isna(share) else f"{100 * share:.1f}"


def spread(shares: "pd.Series[float]") -> str:
    """The standard deviation in per cent behind a sign; nothing of fewer than two."""
    return f" ± {100 * shares.std():.1f}" if shares.notna().sum() > 1 else ""


def metric_of(loader: StackedConfigLoader) -> str:
    """The number that publications on the corpus report."""
    return CORPORA[loader["globals"]["corpus"]].metric


def subject_folds(loader: StackedConfigLoader, most: int | None = None) -> list[str]:
    """A fold for each training subject of the protocol.

    Args:
        loader: the configuration of one of the runs.
        most: how many at most, the first ones.

    Raises:
        UserError: there is no such protocol, or there are no two subjects; or no recordings are there.
    """
    facts, clips = _clips(loader)
    protocol = loader["globals"]["protocol"]
    if protocol not in facts.protocols:
        raise UserError(
            f"{facts.name} has no protocol '{protocol}' here: there are {', '.join(facts.protocols)}. "
            "leave_one_subject_out needs a column subject with two subjects at least, k_fold needs none"
        )
    split = facts.protocols[protocol](clips, val_share=0)
    subjects = training_values(clips[split.isin(["train", "val"])]).get("subject", [])
    if not subjects:
        raise UserError(
            f"expected two training subjects at least in {protocol} of {facts.name}, saw fewer; name folds: "
            "--folds=camera:1,camera:2 or --folds=1of5,2of5"
        )
    return [f"subject:{subject}" for subject in subjects[:most]]


def _clips(loader: StackedConfigLoader) -> tuple[CorpusFacts, pd.DataFrame]:
    """The corpus and its clips: as read where they were, else by their names."""
    corpus, index = loader.place("corpus"), loader.place("index")
    if corpus.is_file() and index.is_file():
        facts = CorpusFacts.model_validate(read_recorded(corpus))
        return facts, pd.read_parquet(index)
    selection, demo = loader["globals"], loader["parameters"]["demo_recordings"]
    if demo is not None:
        return CorpusFacts.of(CORPORA[selection["corpus"]]), made_up_clips(selection["corpus"], demo)
    found = survey(CORPORA[selection["corpus"]], Path(selection["raw_dir"]), sample=0)
    return found.facts, found.clips


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
