"""Eq. 2: Zipf's law, 1 / (i + beta)^alpha, by hand and by the digamma function."""

from math import exp, log

import numpy as np
import pytest
from mpmath import digamma

from llmar_pipeline.vqvae.zipf import zipf_target


def test_small_codebooks_by_hand():
    # 1/3.7 to 1/4.7 is as 47 to 37.
    assert zipf_target(2).tolist() == pytest.approx([47 / 84, 37 / 84])
    # 1, 1/4, 1/9, 1/16 over their common denominator 144.
    assert zipf_target(4, alpha=2, beta=0).tolist() == pytest.approx([x / 205 for x in (144, 36, 16, 9)])
    assert zipf_target(4, alpha=0).tolist() == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("codes", [2, 512, 5120])
def test_the_digamma_function_normalises_it(codes):
    # The sum of 1/(i + beta) for i = 1 to U is digamma(U + beta + 1) - digamma(beta + 1).
    total = digamma(codes + 3.7) - digamma(3.7)
    expected = [float(1 / (rank + 2.7) / total) for rank in range(1, codes + 1)]
    np.testing.assert_allclose(zipf_target(codes), expected, rtol=1e-12)


def test_the_papers_codebook():
    target = zipf_target(512)
    assert target.dtype == np.float64
    assert target[0] == pytest.approx(0.0532, abs=5e-5)
    assert target[-1] == pytest.approx(0.00038, abs=5e-6)
    assert exp(-sum(p * log(p) for p in target)) == pytest.approx(206.7, abs=0.05)
