"""Refusals: how often "none of these" is right."""

import numpy as np
import pandas as pd

HELD_OUT, TEST, UNSEEN = "held_out", "test", "unseen"
SENTENCES, CONTENT_FREE, RANDOM = "sentences", "content_free", "random"
UNKNOWN = {UNSEEN: (TEST, HELD_OUT), CONTENT_FREE: (SENTENCES,), RANDOM: (SENTENCES,)}
"""What is no known class -> what it is held against: the first of these that is there."""


def receiver_operating(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """How many known ones are kept for how many unknown ones, at every threshold.

    Args:
        table: As `unknown.find_unknown` gives it.

    Returns:
        Unknown kind -> `kept_unknown` and `kept_known` (shares), with the area under the curve in `attrs` as
        "area". A kind that has nobody, or nobody to be held against, is left out.

    Source: the receiver operating characteristic, of scikit-learn.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    curves = {}
    for kind, against in UNKNOWN.items():
        unknown = table[table["kind"] == kind]
        known = next((part for each in against if len(part := table[table["kind"] == each])), table[:0])
        if len(unknown) and len(known):
            scores = -np.concatenate([known["distance"], unknown["distance"]])
            is_known = np.repeat([1, 0], [len(known), len(unknown)])
            unknown_kept, known_kept, _ = roc_curve(is_known, scores)
            curves[kind] = pd.DataFrame({"kept_unknown": unknown_kept, "kept_known": known_kept})
            curves[kind].attrs["area"] = float(roc_auc_score(is_known, scores))
    return curves


def refusal_metrics(table: pd.DataFrame) -> dict[str, float | None]:
    """How often "none of these" is right.

    Args:
        table: As `unknown.find_unknown` gives it.

    Returns:
        `refusal_threshold`; shares that are kept, `refusal_kept_<kind>`, and refused,
        `refusal_refused_<kind>`; `refusal_area_<kind>` under the curve. None where there is no
        threshold, or nobody of that kind.

    Source: ours.
    """
    threshold = float(table["threshold"].iloc[0])
    there = np.isfinite(threshold)
    refused = (table["distance"] > threshold).groupby(table["kind"]).mean()
    shares = {
        **{f"refusal_kept_{kind}": 1 - refused.get(kind, np.nan) for kind in (TEST, SENTENCES)},
        **{f"refusal_refused_{kind}": refused.get(kind, np.nan) for kind in UNKNOWN},
    }
    curves = receiver_operating(table)
    return {
        "refusal_threshold": threshold if there else None,
        **{name: float(share) if there and share == share else None for name, share in shares.items()},
        **{
            f"refusal_area_{kind}": curves[kind].attrs["area"] if kind in curves else None for kind in UNKNOWN
        },
    }
