"""`kedro protocols`: every protocol, and the table."""

import pandas as pd
from mlflow.tracking import MlflowClient


def test_both_protocols_of_the_demo(workplace, many_runs):
    def listed():
        code, output = many_runs("--list", command="protocols")
        assert code == 0, output
        return output.strip()

    assert listed().count("not run") == 2
    code, output = many_runs(command="protocols")
    assert code == 0, output
    file = workplace.folder / "data/08_reporting/demo/protocols/llm_ar-tiny.csv"
    table = pd.read_csv(file)
    assert table["protocol"].tolist() == ["xsub", "xview"]
    assert table["accuracy"].between(0, 1).all()
    assert listed() in output
    client = MlflowClient(tracking_uri=workplace.tracking_uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parent = next(run.info.run_id for run in runs if run.info.run_name.startswith("protocols"))
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]
    assert {run.data.tags["protocol"] for run in children} == {"xsub", "xview"}
