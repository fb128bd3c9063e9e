"""How much action sentences look like a human language: code usage, Zipf's law, correlated tokens."""

from collections.abc import Sequence

import numpy as np

from llmar_pipeline.errors import UserError
from llmar_pipeline.vqvae.zipf import zipf_target

Sentences = Sequence[Sequence[int]] | np.ndarray


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
    codes = np.concatenate([np.empty(0, dtype=np.int64), *_rows(sentences)])
    if codes.size == 0:
        raise UserError("expected action sentences with at least one code, saw none; run stage 1 again.")
    if codes.min() < 0 or codes.max() >= n_codes:
        seen = codes.min() if codes.min() < 0 else codes.max()
        raise UserError(
            f"expected codes from 0 to {n_codes - 1}, saw {seen} in the action sentences:"
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


def correlated_share(sentences: Sentences, partners: np.ndarray) -> float:
    """Return the share of tokens that stand in a correlated pair, averaged over sentences.

    A pair counts 2 min(t_u, t_v), where t_u is how often code u occurs in the sentence and v is its partner.

    Args:
        sentences: As in `code_usage`; empty ones are left out.
        partners: Partner of every code, int [U], such that partners[partners[u]] = u.

    Returns:
        From 0 (no code meets its partner) to 1.

    Source: Corr(t) of Eq. 5 of the paper, as in `losses.context_loss`, without the gradient.
    """
    shares = []
    for codes in _rows(sentences):
        counts = np.bincount(codes, minlength=len(partners))
        shares.append(np.minimum(counts, counts[partners]).sum() / len(codes))
    return float(np.mean(shares))


def random_correlated_share(sentences: Sentences, n_codes: int, books: int = 1) -> float:
    """Return the `correlated_share` to expect of these sentences with partners drawn at random.

    Every other code of the same codebook is equally likely to be a code's partner, so the mean over all
    pairings has a closed form: the sum over codes u and v of min(t_u, t_v) / (U - 1).

    Args:
        sentences: As in `code_usage`; empty ones are left out.
        n_codes: Size of all codebooks together, books x U.
        books: Number of codebooks; codes of different ones are never partners.

    Returns:
        From 0 to 1.

    Source: ours.
    """
    size, shares = n_codes // books, []
    for row in _rows(sentences):
        codes, counts = np.unique(row, return_counts=True)
        mates = (codes[:, None] // size == codes // size) & (codes[:, None] != codes)
        met = np.minimum.outer(counts, counts)[mates].sum()
        shares.append(met / (size - 1) / len(row))
    return float(np.mean(shares))


def sentence_statistics(
    sentences: Sentences, n_codes: int, partners: np.ndarray | None = None, books: int = 1
) -> dict[str, float | int]:
    """Summarise a set of action sentences.

    Args:
        sentences: As in `code_usage`.
        n_codes: Size of all codebooks together, books x U.
        partners: As in `correlated_share`. None: no statistic of correlated tokens.
        books: Number of codebooks, the codes of each in one block. Perplexity and divergence are taken
            codebook by codebook and averaged.

    Returns:
        `codes` (books x U), `used_codes`, `perplexity`, `zipf_perplexity` (that of the target), `zipf_js`
        (nats) and, with partners, `correlated_share` and `random_correlated_share`.

    Raises:
        UserError: There is no code at all, or one lies outside the codebook.

    Source: ours.
    """
    usage, target = code_usage(sentences, n_codes), zipf_target(n_codes // books)
    by_book = usage.reshape(books, -1)
    statistics: dict[str, float | int] = {
        "codes": n_codes,
        "used_codes": used_codes(usage),
        "perplexity": float(np.mean([perplexity(book) for book in by_book])),
        "zipf_perplexity": perplexity(target),
        "zipf_js": float(np.mean([js_divergence(book, target) for book in by_book])),
    }
    if partners is not None:
        statistics["correlated_share"] = correlated_share(sentences, partners)
        statistics["random_correlated_share"] = random_correlated_share(sentences, n_codes, books)
    return statistics


def _rows(sentences: Sentences) -> list[np.ndarray]:
    """The sentences as arrays, without empty ones."""
    rows = [np.asarray(sentence, dtype=np.int64).ravel() for sentence in sentences]
    return [row for row in rows if row.size]


def _distribution(weights: np.ndarray) -> np.ndarray:
    shares = np.array(weights, dtype=np.float64)
    shares /= shares.sum()
    return shares


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> float:
    support = p > 0
    return float(np.sum(p[support] * np.log(p[support] / q[support])))
