"""What MLflow is asked for: a run opened, written to and closed, and those that dead processes left open."""

import functools
import json
import logging
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmar_pipeline.holders import Holder

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)

_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""A server that is away costs seconds; MLflow's own patience is minutes."""
_DIGEST = 32  # characters of a dataset's digest; MLflow takes 36
_HOST, _PID, _STARTED = "llmar.host", "llmar.pid", "llmar.started"


@functools.cache
def open_store(uri: str) -> "MlflowClient":
    """A client of a store, which is made where it is a database file that does not exist.

    Args:
        uri: Where runs are tracked.

    Raises:
        Exception: Whatever MLflow and its database say where it cannot be had; after seconds, not minutes.
    """
    for name, value in _IMPATIENT.items():
        os.environ.setdefault(name, value)
    import mlflow.store.db.utils as of_databases
    from mlflow.tracking import MlflowClient
    from mlflow.tracking._tracking_service.utils import _SERVER_ARTIFACT_ROOT_ENV_VAR
    from mlflow.utils.uri import resolve_uri_if_local

    of_databases.MAX_RETRY_COUNT = 3
    for name in ("mlflow.store.db.utils", "urllib3.connectionpool"):  # they tell of tables and tracebacks
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if (file := _database(uri)) is not None:
        root = resolve_uri_if_local(os.environ.get(_SERVER_ARTIFACT_ROOT_ENV_VAR, "./mlruns"))
        if not file.exists():
            _make_database(file, root)
        elif file.parent.resolve() == Path(root).parent:
            _move_artifacts(file, root)
    return MlflowClient(tracking_uri=uri)


def _database(uri: str) -> Path | None:
    if not uri.startswith("sqlite:"):
        return None
    from sqlalchemy.engine import make_url

    name = make_url(uri).database
    return Path(name) if name and name != ":memory:" else None


def _make_database(file: Path, root: str) -> None:
    """Make it under another name first: two first runs at once, or a killed one, would leave half of one."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        SqlAlchemyStore(f"sqlite:///{partial.resolve()}", root).engine.dispose()
        if not file.exists():
            os.link(partial, file)
    except FileExistsError:  # another run was faster
        pass
    finally:
        partial.unlink(missing_ok=True)


def _move_artifacts(file: Path, root: str) -> None:
    """Artifacts lie beside their database: one that was moved or copied with them knows their old place.

    A place that is there still, and written to, is left alone unless there is one beside the database too.
    """
    with closing(sqlite3.connect(file, timeout=5)) as database, database:
        for number, at in database.execute("select experiment_id, artifact_location from experiments"):
            old, new = Path(str(at).removeprefix("file://")), Path(root, str(number))
            moved = new.is_dir() or not os.access(old, os.W_OK)
            if old != new and old.parts[-2:] == new.parts[-2:] and moved:
                of_runs = (str(new), len(str(at)) + 1, number, f"{at}/")
                database.execute(
                    "update runs set artifact_uri = ? || substr(artifact_uri, ?) "
                    "where experiment_id = ? and instr(artifact_uri, ?) = 1", of_runs,
                )  # fmt: skip
                database.execute(
                    "update logged_models set artifact_location = ? || substr(artifact_location, ?) "
                    "where experiment_id = ? and instr(artifact_location, ?) = 1", of_runs,
                )  # fmt: skip
                for column in ("source", "storage_location"):
                    database.execute(
                        f"update model_versions set {column} = ?1 || substr({column}, ?2) "
                        f"where instr({column}, ?4) = 1", of_runs,
                    )  # fmt: skip
                database.execute(
                    "update experiments set artifact_location = ? where experiment_id = ?", (str(new), number)
                )


def open_run(client: "MlflowClient", opening: Mapping[str, Any]) -> str:
    """Open a run.

    Args:
        client: Of the store.
        opening: Its `experiment` (made where it does not exist), `name`, `tags` and `time`.

    Returns:
        The run's id.
    """
    experiment = _experiment(client, opening["experiment"])
    run = client.create_run(experiment, opening["time"], opening["tags"], run_name=opening["name"])
    return str(run.info.run_id)


def _experiment(client: "MlflowClient", name: str) -> str:
    """Id of the experiment of that name; of `<name>-2` and so on where it was deleted, which keeps names."""
    from mlflow.exceptions import MlflowException

    chosen, number = name, 1
    while True:
        known = client.get_experiment_by_name(chosen)
        if known is None:
            try:
                return str(client.create_experiment(chosen))
            except MlflowException:
                known = client.get_experiment_by_name(chosen)  # another run has just made it
                if known is None:
                    raise
        if known.lifecycle_stage == "active":
            return str(known.experiment_id)
        number += 1
        logger.warning("the MLflow experiment %s was deleted: going on to %s-%d", chosen, name, number)
        chosen = f"{name}-{number}"


def send(client: "MlflowClient", run_id: str, entry: Mapping[str, Any]) -> None:
    """Write one thing to a run: `params`, `metrics`, `tag`, `artifact`, `reference`, or its `end`.

    An artifact with the key `registered` is a trained model, and that the name to register it under, if any.
    A reference is a dataset of MLflow's: name, size, the checksum's first half as its digest, and the place.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    match entry:
        case {"params": params}:
            entries = [Param(key, value) for key, value in params.items()]
            for start in range(0, len(entries), 100):
                client.log_batch(run_id, params=entries[start : start + 100])
        case {"metrics": metrics, "step": step, "time": time}:
            client.log_batch(run_id, metrics=[Metric(k, v, time, step) for k, v in metrics.items()])
        case {"tag": name, "value": value}:
            client.set_tag(run_id, name, value)
        case {"artifact": name, "registered": registered} if Path(name).is_dir():
            from llmar_pipeline.io.pyfunc_model import log_model

            log_model(client, run_id, Path(name), registered)
        case {"artifact": name} if Path(name).is_dir():
            client.log_artifacts(run_id, name, artifact_path=Path(name).name)
        case {"artifact": name} if Path(name).exists():
            client.log_artifact(run_id, name)
        case {"reference": path, "name": name, "context": context, "profile": profile}:
            source, digest = json.dumps({"uri": Path(path).as_uri()}), profile["sha256"][:_DIGEST]
            dataset = Dataset(name, digest, "local", source, profile=json.dumps(profile))
            client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])
        case {"end": status, "time": time}:
            client.set_terminated(run_id, status, time)


def is_deleted(client: "MlflowClient", run_id: str) -> bool:
    """Whether somebody has deleted a run since it was opened, or the whole store."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "deleted")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return True
        raise


def holder_tags(holder: Holder) -> dict[str, str]:
    """Tags that say whose a run is, for `close_abandoned`."""
    return {_HOST: holder.host, _PID: str(holder.pid), _STARTED: str(holder.started)}


def close_abandoned(client: "MlflowClient") -> None:
    """Close the runs of processes of this machine that were killed, and could not do so themselves."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    mine = f"attributes.status = 'RUNNING' and tags.`{_HOST}` = '{Holder.here().host}'"
    for run in client.search_runs(experiments, mine):
        tags = run.data.tags
        if Holder(tags[_HOST], int(tags[_PID]), float(tags[_STARTED])).dead:
            client.set_terminated(run.info.run_id, "KILLED")
            logger.info("closed the MLflow run %s, whose process was killed", run.info.run_name)
