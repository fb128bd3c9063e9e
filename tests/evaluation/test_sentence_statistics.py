from collections.abc import Iterator

import numpy as np
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.sentences import (
    code_usage,
    correlated_share,
    js_divergence,
    perplexity,
    random_correlated_share,
    sentence_statistics,
    used_codes,
)
from llmar_pipeline.vqvae.zipf import zipf_target


def test_code_usage_of_ragged_sentences_and_of_an_array():
    assert code_usage([[0, 2, 2], [3], []], 5).tolist() == [1, 0, 2, 1, 0]
    assert code_usage(np.array([[1, 1], [0, 1]]), 2).tolist() == [1, 3]


@pytest.mark.parametrize(
    ("sentences", "seen"), [([[0, 5]], "saw 5"), ([[-1, 2]], "saw -1"), ([], "saw none")]
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
    assert "correlated_share" not in values


def test_correlated_share_by_hand():
    partners = np.array([2, 3, 0, 1])
    # Codes 0 and 2 occur 2 and 1 times: 2 of 4 tokens stand in a pair.
    assert correlated_share([[0, 0, 2, 1]], partners) == pytest.approx(2 / 4)
    assert correlated_share([[1, 3, 3, 1]], partners) == pytest.approx(1)
    assert correlated_share([[0, 1]], partners) == 0
    assert correlated_share([[0, 0, 2, 1], [1, 3, 3, 1], [0, 1], []], partners) == pytest.approx(0.5)


def pairings(codes: list[int]) -> Iterator[dict[int, int]]:
    """Every way to pair the codes."""
    if not codes:
        yield {}
    for mate in codes[1:]:
        for rest in pairings([code for code in codes[1:] if code != mate]):
            yield {codes[0]: mate, mate: codes[0], **rest}


def test_random_pairing_is_the_mean_over_all_pairings():
    sentences = [[0, 0, 1, 2, 2, 2, 5], [3, 4], [1, 1, 1]]
    shares = [
        correlated_share(sentences, np.array([mates[u] for u in range(6)]))
        for mates in pairings(list(range(6)))
    ]
    assert len(shares) == 15
    assert random_correlated_share(sentences, 6) == pytest.approx(np.mean(shares))


def test_random_pairing_stays_within_a_codebook():
    # Codebooks 0-3 and 4-7. Of the first, t = (2, 1, 1, 0): each of its three pairings makes 2 tokens; of the
    # second, t = (2, 2, 0, 0): one pairing makes 4 tokens, two make none.
    sentence = [0, 4, 0, 4, 1, 5, 2, 5]
    assert random_correlated_share([sentence], 8, books=2) == pytest.approx((2 + 4 / 3) / 8)


def test_statistics_of_several_codebooks_are_averaged():
    # Codebook 0-1 is used evenly, of codebook 2-3 only one code.
    values = sentence_statistics([[0, 2, 1, 2]], 4, np.array([1, 0, 3, 2]), books=2)
    assert (values["codes"], values["used_codes"]) == (4, 3)
    assert values["perplexity"] == pytest.approx((2 + 1) / 2)
    target = zipf_target(2)
    assert values["zipf_perplexity"] == pytest.approx(perplexity(target))
    mean = (js_divergence(np.array([1, 1]), target) + js_divergence(np.array([0, 2]), target)) / 2
    assert values["zipf_js"] == pytest.approx(mean)
    assert values["correlated_share"] == pytest.approx(2 / 4)
    assert values["random_correlated_share"] == pytest.approx(2 / 4)  # two codes have one pairing
