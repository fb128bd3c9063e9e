"""The MLflow run of the current `kedro run`."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from llmar_pipeline.files import file_checksum, json_checksum
from llmar_pipeline.holders import Holder
from llmar_pipeline.io import untracked
from llmar_pipeline.io.mlflow_store import close_abandoned, holder_tags, open_run, open_store, send
from llmar_pipeline.io.origin import standard_tags
from llmar_pipeline.language.config import trained_precision
from llmar_pipeline.records import checksums

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)

PARAMETER_LIMIT = 6000  # characters MLflow stores of one value
LARGE_TABLE = 2**24  # bytes; above, MLflow gets no copy of a table


class TrackedRun:
    """One MLflow run, addressed by its id. None of its calls fails: what cannot be tracked is kept.

    MLflow's fluent calls belong to one thread, and Kedro may run nodes in others; so everything goes
    through a client. A run may travel to the processes of a distributed training.

    Attributes:
        uri: Where it is tracked.
        run_id: Its id there; None as long as it could not be opened.
        columns: Further names of its headline metric, in per cent: the columns of published tables. They have
            raw scores where the metric is of corrected ones.
        registered: Name that its trained model is registered under; None logs it alone.
    """

    columns: Sequence[str] = ()
    registered: str | None = None

    def __init__(self, uri: str, opening: Mapping[str, Any], journal: Path):
        self.uri = uri
        self.run_id: str | None = None
        self._opening, self._journal = opening, journal
        self._first = untracked.head(uri, opening)
        self._process = os.getpid()
        self._quiet_until = {True: 0.0, False: 0.0}  # of artifacts, which may lie elsewhere, and of all else
        self._said = False

    @classmethod
    def start(cls, uri: str, experiment: str, name: str, tags: Mapping[str, str], kept: Path) -> "TrackedRun":
        """Open a run, creating the experiment where it does not exist.

        Runs that processes of this machine left open when they were killed are closed, and what earlier runs
        could not track is delivered.

        Args:
            uri: Where runs are tracked.
            experiment: Its name.
            name: That of the run.
            tags: What else it is known by.
            kept: Folder of what could not be tracked, one file a run.
        """
        tags = {**standard_tags(), **tags, **holder_tags(Holder.here())}
        opening = {"experiment": experiment, "name": name, "tags": tags, "time": _milliseconds()}
        run = cls(uri, opening, kept / f"{datetime.now():%Y%m%d-%H%M%S}-{uuid4().hex[:8]}.jsonl")

        def open_it(client: "MlflowClient") -> None:
            close_abandoned(client)
            run.run_id = open_run(client, opening)
            untracked.deliver_earlier(kept, uri, client)

        run._attempt(open_it)
        return run

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log flat parameters."""
        self._tell({"params": {key: str(value)[:PARAMETER_LIMIT] for key, value in params.items()}})

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at a step in one batch."""
        numbers = {key: float(value) for key, value in metrics.items()}
        self._tell({"metrics": numbers, "step": step, "time": _milliseconds()})

    def tag(self, name: str, value: str) -> None:
        """Say something of the run that became known while it ran."""
        self._tell({"tag": name, "value": value})

    def log_artifact(self, path: Path) -> None:
        """Keep a copy of a file or a folder with the run."""
        self._tell({"artifact": str(path.resolve())})

    def log_reference(self, path: Path, name: str, checksum: str, context: str, **profile: int) -> None:
        """Name what stays where it is, with its checksum, in place of a copy: a dataset of MLflow's.

        Args:
            path: A file or folder.
            name: What it is called.
            checksum: SHA-256 of what it holds.
            context: What the run does with it: train, val, test, output.
            **profile: Numbers that describe it.
        """
        where = {"reference": str(path.resolve()), "name": name, "context": context}
        self._tell({**where, "profile": {**profile, "sha256": checksum}})

    def log_model(self, folder: Path) -> None:
        """Keep a trained model as one of MLflow's, and register it where the run has a name for it."""
        self._tell({"artifact": str(folder.resolve()), "registered": self.registered})

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        if status != "KILLED":  # who kills does not wait
            self._quiet_until = {True: 0.0, False: 0.0}
        self._tell({"end": status, "time": _milliseconds()})

    def _tell(self, entry: Mapping[str, Any]) -> None:
        """Send it, or keep it with what was kept before, which the process that opened the run delivers."""

        def send_it(client: "MlflowClient") -> None:
            self.run_id = self.run_id or open_run(client, self._opening)
            send(client, self.run_id, entry)

        def deliver(client: "MlflowClient") -> None:
            self.run_id = untracked.deliver(self._journal, client)

        artifact, mine = "artifact" in entry, os.getpid() == self._process
        waiting = self._journal.exists()
        at_once = not waiting if mine else self.run_id is not None
        if at_once and self._attempt(send_it, artifact):
            return
        try:
            untracked.keep(self._journal, {**self._first, "run_id": self.run_id}, entry)
        except OSError as error:
            logger.warning("%s cannot be written (%s): not tracked", self._journal, error.strerror)
        if mine and waiting:
            self._attempt(deliver, artifact)

    def _attempt(self, action: Callable[["MlflowClient"], None], artifact: bool = False) -> bool:
        """Do something with the store; where it is away, not again before ten times as long has passed."""
        began = time.monotonic()
        if began < self._quiet_until[artifact]:
            return False
        try:
            action(open_store(self.uri))
            return True
        except Exception as error:  # whatever it is, the run goes on
            took = time.monotonic() - began
            self._quiet_until[artifact] = began + max(60.0, 10 * took)
            if not self._said:
                logger.warning(
                    "MLflow (%s): the run goes on; what cannot be tracked is kept in %s and delivered as "
                    "soon as this run or a later one can", untracked.reason(error), self._journal,
                )  # fmt: skip
            self._said = True
            return False


