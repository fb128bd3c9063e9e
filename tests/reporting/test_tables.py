import numpy as np

from llmar_pipeline.evaluation.metrics import build_predictions
from llmar_pipeline.reporting.tables import example_clips, prediction_table, text_table


def predictions():
    scores = np.log([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    return build_predictions(list("pqrs"), ["b", "b", "b", "a"], ["a", "b"], scores)


def test_example_clips_puts_the_most_confident_mistake_first():
    clips = example_clips(predictions(), n_wrong=2)
    assert clips["name"].tolist() == ["p", "s", "r"]
    assert clips["right"].tolist() == [False, False, True]
    np.testing.assert_allclose(clips["probability"], [0.9, 0.7, 0.8])


def test_text_table_aligns_and_counts_what_it_hides():
    text = text_table([("a", 1), ("long", 22), ("c", 3)], ["x", "n"], limit=2)
    assert text.split("\n") == ["x     n", "----  --", "a     1", "long  22", "... 1 more rows"]


def test_text_table_without_rows_is_its_header():
    assert text_table([], ["clip", ""]) == "clip\n----"


def test_long_cells_are_cut():
    assert text_table([("x" * 40,)], ["h"]).split("\n")[-1] == "x" * 29 + "..."


def test_prediction_table_marks_the_wrong_ones():
    lines = prediction_table(predictions(), limit=10).split("\n")
    assert lines[0].split() == ["clip", "true", "predicted", "probability"]
    assert lines[2].split() == ["p", "b", "a", "90%", "wrong"]
    assert lines[4].split() == ["r", "b", "b", "80%"]
    assert prediction_table(predictions(), limit=2).split("\n")[-1] == "... 2 more clips"
