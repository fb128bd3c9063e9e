"""`kedro unseen`: classes that were not trained, and the runs behind the table."""

import json

import pandas as pd
from mlflow.tracking import MlflowClient


def test_two_draws_train_without_their_classes_and_are_tested_on_them_alone(workplace):
    data = workplace.folder / "data"
    output = workplace.command("unseen", "--classes=2", "--draws=2")
    assert "| chance |  |  | 50.0 |" in output
    assert "2 draws: LLM |" in output
    assert "corrected" not in output  # nothing is, unless it is asked for
    assert "2 draws: descriptions without the LLM |" in output
    assert "2 draws: descriptions and the test clips without labels |" in output
    draws = json.loads((data / "08_reporting/demo/xsub/unseen/tiny-2.json").read_text())[0]["draws"]
    assert len({tuple(draw["classes"]) for draw in draws}) == 2
    assert len(pd.read_csv(data / "08_reporting/demo/xsub/unseen/tiny-2.csv")) == 2
    for draw in draws:
        run = f"llm_ar-tiny-unseen2-seed{draw['seed']}"
        unseen = set(draw["classes"])
        sentences = pd.read_parquet(workplace.file("04_feature", "action_sentences.parquet", run=run))
        by_split = {split: set(rows["action"]) for split, rows in sentences.groupby("split")}
        assert by_split["test"] == unseen
        assert not unseen & (by_split["train"] | by_split["val"])
        assert len(by_split["train"]) == 2
        predictions = pd.read_parquet(workplace.file("07_model_output", "predictions.parquet", run=run))
        assert set(predictions["predicted"]) <= unseen
        told = pd.read_parquet(workplace.file("07_model_output", "predictions_text.parquet", run=run))
        assert set(told["predicted"]) <= unseen
        metrics = json.loads(workplace.file("08_reporting", "metrics.json", run=run).read_text())
        assert set(metrics["unseen_classes"]) == unseen
        assert metrics["class_list"] == "unseen"
        assert metrics["nearest_neighbour_accuracy"] is None
        assert metrics["text_accuracy"] == (told["true"] == told["predicted"]).mean()
        report = workplace.file("08_reporting", "report.html", run=run).read_text()
        assert all(f"<em>{name}</em>" in report for name in unseen)
        recognizer = json.loads(
            workplace.file("06_models", "recognizer/language_model.json", run=run).read_text()
        )
        assert set(recognizer["class_names"]) == by_split["train"]
        assert "[list]" in recognizer["instruction"]


def test_the_class_list_in_training_shares_stage_1_and_scores_are_corrected_where_asked(workplace, many_runs):
    """Experiments that differ in stage 2 alone, on the official split, where no clip need validate."""
    experiments = ("llm_ar", "class_list_known")
    options = ("--classes=2", "--draws=1", f"--experiments={','.join(experiments)}")
    chosen = {"val_share": 0, "evaluation__prior_correction": "unseen"}
    code, output = many_runs(*options, command="unseen", data="listed", **chosen)
    assert code == 0, output
    assert "1 draw: LLM, raw scores |" in output
    assert "1 draw: LLM, corrected for the prior |" in output
    folder = workplace.folder / "listed"
    (table,) = folder.glob("08_reporting/demo/xsub/unseen/tiny-2.csv")
    rows = pd.read_csv(table).set_index("experiment")
    assert list(rows.index) == list(experiments)
    assert rows["classes"].nunique() == 1
    told = json.loads(table.with_suffix(".json").read_text())
    for known in told:
        row = rows.loc[known["experiment"]]
        for key in ("accuracy", "uncorrected_accuracy"):
            assert known[key] == row[key] == known["draws"][0][key]
        assert (row["n_val"], row["val_share"]) == (0, 0)
    runs = [next(folder.glob(f"06_models/demo/xsub/{name}-tiny-unseen2-seed0*")) for name in experiments]
    stage1, stage2 = (
        [(run / file).read_bytes() for run in runs]
        for file in ("vqvae/model.safetensors", "recognizer/adapter_model.safetensors")
    )
    assert stage1[0] == stage1[1]
    assert stage2[0] != stage2[1]
    client = MlflowClient(tracking_uri=workplace.tracking_uri)
    tracked = client.search_runs([each.experiment_id for each in client.search_experiments()])
    taken = {run.data.tags.get("run"): run.data.tags.get("stage1_taken_from") for run in tracked}
    assert taken[runs[1].name] == runs[0].name
    assert taken[runs[0].name] is None


def test_descriptions_answer_among_all_classes_without_a_training(workplace):
    chosen = ("--classes=2", "--draws=1", "--first=3", "--descriptions", "--params=generalized=true")
    output = workplace.command("unseen", *chosen)
    assert "descriptions without the LLM, harmonic mean |" in output
    file = workplace.folder / "data/08_reporting/demo/xsub/unseen/tiny-2-from3-generalized-descriptions.csv"
    row = pd.read_csv(file).iloc[0]
    run = "llm_ar-tiny-unseen2-seed3-generalized"
    told = pd.read_parquet(workplace.file("07_model_output", "predictions_text.parquet", run=run))
    assert row["text_accuracy"] == (told["true"] == told["predicted"]).mean()
    assert row["transductive_accuracy"] == (told["true"] == told["transductive"]).mean()
    assert set(told["true"]) > set(row["classes"].split("; "))
    assert row["chance"] == 0.25
    assert not workplace.file("06_models", "recognizer", run=run).exists()
