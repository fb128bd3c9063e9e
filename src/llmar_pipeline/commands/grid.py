"""A grid of runs: experiments x environments x seeds, several at a time, each kept as a row."""

import json
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from llmar_pipeline import machine
from llmar_pipeline.commands.nested_runs import NestedRun, parent_run, with_seed
from llmar_pipeline.commands.rows import find_row, finished_row, identity, read_rows, write_row
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.io.known_names import check_choice
from llmar_pipeline.io.tracking import TrackedRun
from llmar_pipeline.pipeline_registry import register_pipelines
from llmar_pipeline.training.checkpoints import latest_checkpoint, taken_from

Load = Callable[[dict[str, Any]], StackedConfigLoader]
Tell = Callable[[str], None]

_LOOK = 0.2  # seconds between two looks at the runs


@dataclass(frozen=True)
class Environment:
    """A dataset of the grid.

    Attributes:
        name: its folder of conf; None for the default.
        params: what `--params` holds for its runs.
        load: a run's parameters -> its configuration.
    """

    name: str | None
    params: Mapping[str, Any]
    load: Load


@dataclass(frozen=True, eq=False)
class Cell:
    """A run of the grid.

    Attributes:
        environment: its dataset.
        params: its parameters.
        loader: its configuration.
        identity: of its row.
    """

    environment: Environment
    params: dict[str, Any]
    loader: StackedConfigLoader
    identity: dict[str, Any]

    @property
    def title(self) -> str:
        """What it is called on the terminal."""
        known = self.identity
        return f"{known['environment']}, {known['experiment']}, seed {known['seed']}"

    @cached_property
    def shared(self) -> dict[str, str]:
        """What it may have in common with other runs: dataset -> what that is made from, as configured."""
        parameters, selection = self.loader["parameters"], self.loader["globals"]
        stage1 = {
            name: parameters[name] for name in ("llm", "vqvae", "augmentation", "vqvae_training", "init_from")
        }
        vqvae = json.dumps([selection["split_folder"], stage1], sort_keys=True, default=str)
        return {"sequences": selection["recordings_folder"], "vqvae_model": vqvae}

    def unmade(self) -> set[str]:
        """What of it is not there yet."""
        entries = self.loader["catalog"]
        return {
            origin
            for name, origin in self.shared.items()
            if not Path(entries[name]["filepath"], entries[name]["manifest"]).exists()
        }


@dataclass
class Grid:
    """Runs, and where their rows are kept.

    Attributes:
        cells: the runs, in the order of the table.
        pipelines: what `kedro run --pipelines=` gets.
        folder: of the rows.
        failed: title of a run that failed -> its last line.
    """

    cells: list[Cell]
    pipelines: str
    folder: Path
    failed: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[Mapping[str, Any] | None]:
        """The row of each run, None where there is none."""
        kept = read_rows(self.folder)
        return [find_row(kept, cell.identity) for cell in self.cells]


def plan(
    environments: Sequence[Environment],
    experiments: Sequence[str],
    seeds: Sequence[int],
    pipelines: str,
    folder: Path,
) -> Grid:
    """The runs of a grid.

    Args:
        environments: datasets.
        experiments: names of files in conf/experiments.
        seeds: of both trainings.
        pipelines: what `kedro run --pipelines=` gets.
        folder: of the rows.

    Raises:
        UserError: an unknown name.
    """
    for name in pipelines.split(","):
        check_choice("pipeline", name, sorted(register_pipelines()), "--pipelines=")
    cells = []
    for environment in environments:
        for experiment in experiments:
            for seed in seeds:
                params = with_seed({**environment.params, "experiment": experiment}, seed)
                loader = environment.load(params)
                cells.append(Cell(environment, params, loader, identity(loader, seed, pipelines)))
    return Grid(cells, pipelines, folder)


