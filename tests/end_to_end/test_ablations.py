"""`kedro ablations`: the table, and the runs behind it."""

import subprocess
import sys

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

pytestmark = pytest.mark.slow


def ablations(workplace, *options):
    params = f"size=tiny,data_dir={workplace.folder / 'data'}"
    command = [sys.executable, "-m", "kedro", "ablations", f"--conf-source={workplace.conf}", *options]
    return subprocess.run(
        [*command, f"--params={params}"],
        cwd=workplace.project,
        env=workplace.environment(),
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_an_experiment_with_two_seeds(workplace):
    done = ablations(workplace, "--experiments=no_mmd", "--seeds=0,1", "--pipelines=stage1,tokenization")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| no_mmd | 2 | " in done.stdout
    assert "JS(usage, Zipf), nats" in done.stdout
    folder = workplace.folder / "data" / "08_reporting" / "demo" / "xsub"
    table = pd.read_csv(folder / "ablations" / "tiny-stage1-tokenization.csv")
    assert table[["experiment", "seed"]].values.tolist() == [["no_mmd", 0], ["no_mmd", 1]]
    assert table[["zipf_js", "mmd", "reconstruction_error"]].nunique().tolist() == [2, 2, 2]
    client = MlflowClient(tracking_uri=workplace.tracking_uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parent = next(run.info.run_id for run in runs if run.info.run_name.startswith("ablations"))
    assert sum(run.data.tags.get("mlflow.parentRunId") == parent for run in runs) == 2


def test_a_mistyped_experiment_is_found_before_the_first_run(workplace):
    done = ablations(workplace, "--experiments=llm_ar,no_zip")
    assert done.returncode == 1
    assert "unknown experiment 'no_zip'" in done.stderr
    assert "Traceback" not in done.stderr
