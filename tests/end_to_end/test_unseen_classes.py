"""`kedro unseen`: classes that were not trained, and the runs behind the table."""

import json

import pandas as pd


def test_two_draws_train_without_their_classes_and_are_tested_on_them_alone(workplace):
    data = workplace.folder / "data"
    output = workplace.command("unseen", "--classes=2", "--draws=2")
    assert "| chance |  |  | 50.0 |" in output
    assert "2 draws: not corrected for the prior |" in output
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
