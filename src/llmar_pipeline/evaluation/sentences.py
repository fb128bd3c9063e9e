"""How much action sentences look like a human language: code usage, perplexity, distance to Zipf's law."""

from collections.abc import Iterable, Sequence

import numpy as np

from llmar_pipeline.errors import UserError

Sentences = Iterable[Sequence[int]] | np.ndarray


def code_usage(sentences: Sentences, n_codes: int) -> np.ndarray:
    """Count how often every code occurs.

    Args:
        sentences: Code indices from 0 to U - 1: a list of sentences of any lengths, or an array [N, W].
        n_codes: Size of the codebook, U.

    Returns:
        Occurrences, int64 [U].

    Raises:
        UserError: There is no code at all, or one lies outside the codebook.

    Source: ours.
    """
    rows = [np.asarray(sentence, dtype=np.int64).ravel() for sentence in sentences]
    codes = np.concatenate([np.empty(0, dtype=np.int64), *rows])
    if codes.size == 0:
        raise UserError("Expected action sentences with at least one code, seen none: run stage 1 again.")
    if codes.min() < 0 or codes.max() >= n_codes:
        seen = codes.min() if codes.min() < 0 else codes.max()
        raise UserError(
            f"Expected codes from 0 to {n_codes - 1}, seen {seen} in the action sentences:"
            " they come from another codebook, run stage 1 again."
        )
    return np.bincount(codes, minlength=n_codes)


def used_codes(usage: np.ndarray) -> int:
    """Count the codes that occur at least once. Source: ours."""
    return int(np.count_nonzero(usage))


def perplexity(usage: np.ndarray) -> float:
    """Return exp(entropy) of the usage [U]: U where it is even, 1 where one code is used. Source: ours."""
    share = _distribution(usage)
    share = share[share > 0]
    return float(np.exp(-np.sum(share * np.log(share))))


def zipf_target(n_codes: int, alpha: float = 1.0, beta: float = 2.7) -> np.ndarray:
    """Return Zipf's law over the ranks 1 to U, 1 / (i + beta)^alpha, normalised to sum 1.

    Args:
        n_codes: Size of the codebook, U.
        alpha: Exponent.
        beta: Shift of the rank.

    Returns:
        Probability of every rank, descending, float64 [U].

    Source: Eq. 2 of the paper.
    """
    return _distribution((np.arange(1, n_codes + 1) + beta) ** -float(alpha))


def js_divergence(usage: np.ndarray, target: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence in nats between the usage, sorted by frequency, and a target.

    Args:
        usage: Occurrences or shares of the codes in any order, [U].
        target: Probability by rank, descending, [U], such as `zipf_target(U)`.

    Returns:
        From 0 (equal) to ln 2 (disjoint).

    Source: Eq. 4 of the paper, without the gradient.
    """
    p = np.sort(_distribution(usage))[::-1]
    q = _distribution(target)
    middle = (p + q) / 2
    return (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2


def sentence_statistics(sentences: Sentences, n_codes: int) -> dict[str, float | int]:
    """Summarise a set of action sentences.

    Args:
        sentences: As in `code_usage`.
        n_codes: Size of the codebook, U.

    Returns:
        `codes` (U), `used_codes`, `perplexity`, `zipf_perplexity` (that of the target), `zipf_js` (nats).

    Raises:
        UserError: There is no code at all, or one lies outside the codebook.

    Source: ours.
    """
    usage, target = code_usage(sentences, n_codes), zipf_target(n_codes)
    return {
        "codes": n_codes,
        "used_codes": used_codes(usage),
        "perplexity": perplexity(usage),
        "zipf_perplexity": perplexity(target),
        "zipf_js": js_divergence(usage, target),
    }


def _distribution(weights: np.ndarray) -> np.ndarray:
    weights = np.asarray(weights, dtype=np.float64)
    return weights / weights.sum()


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> float:
    support = p > 0
    return float(np.sum(p[support] * np.log(p[support] / q[support])))
