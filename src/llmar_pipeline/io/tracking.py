"""The MLflow run of the current `kedro run`."""

import functools
import logging
import os
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PARAMETER_LIMIT = 6000  # characters MLflow stores of one value


class TrackedRun:
    """One MLflow run, addressed by its id.

    MLflow's fluent calls belong to one thread, and Kedro may run nodes in others; so everything goes
    through a client.
    """

    def __init__(self, client: "MlflowClient", run_id: str):
        self.client, self.run_id = client, run_id

    @classmethod
    def start(cls, uri: str, experiment: str, name: str, tags: dict[str, str]) -> "TrackedRun":
        """Open a run, creating the experiment where it does not exist."""
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(
            logging.WARNING
        )  # it tells of every table it makes
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(experiment)
        experiment_id = known.experiment_id if known else client.create_experiment(experiment)
        return cls(client, client.create_run(experiment_id, run_name=name, tags=tags).info.run_id)

    def log_params(self, params: dict[str, Any]) -> None:
        """Log flat parameters in one batch."""
        from mlflow.entities import Param

        entries = [Param(key, str(value)[:PARAMETER_LIMIT]) for key, value in params.items()]
        for start in range(0, len(entries), 100):
            self.client.log_batch(self.run_id, params=entries[start : start + 100])

    def log_metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        """Log numbers at a step in one batch."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entries = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        self.client.log_batch(self.run_id, metrics=entries)

    def tag(self, name: str, value: str) -> None:
        """Say something of the run that became known while it ran."""
        self.client.set_tag(self.run_id, name, value)

    def log_artifact(self, path: Path) -> None:
        """Keep a copy of a file or a folder with the run."""
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), artifact_path=path.name)
        else:
            self.client.log_artifact(self.run_id, str(path))

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run_id, status=status)


_current: TrackedRun | None = None


def store_uri(config: Mapping[str, Any]) -> str:
    """Where runs are tracked: the environment's MLFLOW_TRACKING_URI, or what mlflow.yml says."""
    return os.environ.get("MLFLOW_TRACKING_URI") or str(config["tracking_uri"])


def set_current(run: TrackedRun | None) -> None:
    """Make a run the one that `log_live` writes to."""
    global _current
    _current = run


def current() -> TrackedRun | None:
    """The run that is open, if one is."""
    return _current


class LiveCurves:
    """A function (record, step) for the training engine, drawing a stage's curves as they grow.

    It holds names only, so it can travel to the processes of a distributed training.
    """

    def __init__(self, stage: str, uri: str | None, run_id: str | None):
        self.stage, self.uri, self.run_id = stage, uri, run_id

    def __call__(self, record: dict[str, float], step: int) -> None:
        """Log a record; without a run that is open, do nothing."""
        if self.uri is None or self.run_id is None:
            return
        from mlflow.tracking import MlflowClient

        run = TrackedRun(MlflowClient(tracking_uri=self.uri), self.run_id)
        run.log_metrics({f"{self.stage}/{k}": v for k, v in record.items() if k != "epoch"}, step)


def log_live(stage: str) -> LiveCurves:
    """The curves of a stage in the run that is open."""
    run = _current
    return LiveCurves(stage, run.client.tracking_uri if run else None, run.run_id if run else None)


@functools.cache
def now() -> str:
    """The date and time at which this process first asked: one for all of a run."""
    return datetime.now().strftime("%Y-%m-%d %H:%M")


@functools.cache
def git_revision() -> str:
    """The commit of the code that runs, marked where files differ from it; empty outside a checkout."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", cwd=Path(__file__).parent, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip()