_current: TrackedRun | None = None


def store_uri(config: Mapping[str, Any]) -> str:
    """Where runs are tracked: the environment's MLFLOW_TRACKING_URI, or what mlflow.yml says."""
    return os.environ.get("MLFLOW_TRACKING_URI") or str(config["tracking_uri"])


def kept_folder(selection: Mapping[str, Any]) -> Path:
    """Where lies what could not be tracked, beside the outputs that the globals lead to."""
    return Path(selection["data_dir"], "08_reporting", "untracked")


def set_current(run: TrackedRun | None) -> None:
    """Make a run the one that `log_live` writes to."""
    global _current
    _current = run


def current() -> TrackedRun | None:
    """The run that is open, if one is."""
    return _current


def end_current(status: str) -> None:
    """Close the run that is open, if one is."""
    if _current is not None:
        _current.end(status)
    set_current(None)


def tell(name: str, dataset: Any, file: Path | None, data: Any = None) -> None:
    """Tell the run that is open of a dataset that was saved, or that was found as an earlier run saved it.

    Args:
        name: In the catalog.
        dataset: Its entry, which says by `metadata: {mlflow: ...}` what is kept. `metrics`: numbers, and a
            copy of the file; `artifact`: a copy, but of a table larger than `LARGE_TABLE` its place alone;
            `reference`: its place alone; `splits`: which clips train, validate and test.
        file: Where it lies on this machine, if it does.
        data: What it holds; loaded where that is needed.

    Source: ours.
    """
    run, kind = _current, (getattr(dataset, "metadata", None) or {}).get("mlflow")
    if run is None or kind is None:
        return
    if kind == "metrics":
        data = dataset.load() if data is None else data
        numbers = {k: v for k, v in data.items() if isinstance(v, int | float)}
        if "headline" in data:
            corrected, raw = (data.get(f"{prefix}{data['headline']}") for prefix in ("", "uncorrected_"))
            numbers |= dict.fromkeys(run.columns, 100 * (corrected if raw is None else raw))
        run.log_metrics(numbers)
    if file is not None:
        if kind == "splits":
            _tell_splits(run, file, dataset.load() if data is None else data)
        elif kind == "reference" or (file.suffix == ".parquet" and file.stat().st_size > LARGE_TABLE):
            _tell_place(run, file)
        else:
            run.log_artifact(file)
        if name == "recognizer_model":
            run.log_model(file)
            run.tag("number_type", trained_precision(file))


def _tell_place(run: TrackedRun, path: Path) -> None:
    """Where a file or folder lies, how large it is, and the checksum of what it holds."""
    if path.is_dir():
        known = checksums(path) or {}
        size, checksum = sum((path / name).stat().st_size for name in known), json_checksum(known)
    else:
        size, checksum = path.stat().st_size, file_checksum(path)
    run.log_reference(path, path.name, checksum, "output", bytes=size)


def _tell_splits(run: TrackedRun, file: Path, splits: "pd.DataFrame") -> None:
    """Which clips train, validate and test, as inputs of the run, with checksums of names and classes."""
    for split in ("train", "val", "test"):
        clips = splits[splits["split"] == split].sort_values("name")
        if len(clips):
            checksum = json_checksum(clips[["name", "action"]].to_numpy().tolist())
            counts = {"clips": len(clips), "classes": int(clips["action"].nunique())}
            run.log_reference(file, " ".join([*file.parts[-4:-2], split]), checksum, split, **counts)


class LiveCurves:
    """A function (record, step) for the training engine, drawing a stage's curves as they grow.

    It can travel to the processes of a distributed training.
    """

    def __init__(self, stage: str, run: TrackedRun | None):
        self.stage, self.run = stage, run

    def __call__(self, record: dict[str, float], step: int) -> None:
        """Log a record; without a run that is open, do nothing."""
        if self.run is not None:
            self.run.log_metrics({f"{self.stage}/{k}": v for k, v in record.items() if k != "epoch"}, step)


def log_live(stage: str) -> LiveCurves:
    """The curves of a stage in the run that is open."""
    return LiveCurves(stage, _current)


def tag_live(name: str, value: str) -> None:
    """Tag the run that is open, if one is."""
    if _current is not None:
        _current.tag(name, value)


def _milliseconds() -> int:
    return int(time.time() * 1000)
