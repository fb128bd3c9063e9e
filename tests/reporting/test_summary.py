from pathlib import Path

import numpy as np

from llmar_pipeline.evaluation.metrics import build_predictions, metrics
from llmar_pipeline.reporting.config import RunInfo
from llmar_pipeline.reporting.summary import run_summary

RUN = RunInfo(dataset="smarthome", protocol="xsub", experiment="llm_ar", size="laptop", synthetic=False)


def lines(run=RUN, **values):
    # Class a: 2 of 3 right; class b: the only clip right.
    scores = np.log([[0.8, 0.2], [0.7, 0.3], [0.4, 0.6], [0.1, 0.9]])
    predictions = build_predictions(list("pqrs"), ["a", "a", "a", "b"], ["a", "b"], scores)
    known = {**metrics(predictions, "a"), "n_val": 0, **values}
    text = run_summary(run, known, predictions, 3, Path("report.html"), 4)
    return [line for line in text.split("\n") if "%" in line and "true" not in line][4:], text


def test_the_headline_and_its_controls_come_in_the_metric_of_the_corpus():
    rows, _ = lines(
        headline="mean_class_accuracy",
        shuffled_accuracy=0.1,
        shuffled_mean_class_accuracy=0.2,
        bag_of_codes_mean_class_accuracy=0.9,
        val_mean_class_accuracy=0.71,
    )
    cells = [row.split("  ")[0] + " " + row.split(" %")[0].split()[-1] for row in rows]
    assert cells == [
        "mean class accuracy 83.3",
        "accuracy 75.0",
        "validation mean class accuracy 71.0",
        "control: bag of codes 90.0",
        "control: shuffled 20.0",
        "control: majority 50.0",
        "chance 50.0",
    ]
    assert "95 % interval" in rows[0]
    assert "the LLM is 6.7 points below it" in rows[3]
    assert rows[-1].endswith("one of the 2 classes of the list")


def test_accuracy_is_the_headline_otherwise():
    rows, text = lines(
        uncorrected_accuracy=0.25, generated_accuracy=0.5, bag_of_codes_accuracy=0.75, calibration_error=0.123
    )
    assert [row.split("  ")[0] for row in rows] == [
        "accuracy",
        "mean class accuracy",
        "uncorrected scores",
        "free generation",
        "calibration error",
        "control: bag of codes",
        "control: majority",
        "chance",
    ]
    assert "the LLM adds nothing to it" in rows[5]
    assert "4 test clips, 2 classes" in rows[0]
    assert "3 damaged recordings were left out" in text
    assert text.endswith("Report: report.html")
    assert "There are no validation clips." in text
    assert "no validation clips" not in lines(n_val=3)[1]


def test_a_fold_stands_beside_the_protocol():
    assert "smarthome xsub\n" in lines()[1]
    assert "smarthome xsub, fold camera:1\n" in lines(run=RUN.model_copy(update={"fold": "camera:1"}))[1]


def test_unseen_classes_are_named():
    assert "Not trained" not in lines(unseen_classes=[])[1]
    text = lines(unseen_classes=["drop", "throw"])[1]
    assert "Not trained, and the whole class list of the test: drop, throw." in text
    text = lines(unseen_classes=["drop", "throw"], class_list="all")[1]
    assert "Not trained, and asked among all classes: drop, throw." in text


def test_top_5_stands_there_where_more_than_five_classes_make_it_a_number():
    assert "top 5" not in lines()[1]
    assert "top 5" in lines(top5=0.9)[1]


def test_classes_without_test_clips_or_without_training_are_named():
    assert "no test clip" not in lines()[1]
    text = lines(n_classes=12, untested_classes=["drop", "throw"])[1]
    assert (
        "2 of 12 classes have no test clip: drop, throw; mean class accuracy is over the other 10, "
        "chance over all 12."
    ) in text
    text = lines(n_classes=12, untested_classes=["drop"], untrained_classes=["fly"])[1]
    assert "is over the other 11 and the untrained ones, chance over all 12." in text
    assert (
        "Tested but never trained, so that no answer can be right: fly; their clips count as wrong." in text
    )
    many = lines(n_classes=60, untested_classes=[f"c{i}" for i in range(50)])[1]
    assert "c9, ...; mean class accuracy is over the other 10" in many


def test_every_read_out_has_its_line_and_what_the_llm_adds_to_it():
    rows, _ = lines(
        bag_of_codes_accuracy=0.5,
        **{"minus_bag_of_codes": 0.25, "minus_bag_of_codes_low": 0.125, "minus_bag_of_codes_high": 0.375},
        code_transformer_accuracy=0.75,
        nearest_neighbour_accuracy=0.25,
        head_accuracy=1.0,
    )
    notes = {row.split("  ")[0]: row for row in rows if row.startswith("control")}
    titles = ("bag of codes", "codes in order", "nearest neighbour", "class head")
    assert list(notes)[:4] == [f"control: {title}" for title in titles]
    assert "the LLM is 25.0 points above it (+12.5 to +37.5)" in notes["control: bag of codes"]
    assert notes["control: codes in order"].endswith("the LLM adds nothing to it")
    assert notes["control: class head"].endswith("the LLM is 25.0 points below it")


def test_that_the_llm_is_below_the_head_is_said_where_chance_does_not_explain_it():
    worse = "answers worse than the class head"
    known = {"head_accuracy": 0.9, "minus_head": -0.15, "minus_head_low": -0.3}
    assert worse in lines(**known, minus_head_high=-0.01)[1]
    assert worse not in lines(**known, minus_head_high=0.0)[1]
    assert worse not in lines(**dict.fromkeys(known), minus_head_high=None)[1]


def test_the_interval_is_of_the_accuracy_and_says_so_beside_another_metric():
    values = {"bag_of_codes_mean_class_accuracy": 0.5, "minus_bag_of_codes": 0.25}
    interval = {"minus_bag_of_codes_low": 0.1, "minus_bag_of_codes_high": 0.4}
    rows, _ = lines(headline="mean_class_accuracy", **values, **interval)
    bag = next(row for row in rows if "bag of codes" in row)
    assert bag.endswith("the LLM is 33.3 points above it (in accuracy +25.0, +10.0 to +40.0)")
