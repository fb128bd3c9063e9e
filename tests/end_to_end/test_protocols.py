"""`kedro protocols`: every protocol, and the table."""

import subprocess
import sys

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

pytestmark = pytest.mark.slow


def protocols(workplace, *options):
    command = [sys.executable, "-m", "kedro", "protocols", f"--conf-source={workplace.conf}", *options]
    return subprocess.run(
        [*command, f"--params=size=tiny,data_dir={workplace.folder / 'data'}"],
        cwd=workplace.project,
        env=workplace.environment(),
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_both_protocols_of_the_demo(workplace):
    before = protocols(workplace, "--list")
    assert before.returncode == 0, before.stdout + before.stderr
    assert before.stdout.count("not run") == 2
    done = protocols(workplace)
    assert done.returncode == 0, done.stdout + done.stderr
    file = workplace.folder / "data/08_reporting/demo/protocols/llm_ar-tiny.csv"
    table = pd.read_csv(file)
    assert table["protocol"].tolist() == ["xsub", "xview"]
    assert table["accuracy"].between(0, 1).all()
    assert protocols(workplace, "--list").stdout.strip() in done.stdout
    client = MlflowClient(tracking_uri=workplace.tracking_uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parent = next(run.info.run_id for run in runs if run.info.run_name.startswith("protocols"))
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]
    assert {run.data.tags["protocol"] for run in children} == {"xsub", "xview"}
