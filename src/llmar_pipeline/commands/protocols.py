"""`kedro protocols`: every protocol of an environment, our numbers beside the published ones."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.commands import published
from llmar_pipeline.commands.nested_runs import NestedRun, parent_run, written_numbers
from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.folds import needs_fold
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.config_loader import StackedConfigLoader

Load = Callable[[dict[str, Any]], StackedConfigLoader]


def protocol_loaders(params: Mapping[str, Any], load: Load) -> dict[str, StackedConfigLoader]:
    """The configuration of each protocol of the corpus.

    Args:
        params: what `--params` holds; size, experiment and single values hold for all protocols.
        load: a run's parameters -> its configuration.

    Raises:
        UserError: `params` names one protocol, unseen classes, a fold or shots, or the corpus cannot be read.
    """
    for name, instead in (
        ("protocol", "`kedro run` for one of them"),
        ("unseen", "`kedro unseen`"),
        ("fold", "`kedro run`"),
        ("shots", "`kedro run`"),
    ):
        if name in params:
            raise UserError(f"`kedro protocols` runs all protocols with all classes and clips: use {instead}")
    selection = load(dict(params))["globals"]
    corpus = CORPORA[selection["corpus"]].open(Path(selection["raw_dir"]))
    whole = [name for name, rule in corpus.protocols.items() if not needs_fold(rule)]
    return {name: load({**params, "protocol": name}) for name in whole}


def run_protocols(
    conf_source: Path,
    env: str | None,
    params: Mapping[str, Any],
    loaders: Mapping[str, StackedConfigLoader],
    tell: Callable[[str], None],
) -> None:
    """Run the whole pipeline for each protocol, nested in one MLflow run.

    What a run finds finished it does not repeat.

    Args:
        conf_source: the configuration folder.
        env: the dataset.
        params: what `--params` holds.
        loaders: as `protocol_loaders` returns them.
        tell: takes a line for the terminal.

    Raises:
        UserError: a run failed.
    """
    first = next(iter(loaders.values()))
    selection = first["globals"]
    name = f"protocols {selection['experiment']} {selection['size']}"
    with parent_run(first, name, {"experiment": selection["experiment"]}) as parent:
        for protocol in loaders:
            tell(protocol)
            NestedRun(conf_source, env, {**params, "protocol": protocol}, "full", parent).finish()


def collect(loaders: Mapping[str, StackedConfigLoader]) -> tuple[pd.DataFrame, Path | None]:
    """The numbers of all protocols that have been run.

    Args:
        loaders: as `protocol_loaders` returns them.

    Returns:
        One row a protocol: its name, the corpus's `metric`, and every number of metrics.json; and the CSV
        file it was written to, None while there is no number.
    """
    metric = _metric(next(iter(loaders.values()))["globals"])
    rows = [
        {"protocol": name, "metric": metric} | written_numbers(loader, "metrics")
        for name, loader in loaders.items()
    ]
    table = pd.DataFrame(rows)
    if metric not in table:
        return table, None
    first = next(iter(loaders.values()))
    file = first.place("metrics").parents[2] / "protocols" / f"{first['globals']['run']}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(file, index=False)
    return table, file


def as_markdown(table: pd.DataFrame, loader: StackedConfigLoader) -> str:
    """Ours and the published ones, a row a method and a column a protocol.

    Args:
        table: as `collect` returns it.
        loader: the configuration of one of the runs.
    """
    selection, parameters = loader["globals"], loader["parameters"]
    columns = table["protocol"].tolist()
    ours = [our_cell(row, row["metric"]) for row in table.to_dict("records")]
    lines = [
        (f"ours: {selection['run']}", parameters["vqvae"]["stream"], parameters["llm"]["model"], ours),
        *published_lines(published.PROTOCOLS, selection, columns),
    ]
    title = f"{_metric(selection).replace('_', ' ')} on {selection['dataset']}, %"
    return markdown_table(title, columns, lines)


def published_lines(
    table: tuple[published.Published, ...], selection: Mapping[str, Any], columns: list[str]
) -> list[tuple[str, str, str, list[str]]]:
    """Lines of a published table that are about the recordings of an environment.

    Args:
        table: one of `llmar_pipeline.commands.published`.
        selection: the configuration's globals.
        columns: protocols, or splits of unseen classes.
    """
    if selection["synthetic"]:  # the demo borrows a corpus's reader, not its recordings
        return []
    return published.rows(table, selection["corpus"], columns)


def markdown_table(title: str, columns: list[str], lines: list[tuple[str, str, str, list[str]]]) -> str:
    """A table of method, streams, LLM and a number for each column, under a title."""
    head = f"| method | streams | LLM | {' | '.join(columns)} |\n|---|---|---|{'---:|' * len(columns)}"
    return "\n".join([f"{title}\n", head, *(f"| {' | '.join([*line[:3], *line[3]])} |" for line in lines)])


def our_cell(numbers: Mapping[str, Any], metric: str) -> str:
    """A number in % with the interval where there is one; or that there is none."""
    value = numbers.get(metric)
    if value is None or pd.isna(value):
        return "not run"
    if metric != "accuracy":  # the interval is that of the accuracy
        return f"{100 * value:.1f}"
    return f"{100 * value:.1f} ({100 * numbers['accuracy_low']:.1f} to {100 * numbers['accuracy_high']:.1f})"


def _metric(selection: Mapping[str, Any]) -> str:
    return CORPORA[selection["corpus"]].metric
