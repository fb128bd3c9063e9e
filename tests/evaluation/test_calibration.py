import numpy as np
import pytest

from llmar_pipeline.evaluation.calibration import expected_calibration_error, reliability
from llmar_pipeline.evaluation.metrics import build_predictions


def predictions(confidences, right):
    with np.errstate(divide="ignore"):
        scores = np.log([[p, 1 - p] for p in confidences])
    true = ["a" if hit else "b" for hit in right]
    return build_predictions([f"c{i}" for i in range(len(true))], true, ["a", "b"], scores)


def test_five_clips_in_intervals_of_a_tenth():
    table = reliability(predictions([0.62, 0.68, 0.91, 0.95, 0.99], [1, 0, 1, 1, 0]), bins=10)
    np.testing.assert_allclose(table["low"], [0.6, 0.9])
    np.testing.assert_allclose(table["high"], [0.7, 1.0])
    assert table["clips"].tolist() == [2, 3]
    np.testing.assert_allclose(table["confidence"], [0.65, 0.95])
    np.testing.assert_allclose(table["accuracy"], [1 / 2, 2 / 3])
    # 2/5 * |0.65 - 0.5| + 3/5 * |0.95 - 0.6667| = 0.06 + 0.17
    assert expected_calibration_error(table) == pytest.approx(0.23)


def test_a_clip_on_an_edge_belongs_to_the_lower_interval():
    table = reliability(predictions([0.75, 1.0], [1, 1]), bins=4)
    assert table["low"].tolist() == [0.5, 0.75]


def test_as_right_as_sure_is_calibrated():
    assert expected_calibration_error(reliability(predictions([0.8] * 5, [1, 1, 1, 1, 0]))) == pytest.approx(
        0
    )
    assert expected_calibration_error(reliability(predictions([0.8] * 5, [0] * 5))) == pytest.approx(0.8)
