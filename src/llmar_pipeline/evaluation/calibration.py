"""Calibration: whether answers given with a probability of 70 % are right 70 times in a hundred."""

import numpy as np
import pandas as pd

from llmar_pipeline.evaluation.metrics import PROBABILITY, class_list

BINS = 15


def reliability(predictions: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """Sort clips into equal intervals of the probability of their predicted class.

    Args:
        predictions: The predictions table.
        bins: Number of intervals; a probability on an edge belongs to the lower one.

    Returns:
        One row an interval that holds a clip: `low`, `high`, `clips`, `confidence` (mean probability of the
        predicted class) and `accuracy`, all but `clips` as fractions of 1.

    Raises:
        UserError: The table is empty or damaged.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    classes = class_list(predictions)
    confidence = predictions[[PROBABILITY + name for name in classes]].max(axis=1).to_numpy(np.float64)
    edges = np.linspace(0, 1, bins + 1)
    place = np.digitize(confidence, edges[1:-1], right=True)
    right = (predictions["predicted"] == predictions["true"]).to_numpy()
    table = pd.DataFrame({"place": place, "confidence": confidence, "accuracy": right.astype(np.float64)})
    groups = table.groupby("place")
    means = groups[["confidence", "accuracy"]].mean()
    held = means.index.to_numpy()
    return pd.DataFrame(
        {
            "low": edges[held],
            "high": edges[held + 1],
            "clips": groups.size().to_numpy(),
            "confidence": means["confidence"].to_numpy(),
            "accuracy": means["accuracy"].to_numpy(),
        }
    )


def expected_calibration_error(intervals: pd.DataFrame) -> float:
    """Mean over clips of the gap between confidence and accuracy of their interval.

    Args:
        intervals: As `reliability` gives them.

    Returns:
        From 0 to 1.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, Eq. 3.
    """
    gaps = (intervals["confidence"] - intervals["accuracy"]).abs()
    return float((gaps * intervals["clips"]).sum() / intervals["clips"].sum())
