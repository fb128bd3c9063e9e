"""How often "none of these" is right."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from llmar_pipeline.evaluation.refusals import (
    CONTENT_FREE,
    RANDOM,
    SENTENCES,
    receiver_operating,
    refusal_metrics,
)
from llmar_pipeline.evaluation.unknown import no_actions


def table(threshold=3.0, **distances):
    rows = [(kind, distance) for kind, all_ in distances.items() for distance in all_]
    return pd.DataFrame(rows, columns=["kind", "distance"]).assign(name="", threshold=threshold)


def test_by_hand():
    """Of the pairs of a test clip and an unknown one, 5 of 6 are the right way round."""
    made = table(test=[1.0, 2.0, 4.0], unseen=[3.0, 5.0], held_out=[9.0])
    assert refusal_metrics(made) == {
        "refusal_threshold": 3.0,
        "refusal_kept_test": pytest.approx(2 / 3),
        "refusal_kept_sentences": None,
        "refusal_refused_unseen": 0.5,
        "refusal_refused_content_free": None,
        "refusal_refused_random": None,
        "refusal_area_unseen": pytest.approx(5 / 6),
        "refusal_area_content_free": None,
        "refusal_area_random": None,
    }
    curve = receiver_operating(made)["unseen"]
    assert curve.iloc[0].tolist() == [0, 0]
    assert curve.iloc[-1].tolist() == [1, 1]
    assert ((curve["kept_unknown"] == 0) & np.isclose(curve["kept_known"], 2 / 3)).any()


def test_held_out_clips_stand_in_where_no_known_class_is_tested():
    curves = receiver_operating(table(unseen=[3.0, 5.0], held_out=[1.0, 4.0]))
    assert curves["unseen"].attrs["area"] == pytest.approx(3 / 4)


def test_without_a_threshold_there_are_areas_and_no_shares():
    made = refusal_metrics(table(np.inf, sentences=[1.0], content_free=[2.0], random=[0.5], test=[1.0]))
    assert made["refusal_threshold"] is None
    assert (made["refusal_kept_test"], made["refusal_refused_content_free"]) == (None, None)
    assert (made["refusal_area_content_free"], made["refusal_area_random"]) == (1.0, 0.0)


def test_sentences_that_are_no_action():
    """Places of two codebooks of 8 codes in turn; 50 clips."""
    rng = np.random.default_rng(1)
    sentences = list(rng.integers(0, 8, (50, 6)) + 8 * (np.arange(6) % 2))
    model = SimpleNamespace(tokens_a_step=2, settings=SimpleNamespace(codes=8))
    made = no_actions(sentences, model, seed=0)
    np.testing.assert_array_equal(made[SENTENCES], sentences)
    for kind in (CONTENT_FREE, RANDOM):
        assert made[kind].shape == (50, 6)
        assert (made[kind] // 8 == np.arange(6) % 2).all()
        assert not (made[kind][:, None] == made[SENTENCES]).all(axis=2).any()
        assert len(np.unique(made[kind])) == 16
    assert no_actions([], model, seed=0) == {}
