"""Table 5: features in place of action tokens, through the real command."""

import json

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow
RUN = "no_discretization-tiny"


def test_the_language_model_reads_features(workplace):
    code, output = workplace.kedro(experiment="no_discretization")
    assert code == 0, output
    sentences = pd.read_parquet(workplace.file("04_feature", "action_sentences.parquet", run=RUN))
    features = np.load(workplace.file("04_feature", "action_sentences.features.npy", run=RUN))
    assert features.shape == (len(sentences), 16, 32)
    assert features.dtype == np.float16
    assert np.isfinite(features).all()
    assert np.unique(features, axis=0).shape == features.shape  # not a few codes again
    recognizer = json.loads(workplace.file("06_models", "recognizer/recognizer.json", run=RUN).read_text())
    assert recognizer["input"] == "features"
    predictions = pd.read_parquet(workplace.file("07_model_output", "predictions.parquet", run=RUN))
    np.testing.assert_allclose(predictions.filter(regex="^p:").sum(axis=1), 1, atol=1e-5)
    metrics = json.loads(workplace.file("08_reporting", "metrics.json", run=RUN).read_text())
    assert {"accuracy", "shuffled_accuracy", "bag_of_codes_accuracy"} <= set(metrics)
    assert workplace.file("08_reporting", "report.html", run=RUN).exists()

    # Again: training and scores are found finished, and nothing changes.
    scores = workplace.file("07_model_output", "scores", run=RUN)
    kept = {file: file.stat().st_mtime_ns for file in scores.rglob("*.npy")}
    assert kept
    code, output = workplace.kedro("--pipeline=stage2", experiment="no_discretization")
    assert code == 0, output
    assert {file: file.stat().st_mtime_ns for file in scores.rglob("*.npy")} == kept
    again = pd.read_parquet(workplace.file("07_model_output", "predictions.parquet", run=RUN))
    pd.testing.assert_frame_equal(again, predictions)
