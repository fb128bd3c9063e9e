"""What MLflow could not be told: kept beside the outputs, a file a run, and delivered at the next chance."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import json_checksum, whole_file
from llmar_pipeline.holders import Holder, hold
from llmar_pipeline.io.mlflow_store import is_deleted, open_run, send

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)


def head(uri: str, opening: Mapping[str, Any]) -> dict[str, Any]:
    """The first line of a file: which run of which store and process the others are of."""
    return {"store": json_checksum(uri), "holder": asdict(Holder.here()), "opening": opening}


def keep(journal: Path, first: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
    """Add a line.

    Args:
        journal: The file; made where it does not exist.
        first: Its first line, as `head` gives it, and the `run_id` where the run was opened.
        entry: As `mlflow_store.send` takes it.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8") as stream:
        lines = [entry] if stream.tell() else [first, entry]
        stream.writelines(json.dumps(line) + "\n" for line in lines)


def deliver(journal: Path, client: "MlflowClient", *more: Mapping[str, Any]) -> str:
    """Tell MLflow what a file holds; what is told leaves the file, and a file that is empty goes.

    Args:
        journal: The file.
        client: Of the store.
        *more: What is to be told beside it.

    Returns:
        The run's id.
    """
    first, *entries = _read(journal)
    run_id = first.get("run_id")
    if run_id is None or is_deleted(client, run_id):
        run_id = open_run(client, first["opening"])
    left = sorted([*entries, *more], key=lambda entry: "artifact" in entry)  # whose place may be away alone
    try:
        while left:
            send(client, run_id, left[0])
            left.pop(0)
    finally:
        if left:
            with whole_file(journal) as stream:
                lines = [{**first, "run_id": run_id}, *left]
                stream.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        else:
            journal.unlink()
    return str(run_id)


def deliver_earlier(folder: Path, uri: str, client: "MlflowClient") -> None:
    """Tell MLflow what earlier runs could not: those that have ended, in order or killed on this machine.

    Args:
        folder: Of the files.
        uri: Of the store; what was meant for another one waits for it.
        client: Of the store.
    """
    if not any(folder.glob("*.jsonl")):
        return
    try:
        held = hold(folder)
    except UserError:  # another run is about it
        return
    with held:
        for journal in sorted(folder.glob("*.jsonl")):
            try:
                first, *entries = _read(journal)
                ended = any("end" in entry for entry in entries)
                if first["store"] != json_checksum(uri) or not (ended or Holder(**first["holder"]).dead):
                    continue
                killed = {"end": "KILLED", "time": int(1000 * journal.stat().st_mtime)}
                deliver(journal, client, *([] if ended else [killed]))
                logger.info("MLflow now has what %s kept of an earlier run", journal.name)
            except Exception as error:  # whatever is wrong with it, this run goes on
                logger.warning("%s: not delivered to MLflow (%s)", journal, reason(error))


def reason(error: Exception) -> str:
    """What an error says, in a line."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:160]


def _read(journal: Path) -> list[dict[str, Any]]:
    """Its lines; the last one may have been cut off by a kill."""
    lines = []
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
