"""`kedro ablations`: experiments x environments x seeds, and the table of what came out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from llmar_pipeline.commands import grid as grids
from llmar_pipeline.commands.accuracy_plot import accuracy_plot
from llmar_pipeline.commands.comparison import as_markdown, compare, in_words, table_of, write_page
from llmar_pipeline.errors import UserError
from llmar_pipeline.files import whole_file
from llmar_pipeline.io.tracking import TrackedRun

TABLES_4_TO_6 = (
    "llm_ar",
    "no_biases",
    "no_zipf",
    "no_context",
    "no_mmd",
    "no_discretization",
    "euclidean",
)


class Outcome(NamedTuple):
    """What came out of a grid.

    Attributes:
        text: the table, in Markdown.
        page: the same as HTML; beside it lie CSV files, of the table and of every run, and the figure as SVG.
        failed: whether a run failed.
    """

    text: str
    page: Path
    failed: bool


def run_ablations(
    conf_source: Path,
    environments: Sequence[grids.Environment],
    experiments: Sequence[str],
    seeds: Sequence[int],
    pipelines: str,
    folder: Path,
    jobs: int,
    table_only: bool,
    tell: grids.Tell,
) -> Outcome:
    """Make every run of a grid that has no row, each a `kedro run` of its own nested in one MLflow run.

    Every finished run leaves a row, so a grid that was interrupted is continued by the same command.

    Args:
        conf_source: the configuration folder.
        environments: datasets.
        experiments: names of files in conf/experiments.
        seeds: of both trainings.
        pipelines: what `kedro run --pipelines=` gets.
        folder: of the rows.
        jobs: runs at a time.
        table_only: whether nothing is run.
        tell: takes a line for the terminal.

    Raises:
        UserError: an unknown name, a row that cannot be read, or no row at all.

    Source: ours.
    """
    grid = grids.plan(environments, experiments, seeds, pipelines, folder)
    page = _place(grid)
    if not table_only:

        def finish(parent: TrackedRun) -> None:
            _write(grid, page)
            for file in _files(page):
                if file.exists():  # without stage 2 there is nothing to draw
                    parent.log_artifact(file)

        grids.run(grid, conf_source, jobs, finish, tell)
    return Outcome(_write(grid, page), page, bool(grid.failed))


def _place(grid: grids.Grid) -> Path:
    """The page: with the reports of the protocol, or, of several datasets, above them."""
    loaders = [cell.loader for cell in grid.cells]
    reports = {loader.place("metrics").parents[1] for loader in loaders}
    folder = reports.pop() if len(reports) == 1 else Path(loaders[0]["globals"]["data_dir"], "08_reporting")
    size = loaders[0]["globals"]["size"]
    return folder / "ablations" / f"{size}-{grid.pipelines.replace(',', '-')}.html"


def _files(page: Path) -> tuple[Path, Path, Path, Path]:
    table = page.with_name(f"{page.stem}-table.csv")
    return page, page.with_suffix(".csv"), table, page.with_suffix(".svg")


def _write(grid: grids.Grid, page: Path) -> str:
    rows = grid.rows()
    if not any(rows):
        why = "; ".join(f"{title}: {line}" for title, line in grid.failed.items())
        raise UserError(
            f"expected a row of one of {len(rows)} runs at least in {grid.folder}, saw none"
            f"{f' ({why})' if why else '; run the same command without --table-only'}"
        )
    failed = [grid.failed.get(cell.title, "not run") for cell in grid.cells]
    table = table_of([cell.identity for cell in grid.cells], rows, failed)
    compared = compare(table)
    words = in_words(compared)
    kept = [row for row in rows if row]
    notes = [f"{sum(row['processor_seconds'] for row in kept) / 3600:.2f} processor hours, {len(kept)} runs"]
    notes += [f"{key}: {'; '.join(sorted({row[key] for row in kept}))}" for key in ("machine", "revision")]
    notes += [f"{row['experiment']}, seed {row['seed']}: {row['note']}" for row in kept if "note" in row]
    drawn = accuracy_plot(table, compared)
    write_page(page, f"Ablations: {', '.join(dict.fromkeys(table['experiment']))}", words, notes, drawn)
    _, every_run, summary, plot = _files(page)
    plot.unlink(missing_ok=True)
    if drawn:
        with whole_file(plot) as stream:
            stream.write(drawn)
    for file, content in (
        (every_run, table.drop(columns=["right", "clips"], errors="ignore")),
        (summary, compared),
    ):
        with whole_file(file) as stream:
            content.to_csv(stream, index=False)
    return as_markdown(words)
