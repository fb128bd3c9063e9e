"""Several `kedro run`s, each in a process of its own, nested in one MLflow run."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from llmar_pipeline.errors import UserError
from llmar_pipeline.interruption import children_without_ctrl_c, interruption
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.io.params_text import write_params
from llmar_pipeline.io.tracking import TrackedRun, kept_folder, store_uri
from llmar_pipeline.records import read_recorded


@contextmanager
def parent_run(loader: StackedConfigLoader, name: str, tags: Mapping[str, str]) -> Iterator[TrackedRun]:
    """An MLflow run around others, which a `NestedRun` is nested in.

    Args:
        loader: the configuration of one of the runs, which says where they are tracked.
        name: what it is called.
        tags: what else it is known by.
    """
    selection = loader["globals"]
    uri, kept = store_uri(loader["mlflow"]), kept_folder(selection)
    parent = TrackedRun.start(uri, selection["dataset"], name, tags, kept)
    try:
        yield parent
    except BaseException as error:
        parent.end("KILLED" if interruption(error) else "FAILED")
        raise
    parent.end("FINISHED")


class Child:
    """A process at work, whose output and processor seconds are kept.

    Args:
        command: what it runs.
        environment: its variables.

    Attributes:
        code: its exit code; None while it runs.
        seconds: processor seconds of it and of the processes that it waited for, once it has ended.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]):
        self.code: int | None = None
        self.seconds = 0.0
        # No pipe: nobody reads it meanwhile, and the process outlives one that is killed.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        with children_without_ctrl_c():
            self._process = subprocess.Popen(
                command, env=environment, stdout=self._output, stderr=subprocess.STDOUT
            )

    def ended(self, wait: bool = False) -> bool:
        """Whether it has ended, now or once it has been waited for."""
        if self.code is None:
            ended, status, usage = os.wait4(self._process.pid, 0 if wait else os.WNOHANG)
            if ended:
                self.code = self._process.returncode = os.waitstatus_to_exitcode(status)
                self.seconds = usage.ru_utime + usage.ru_stime
        return self.code is not None

    def ask_to_end(self) -> None:
        """Have it end in order, and its MLflow run with it. Once: asked again, it ends at once."""
        if not self.ended():
            self._process.terminate()

    def output(self) -> str:
        """What it has printed."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")


class NestedRun:
    """One `kedro run` in a process of its own, begun at once.

    Args:
        conf_source: the configuration folder.
        env: the dataset.
        params: what `--params` holds.
        pipelines: what `--pipelines` gets.
        parent: the MLflow run around it; None for a run of its own.
        wait: whether it waits where another run writes to its folders.
        environment: its variables; None takes those of this process.
        to_outputs: what `--to-outputs` gets: no more is made than it takes.

    Attributes:
        child: its process.
    """

    def __init__(
        self,
        conf_source: Path,
        env: str | None,
        params: Mapping[str, Any],
        pipelines: str,
        parent: TrackedRun | None = None,
        wait: bool = False,
        environment: Mapping[str, str] | None = None,
        to_outputs: str = "",
    ):
        self._params = write_params(params)
        command = [*(sys.executable, "-m", "llmar_pipeline", "run"), f"--conf-source={conf_source}"]
        command += [f"--pipelines={pipelines}", f"--params={self._params}"]
        command += [*([f"--env={env}"] if env else []), *(["--wait"] if wait else [])]
        command += [f"--to-outputs={to_outputs}"] if to_outputs else []
        around = (parent.run_id if parent else None) or ""
        own = {"LLMAR_PARENT_RUN": around, "PYTHONIOENCODING": "utf-8"}
        self.child = Child(command, {**(os.environ if environment is None else environment), **own})

    def finish(self) -> None:
        """Wait for its end; a wait that is broken off ends it.

        Raises:
            UserError: as `check` raises it.
        """
        try:
            self.child.ended(wait=True)
        finally:
            self.child.ask_to_end()
            self.child.ended(wait=True)
        self.check()

    def check(self) -> None:
        """Make sure that it came to its end.

        Raises:
            UserError: it failed, and its last lines are shown.
        """
        if self.child.code:
            last = "\n".join(self.child.output().strip().splitlines()[-5:])
            raise UserError(
                f"`kedro run --params={self._params}` ended with exit code {self.child.code}:\n{last}"
            )


def with_seed(params: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Parameters of a run with one seed for both trainings.

    Seed 0 is the default and is not named, so its runs share their folders with runs made by hand.
    """
    chosen = deepcopy(dict(params))
    if seed:
        for stage in ("vqvae_training", "lora_training"):
            chosen.setdefault(stage, {})["seed"] = seed
    return chosen


def written_numbers(loader: StackedConfigLoader, *datasets: str) -> dict[str, Any]:
    """The numbers that a run left in JSON files; nothing from a file that is not there.

    Args:
        loader: the run's configuration.
        *datasets: their names in the catalog.
    """
    numbers: dict[str, Any] = {}
    for file in map(loader.place, datasets):
        if file.is_file():
            found = read_recorded(file)
            numbers |= {key: value for key, value in found.items() if isinstance(value, int | float)}
    return numbers
