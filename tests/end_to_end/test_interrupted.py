"""A run that is asked to end does so in order; another one in its folder is refused meanwhile."""

import signal
import sqlite3
import time


def statuses(workplace):
    with sqlite3.connect(workplace.folder / "mlflow.db") as database:
        return [status for (status,) in database.execute("select status from runs order by start_time")]


def test_sigterm_in_a_training_while_a_second_run_wants_its_folder(workplace, kedro):
    options = {"data": "asked", "vqvae_training__max_steps": 100000}
    process = workplace.start(*workplace.arguments("--pipelines=stage1", **options))
    deadline = time.monotonic() + 240
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if list((workplace.folder / "asked").rglob("complete.json")):
                break
            time.sleep(0.05)
        code, refused = kedro("--pipelines=vqvae", **options)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert code == 1
    assert f"saw one at work: process {process.pid} on " in refused.splitlines()[-1]
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "Traceback" not in output
    assert output.splitlines()[-1].startswith("Error: stopped by SIGTERM"), output
    assert statuses(workplace) == ["KILLED"]  # who was refused has not even opened a run


def test_a_database_of_another_version_stops_nobody(workplace, kedro):
    with sqlite3.connect(workplace.folder / "mlflow.db") as database:
        before = database.execute("select version_num from alembic_version").fetchall()
        database.execute("update alembic_version set version_num = 'ffffffffffff'")
    code, output = kedro("--pipelines=ingestion", data="other_version")
    assert code == 0, output
    kept = workplace.folder / "other_version" / "08_reporting" / "untracked"
    assert len(list(kept.glob("*.jsonl"))) == 1
    with sqlite3.connect(workplace.folder / "mlflow.db") as database:
        database.execute("update alembic_version set version_num = ?", before[0])
    code, output = kedro("--pipelines=ingestion", data="other_version")
    assert code == 0, output
    assert statuses(workplace) == ["KILLED", "FINISHED", "FINISHED"]
    assert not list(kept.glob("*.jsonl"))
