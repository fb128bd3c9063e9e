"""`kedro protocols`: every protocol, and the table."""

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

pytestmark = pytest.mark.slow


def test_both_protocols_of_the_demo(workplace):
    assert workplace.command("protocols", "--list").count("not run") == 2
    output = workplace.command("protocols")
    file = workplace.folder / "data/08_reporting/demo/protocols/llm_ar-tiny.csv"
    table = pd.read_csv(file)
    assert table["protocol"].tolist() == ["xsub", "xview"]
    assert table["accuracy"].between(0, 1).all()
    assert workplace.command("protocols", "--list").strip() in output
    client = MlflowClient(tracking_uri=workplace.tracking_uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parent = next(run.info.run_id for run in runs if run.info.run_name.startswith("protocols"))
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]
    assert {run.data.tags["protocol"] for run in children} == {"xsub", "xview"}
