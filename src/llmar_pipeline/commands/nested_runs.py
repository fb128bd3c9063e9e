"""Several `kedro run`s, one after the other, nested in one MLflow run."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
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
def parent_run(loader: StackedConfigLoader, name: str, tags: Mapping[str, str]) -> Iterator[str]:
    """An MLflow run around others: its id is what `kedro_run` nests a run in.

    Args:
        loader: the configuration of one of the runs, which says where they are tracked.
        name: what it is called.
        tags: what else it is known by.
    """
    selection = loader["globals"]
    uri, kept = store_uri(loader["mlflow"]), kept_folder(selection)
    parent = TrackedRun.start(uri, selection["dataset"], name, tags, kept)
    try:
        yield parent.run_id or ""
    except BaseException as error:
        parent.end("KILLED" if interruption(error) else "FAILED")
        raise
    parent.end("FINISHED")


def kedro_run(
    conf_source: Path, env: str | None, params: Mapping[str, Any], pipelines: str, parent: str
) -> None:
    """One `kedro run` in a process of its own.

    Args:
        conf_source: the configuration folder.
        env: the dataset.
        params: what `--params` holds.
        pipelines: what `--pipelines` gets.
        parent: id of the MLflow run around it; empty for a run of its own.

    Raises:
        UserError: the run failed, and its last lines are shown.
    """
    joined = write_params(params)
    command = [*(sys.executable, "-m", "llmar_pipeline", "run"), f"--conf-source={conf_source}"]
    command += [f"--pipelines={pipelines}", f"--params={joined}", *([f"--env={env}"] if env else [])]
    with children_without_ctrl_c():
        started = subprocess.Popen(
            command,
            env={**os.environ, "LLMAR_PARENT_RUN": parent, "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    with started as child:
        try:
            output, _ = child.communicate()
        except BaseException:
            child.terminate()  # in order, and its MLflow run with it
            raise
    if child.returncode:
        last = "\n".join(output.strip().splitlines()[-5:])
        raise UserError(f"`kedro run --params={joined}` ended with exit code {child.returncode}:\n{last}")


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
