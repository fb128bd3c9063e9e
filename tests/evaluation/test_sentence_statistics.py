import numpy as np
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.sentences import (
    code_usage,
    js_divergence,
    perplexity,
    sentence_statistics,
    used_codes,
    zipf_target,
)


def test_code_usage_of_ragged_sentences_and_of_an_array():
    assert code_usage([[0, 2, 2], [3], []], 5).tolist() == [1, 0, 2, 1, 0]
    assert code_usage(np.array([[1, 1], [0, 1]]), 2).tolist() == [1, 3]


@pytest.mark.parametrize(
    ("sentences", "seen"), [([[0, 5]], "seen 5"), ([[-1, 2]], "seen -1"), ([], "seen none")]
)
def test_codes_outside_the_codebook_are_refused(sentences, seen):
    with pytest.raises(UserError, match=seen):
        code_usage(sentences, 5)


def test_perplexity_by_hand():
    assert perplexity(np.array([3, 3, 0, 3])) == pytest.approx(3)
    assert perplexity(np.array([0, 7])) == pytest.approx(1)
    # Shares 1/2, 1/4, 1/4: entropy 1.5 ln 2, so 2^1.5.
    assert perplexity(np.array([2, 1, 1])) == pytest.approx(2**1.5)
    assert used_codes(np.array([2, 0, 1])) == 2


def test_zipf_target_of_three_ranks_by_hand():
    # 1/3.7, 1/4.7, 1/5.7 = 0.270270, 0.212766, 0.175439, sum 0.658475.
    np.testing.assert_allclose(zipf_target(3), [0.410450, 0.323120, 0.266432], atol=2e-6)
    # 1/(1+1)^2 = 1/4 and 1/(2+1)^2 = 1/9: shares 9/13 and 4/13.
    np.testing.assert_allclose(zipf_target(2, alpha=2, beta=1), [9 / 13, 4 / 13])


def test_zipf_target_of_the_paper():
    target = zipf_target(512)
    assert target.sum() == pytest.approx(1)
    assert perplexity(target) == pytest.approx(206.7, abs=0.05)
    assert target[0] == pytest.approx(0.0532, abs=5e-5)
    assert target[-1] == pytest.approx(0.00038, abs=5e-6)


# Sums of 50 digits (mpmath).
@pytest.mark.parametrize(
    ("used", "expected"),
    [(512, 0.167495067), (128, 0.196693715), (32, 0.265968075), (16, 0.321675857), (1, 0.587770678)],
)
def test_js_divergence_of_even_usage(used, expected):
    usage = np.zeros(512)
    usage[-used:] = 4  # the order of the codes is of no account
    assert js_divergence(usage, zipf_target(512)) == pytest.approx(expected, abs=1e-8)


def test_js_divergence_is_zero_for_equal_and_ln2_for_disjoint():
    target = zipf_target(16)
    assert js_divergence(np.random.default_rng(0).permutation(target), target) == pytest.approx(0, abs=1e-12)
    assert js_divergence(np.array([1, 0]), np.array([0.0, 1.0])) == pytest.approx(np.log(2))


def test_sentence_statistics():
    values = sentence_statistics([[0, 1], [2, 3]], 512)
    assert (values["codes"], values["used_codes"]) == (512, 4)
    assert values["perplexity"] == pytest.approx(4)
    assert values["zipf_perplexity"] == pytest.approx(206.7, abs=0.05)
    assert values["zipf_js"] > 0.322
