"""Tracking serves the run: whatever happens to MLflow's store, the run goes on and nothing is lost."""

import hashlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from sqlalchemy import event
from sqlalchemy.pool import Pool

from llmar_pipeline.io import mlflow_store, tracking
from llmar_pipeline.io.tracking import TrackedRun
from llmar_pipeline.records import record


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """An MLflow database; making one takes seconds."""
    file = tmp_path_factory.mktemp("made") / "mlflow.db"
    mlflow_store._make_database(file, str(file.parent / "mlruns"))
    return file


@pytest.fixture
def project(database, tmp_path, monkeypatch):
    """A project's folder with a database of its own."""
    shutil.copy(database, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mlflow_store, "_IMPATIENT", {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    return tmp_path


def start(project, uri=None, experiment="demo", name="a run"):
    return TrackedRun.start(uri or f"sqlite:///{project}/mlflow.db", experiment, name, {}, project / "kept")


def ask(project, query, file="mlflow.db"):
    with sqlite3.connect(project / file) as connection:
        return connection.execute(query).fetchall()


def kept(project):
    return [json.loads(line) for file in (project / "kept").glob("*.jsonl") for line in file.open()]


def a_whole_run(project, **others):
    (project / "table.txt").write_text("a table")
    run = start(project, **others)
    run.log_params({"codes": 512})
    run.log_metrics({"loss": 1.5}, 3)
    run.tag("kind", "short")
    run.log_artifact(project / "table.txt")
    run.end("FINISHED")
    return run


def is_tracked(project, file="mlflow.db"):
    assert ask(project, "select status from runs", file) == [("FINISHED",)]
    assert ask(project, "select key, value from params", file) == [("codes", "512")]
    assert ask(project, "select key, value, step from metrics", file) == [("loss", 1.5, 3)]
    [(place,)] = ask(project, "select artifact_uri from runs", file)
    assert Path(place, "table.txt").read_text(encoding="utf-8") == "a table"


def test_a_run_is_tracked_and_nothing_is_kept(project):
    a_whole_run(project)
    is_tracked(project)
    assert not (project / "kept").exists()


def not_a_database(project):
    (project / "mlflow.db").write_text("this is no database, and longer than a header" * 100)


def of_another_version(project):
    ask(project, "update alembic_version set version_num = 'ffffffffffff'")


def a_folder(project):
    (project / "mlflow.db").unlink()
    (project / "mlflow.db").mkdir()


@contextmanager
def locked(project):
    """By a process that is at it for minutes."""
    with closing(sqlite3.connect(project / "mlflow.db")) as other:
        other.execute("begin exclusive")
        yield
        other.rollback()


@contextmanager
def read_only(_):
    """What sqlite says where it may not write a file, root included."""
    writable = False

    def asked(connection, *_):
        connection.execute(f"pragma query_only={'off' if writable else 'on'}")

    event.listen(Pool, "checkout", asked)
    yield
    writable = True


@pytest.mark.slow
@pytest.mark.parametrize("closed", [locked, read_only])
def test_what_a_database_does_not_take_for_a_while_is_delivered_afterwards(project, caplog, closed):
    started = time.monotonic()
    with closed(project):
        a_whole_run(project)
    assert time.monotonic() - started < 60  # of minutes
    assert [record.message.count("the run goes on") for record in caplog.records].count(1) == 1
    assert {"params", "metrics", "tag", "artifact", "end"} <= {key for line in kept(project) for key in line}
    start(project, experiment="another").end("KILLED")
    assert kept(project) == []
    assert ask(project, "select status from runs order by status") == [("FINISHED",), ("KILLED",)]
    assert ask(project, "select key, value, step from metrics") == [("loss", 1.5, 3)]


@pytest.mark.parametrize("damage", [not_a_database, of_another_version, a_folder])
def test_what_a_damaged_database_does_not_take_is_delivered_to_a_sound_one(project, database, caplog, damage):
    damage(project)
    a_whole_run(project)
    assert [record.message.count("the run goes on") for record in caplog.records].count(1) == 1
    assert {"params", "metrics", "tag", "artifact", "end"} <= {key for line in kept(project) for key in line}
    shutil.rmtree(project / "mlflow.db", ignore_errors=True)
    shutil.copy(database, project / "mlflow.db")
    start(project, experiment="another").end("KILLED")
    assert kept(project) == []
    statuses = ask(project, "select name, status from runs order by name, status")
    assert sorted(statuses) == [("a run", "FINISHED"), ("a run", "KILLED")]
    assert ask(project, "select key, value, step from metrics") == [("loss", 1.5, 3)]


def test_a_server_that_is_away_costs_seconds_and_its_runs_wait_for_it(project):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{taken.getsockname()[1]}"
    a_whole_run(project, uri=away)
    before = kept(project)
    assert before
    start(project).end("FINISHED")
    assert kept(project) == before


def test_a_store_that_fails_in_between_misses_nothing(project, monkeypatch):
    run = start(project)
    monkeypatch.setattr(tracking, "send", lambda *_: 1 / 0)
    run.log_metrics({"loss": 1.0}, 1)
    monkeypatch.undo()
    run.log_metrics({"loss": 0.5}, 2)
    assert [line["metrics"]["loss"] for line in kept(project)[1:]] == [
        1.0,
        0.5,
    ]  # not asked so soon
    run.end("FINISHED")
    assert ask(project, "select value, step from metrics order by step") == [(1.0, 1), (0.5, 2)]
    assert ask(project, "select status from runs") == [("FINISHED",)]
    assert kept(project) == []


@pytest.mark.parametrize("how", ["the run", "the database"])
def test_what_was_kept_of_a_run_that_was_deleted_meanwhile_opens_a_new_one(project, how, monkeypatch):
    run = start(project)
    monkeypatch.setattr(tracking, "send", lambda *_: 1 / 0)
    run.log_metrics({"loss": 1.0}, 1)
    monkeypatch.undo()
    if how == "the run":
        ask(project, "update runs set lifecycle_stage = 'deleted'")
    else:
        ask(project, "delete from tags")
        ask(project, "delete from runs")
    run.end("FINISHED")
    assert ask(project, "select status from runs where lifecycle_stage = 'active'") == [("FINISHED",)]
    assert ask(project, "select value, step from metrics") == [(1.0, 1)]
    assert kept(project) == []


def test_artifacts_that_cannot_be_copied_keep_back_nothing_else(project):
    run = start(project)
    [(place,)] = ask(project, "select artifact_uri from runs")
    Path(place).parent.parent.mkdir(parents=True, exist_ok=True)
    Path(place).parent.write_text("in the way")
    (project / "table.txt").write_text("a table")
    run.log_artifact(project / "table.txt")
    run.log_metrics({"loss": 0.5})
    run.end("FINISHED")
    assert ask(project, "select status from runs") == [("FINISHED",)]
    assert [line["artifact"] for line in kept(project)[1:]] == [str(project / "table.txt")]


def test_a_deleted_experiment_stays_deleted(project, caplog):
    start(project).end("FINISHED")
    ask(project, "update experiments set lifecycle_stage = 'deleted' where name = 'demo'")
    start(project).end("FINISHED")
    start(project).end("FINISHED")
    counts = "select e.name, count(*) from runs r join experiments e using (experiment_id) group by e.name"
    assert ask(project, counts) == [("demo", 1), ("demo-2", 2)]
    assert "demo was deleted" in caplog.text


def test_runs_of_killed_processes_of_this_machine_are_closed_and_no_others(project):
    for _ in range(3):
        start(project)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    first, second, third = (row[0] for row in ask(project, "select run_uuid from runs"))
    for run in (first, second):
        ask(project, f"update tags set value = '{gone.pid}' where key = 'llmar.pid' and run_uuid = '{run}'")
    ask(project, f"update tags set value = 'other' where key = 'llmar.host' and run_uuid = '{second}'")
    start(project)
    statuses = dict(ask(project, "select run_uuid, status from runs"))
    assert [statuses.pop(run) for run in (first, second, third)] == ["KILLED", "RUNNING", "RUNNING"]


def test_what_a_killed_process_kept_is_delivered_up_to_the_cut(project, database):
    of_another_version(project)
    start(project).log_metrics({"loss": 2.0}, 7)
    [file] = (project / "kept").glob("*.jsonl")
    holder = psutil.Process().create_time()
    text = file.read_text().replace(str(holder), str(holder - 1000))
    assert text != file.read_text()  # another process had this number then
    file.write_text(text + '{"metrics": {"lo')
    shutil.copy(database, project / "mlflow.db")
    start(project, experiment="another")
    assert ask(project, "select value, step from metrics") == [(2.0, 7)]
    assert sorted(ask(project, "select status from runs")) == [("KILLED",), ("RUNNING",)]
    assert not file.exists()


@pytest.mark.parametrize("old_is_there", [False, True])
def test_artifacts_move_with_their_database(project, tmp_path_factory, old_is_there):
    a_whole_run(project)
    other = tmp_path_factory.mktemp("elsewhere") / "project"
    shutil.copytree(project, other)
    if not old_is_there:
        shutil.rmtree(project / "mlruns")
    os.chdir(other)
    run = start(other)
    run.log_artifact(other / "table.txt")
    run.end("FINISHED")
    assert len(list((other / "mlruns").rglob("table.txt"))) == 2
    assert len(list((project / "mlruns").rglob("table.txt"))) == int(old_is_there)
    assert all(uri.startswith(f"{other}/mlruns/") for (uri,) in ask(other, "select artifact_uri from runs"))


@pytest.fixture
def new_project(project, database, monkeypatch):
    """A project without a database, where MLflow makes one at once."""

    class Quick(SqlAlchemyStore):
        def __init__(self, uri, root):
            if not (file := Path(uri.removeprefix("sqlite:///"))).exists():
                shutil.copy(database, file)
            super().__init__(uri, root)

    (project / "mlflow.db").unlink()
    monkeypatch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore", Quick)
    return project


def test_a_database_that_was_killed_in_the_making_is_not_there(new_project, monkeypatch):
    monkeypatch.setattr("os.link", lambda *_: 1 / 0)
    start(new_project)
    assert not list(new_project.glob("mlflow.db*"))


def test_a_database_that_another_run_has_just_made_is_taken(new_project, database, monkeypatch):
    def made_meanwhile(source, target):
        shutil.copy(database, target)
        raise FileExistsError

    monkeypatch.setattr("os.link", made_meanwhile)
    start(new_project).end("FINISHED")
    assert ask(new_project, "select status from runs") == [("FINISHED",)]


@pytest.mark.parametrize("large", [False, True])
def test_of_a_large_table_mlflow_gets_the_place_and_the_checksum(project, monkeypatch, large):
    table = project / "predictions.parquet"
    table.write_bytes(b"a table")
    monkeypatch.setattr(tracking, "LARGE_TABLE", 6 if large else 7)
    run = start(project)
    tracking.set_current(run)
    try:
        tracking.tell("predictions", SimpleNamespace(metadata={"mlflow": "artifact"}), table)
    finally:
        tracking.end_current("FINISHED")
    [(place,)] = ask(project, "select artifact_uri from runs")
    named = ask(project, "select name, digest, dataset_source_type, dataset_source from datasets")
    if not large:
        assert (Path(place) / table.name).read_bytes() == b"a table"
        assert named == []
        return
    assert not Path(place, table.name).exists()
    digest = hashlib.sha256(b"a table").hexdigest()
    assert named == [(table.name, digest[:32], "local", json.dumps({"uri": table.as_uri()}))]
    [(profile,)] = ask(project, "select dataset_profile from datasets")
    assert json.loads(profile) == {"bytes": 7, "sha256": digest}


def told(project, kind, name, file, data=None, columns=()):
    """What MLflow has of a dataset that a run was told of."""
    run = start(project)
    run.columns = columns
    tracking.set_current(run)
    try:
        tracking.tell(name, SimpleNamespace(metadata={"mlflow": kind}, load=lambda: data), file, data)
    finally:
        tracking.end_current("FINISHED")
    return MlflowClient(f"sqlite:///{project}/mlflow.db").get_run(run.run_id)


def test_of_a_model_mlflow_gets_the_place_and_the_checksum_and_no_copy(project):
    model = project / "recognizer"
    model.mkdir()
    (model / "weights").write_bytes(bytes(1000))
    record(model)
    first = told(project, "reference", "vqvae_model", model)
    (model / "README.md").write_text("a card, which is no part of the model")
    again = told(project, "reference", "vqvae_model", model)
    (model / "weights").write_bytes(bytes(999) + b"1")
    record(model)
    other = told(project, "reference", "vqvae_model", model)
    inputs = [run.inputs.dataset_inputs for run in (first, again, other)]
    assert [[(i.dataset.name, i.tags[0].value) for i in each] for each in inputs] == [
        [("recognizer", "output")]
    ] * 3
    digests = [each[0].dataset.digest for each in inputs]
    assert digests[0] == digests[1] != digests[2]
    assert json.loads(inputs[0][0].dataset.profile)["bytes"] == 1000
    assert json.loads(inputs[0][0].dataset.source) == {"uri": model.as_uri()}
    assert not list((project / "mlruns").rglob("weights"))


def test_splits_are_inputs_of_the_run_by_what_is_in_them(project):
    file = project / "demo" / "xsub" / "recordings" / "splits.parquet"
    table = pd.DataFrame(
        [("c", "train", "wave"), ("a", "train", "sit"), ("t", "test", "sit"), ("u", "unused", "sit")],
        columns=["name", "split", "action"],
    )

    def inputs(splits):
        found = told(project, "splits", "splits", file, splits).inputs.dataset_inputs
        return {
            i.tags[0].value: (i.dataset.name, i.dataset.digest, json.loads(i.dataset.profile)) for i in found
        }

    known = inputs(table)
    assert set(known) == {"train", "test"}  # no clip validates
    name, digest, profile = known["train"]
    assert (name, profile["clips"], profile["classes"]) == ("demo xsub train", 2, 2)
    assert profile["sha256"].startswith(digest)
    assert inputs(table[::-1]) == known
    moved = inputs(table.assign(split=["train", "test", "test", "unused"]))
    relabelled = inputs(table.assign(action=["wave", "wave", "sit", "sit"]))
    assert len({each["train"][1] for each in (known, moved, relabelled)}) == 3
    assert relabelled["test"] == known["test"] != moved["test"]


def test_the_headline_metric_has_the_names_of_the_papers_columns(project):
    metrics = {"headline": "mean_class_accuracy", "accuracy": 0.5, "mean_class_accuracy": 0.25, "n_test": 4}
    file = project / "metrics.json"
    file.write_text("{}")
    run = told(project, "metrics", "metrics", file, metrics, ("table2/smarthome_xsub",))
    of_codes = told(
        project, "metrics", "code_statistics", file, {"perplexity": 2.0}, ("table2/smarthome_xsub",)
    )
    assert run.data.metrics == {
        **{"accuracy": 0.5, "mean_class_accuracy": 0.25, "n_test": 4.0},
        "table2/smarthome_xsub": 25.0,
    }
    assert of_codes.data.metrics == {"perplexity": 2.0}
    both = {"headline": "accuracy", "accuracy": 0.75, "uncorrected_accuracy": 0.5}
    raw = told(project, "metrics", "metrics", file, both, ("table8/accuracy",))
    assert raw.data.metrics["table8/accuracy"] == 50.0


def test_a_run_has_mlflows_own_tags_and_those_that_it_is_given(project, monkeypatch):
    monkeypatch.setattr("sys.argv", ["kedro", "run"])
    run = MlflowClient(f"sqlite:///{project}/mlflow.db").get_run(start(project).run_id)
    assert run.data.tags["mlflow.source.name"] == "kedro run"
    assert run.data.tags["mlflow.source.type"] == "LOCAL"
    assert run.data.tags["mlflow.user"] == run.info.user_id
    assert run.info.run_name == "a run"