def run(grid: Grid, conf_source: Path, jobs: int, finish: Callable[[TrackedRun], None], tell: Tell) -> None:
    """Make the runs that have no row; go on where one fails.

    What a run finds finished it does not repeat, so a grid that was interrupted goes on where it was. Of runs
    that share stage 1, one begins, and the others follow once its VQ-VAE is there.

    Args:
        grid: its `failed` is filled.
        conf_source: the configuration folder.
        jobs: runs at a time, which share the processor's threads.
        finish: called with the MLflow run around those of each environment, when all have ended.
        tell: takes a line for the terminal.
    """
    names, known = grid.pipelines.split(","), register_pipelines()
    outputs = set[str]().union(*(known[name].all_outputs() for name in names))
    missing = [cell for cell, row in zip(grid.cells, grid.rows(), strict=True) if row is None]
    environment = machine.share(jobs)
    threads = int(environment.get(machine.THREADS, machine.usable_processors()))
    notes: dict[Cell, list[str]] = {}
    with ExitStack() as around:
        parents = dict[str, TrackedRun]()
        for cell in missing:
            if (name := cell.identity["environment"]) not in parents:
                parents[name] = around.enter_context(_parent(cell, grid.pipelines))

        def begin(cell: Cell) -> NestedRun:
            tell(cell.title)
            notes[cell] = _continued(cell)
            around_it, env = parents[cell.identity["environment"]], cell.environment.name
            return NestedRun(
                conf_source, env, cell.params, grid.pipelines, around_it, wait=True, environment=environment
            )

        for cell, ended in around.enter_context(closing(_side_by_side(missing, jobs, begin))):
            try:
                ended.check()
                said = notes[cell] + _taken_over(cell, outputs)
                row = finished_row(cell.loader, cell.identity, outputs, ended.child.seconds, threads, said)
                write_row(grid.folder, row)
            except UserError as error:
                grid.failed[cell.title] = error.message.strip().splitlines()[-1]
                tell(f"{cell.title} failed: {error.message}")
        for parent in parents.values():
            finish(parent)


def _parent(cell: Cell, pipelines: str) -> AbstractContextManager[TrackedRun]:
    selection = cell.loader["globals"]
    title = f"ablations {selection['size']} {pipelines}"
    return parent_run(cell.loader, title, {"protocol": selection["protocol"]})


def _side_by_side(
    cells: Sequence[Cell], jobs: int, begin: Callable[[Cell], NestedRun]
) -> Generator[tuple[Cell, NestedRun]]:
    """Each run once it has ended; those that are at work when nobody asks any longer are ended."""
    waiting, running = list(cells), dict[NestedRun, Cell]()
    try:
        while waiting or running:
            while len(running) < jobs and (cell := _next(waiting, running.values())) is not None:
                waiting.remove(cell)
                running[begin(cell)] = cell
            ended = [run for run in running if run.child.ended()]
            for each in ended:
                yield running.pop(each), each
            if not ended:
                time.sleep(_LOOK)
    finally:
        for each in running:
            each.child.ask_to_end()
        for each in running:
            each.child.ended(wait=True)


def _next(waiting: Sequence[Cell], running: Iterable[Cell]) -> Cell | None:
    """The first run that needs nothing which one at work is making."""
    unmade = set[str]().union(*(cell.unmade() for cell in running))
    return next((cell for cell in waiting if unmade.isdisjoint(cell.shared.values())), None)


def _continued(cell: Cell) -> list[str]:
    """What there is to say of a run's seconds before it begins."""
    stages = (cell.loader.place(f"{stage}_checkpoints") for stage in ("vqvae", "lora"))
    begun = any(latest_checkpoint(folder) is not None for folder in stages)
    return ["an earlier run of the same is continued: its seconds are not among these"] if begun else []


def _taken_over(cell: Cell, outputs: set[str]) -> list[str]:
    """What there is to say of them afterwards."""
    whose = taken_from(cell.loader.place("vqvae_checkpoints")) if "vqvae_model" in outputs else None
    return [f"stage 1 is that of {whose}, the same seed: its seconds are not among these"] if whose else []
