import numpy as np
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.correction import content_free_sentences, correct_scores

SCORES = np.array([[-4.0, -3.0], [-6.0, -5.0]], dtype=np.float32)


def test_without_a_correction_scores_stay():
    np.testing.assert_array_equal(correct_scores(SCORES), SCORES)


def test_length_correction_is_the_mean_over_tokens():
    np.testing.assert_allclose(correct_scores(SCORES, [4, 2]), [[-1.0, -1.5], [-1.5, -2.5]])


def test_prior_correction_takes_the_mean_score_without_content_away():
    content_free = np.array([[-2.0, -8.0], [-4.0, -10.0]])
    np.testing.assert_allclose(correct_scores(SCORES, None, content_free), [[-1, 6], [-3, 4]])  # minus -3, -9
    both = correct_scores(SCORES, [2, 1], content_free)  # -2, -3; -3, -5; minus -1.5, -9
    np.testing.assert_allclose(both, [[-0.5, 6], [-1.5, 4]])


def test_content_free_sentences_keep_frequencies_at_each_place():
    # Two codebooks take turns: codes 0 and 1 at even places, 10 and 11 at odd ones.
    sentences = [np.array([0, 10, 0, 10])] * 3 + [np.array([1, 11])]
    drawn = content_free_sentences(sentences, seed=0, n=2000)
    assert [row.tolist() for row in content_free_sentences(sentences, seed=0, n=2000)] == [
        row.tolist() for row in drawn
    ]
    short = np.array([row for row in drawn if len(row) == 2])
    assert len(short) / len(drawn) == pytest.approx(1 / 4, abs=0.04)
    np.testing.assert_allclose((short == [1, 11]).mean(axis=0), 1 / 4, atol=0.06)
    assert {(1, 10), (0, 11)} <= set(map(tuple, short.tolist()))  # places are drawn apart
    assert {tuple(row) for row in drawn if len(row) == 4} == {(0, 10, 0, 10)}


def test_no_training_sentence_is_refused():
    with pytest.raises(UserError, match="prior_correction"):
        content_free_sentences([], 0)
