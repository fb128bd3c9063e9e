"""Corrections of the class scores for the lengths of names and for what a model answers without content."""

from collections.abc import Sequence

import numpy as np

from llmar_pipeline.errors import UserError

CONTENT_FREE_SENTENCES = 32


def content_free_sentences(
    sentences: Sequence[np.ndarray], seed: int, n: int = CONTENT_FREE_SENTENCES
) -> list[np.ndarray]:
    """Make sentences that look like action sentences and mean nothing.

    Each code (or feature) is that of a random training sentence at the same place, so that codes keep their
    frequencies, and stand where their codebook does. An instruction without any code would be shorter, but no
    sentence that the model knows is empty; and the mean over training sentences would cost as much as scoring
    them all and answer what the model has learnt of them by heart.

    Args:
        sentences: Codes of the training clips, or their features.
        seed: Of the draw.
        n: Number of sentences.

    Returns:
        Codes of each sentence, or features.

    Raises:
        UserError: There is no training sentence.

    Source: Fei et al., Mitigating Label Biases for In-context Learning, ACL 2023 (random in-domain words).
    """
    if not len(sentences):
        raise UserError(
            "expected training sentences for evaluation.prior_correction, saw none; set it to none."
        )
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(n):
        length = len(sentences[int(rng.integers(len(sentences)))])
        givers = [codes for codes in sentences if len(codes) >= length]
        chosen = rng.integers(len(givers), size=length)
        drawn.append(np.stack([givers[k][place] for place, k in enumerate(chosen)]))
    return drawn


def correct_scores(
    scores: np.ndarray, lengths: Sequence[int] | None = None, content_free: np.ndarray | None = None
) -> np.ndarray:
    """Correct the log-likelihoods of class names.

    Args:
        scores: Log-likelihoods [clips, classes], nats.
        lengths: Tokens of each class's answer, end-of-sequence included [classes]; each score becomes the
            mean over them. None: no correction for length.
        content_free: Log-likelihoods of content-free sentences [sentences, classes], nats; their mean is
            subtracted, after the correction for length. None: no correction for the prior.

    Returns:
        Scores [clips, classes], float64, nats (a token, where lengths are given).

    Source: mean log-likelihood as in Brown et al., Language Models are Few-Shot Learners, NeurIPS 2020; prior
        as in Holtzman et al., Surface Form Competition, EMNLP 2021.
    """
    divisor = np.ones(scores.shape[1]) if lengths is None else np.asarray(lengths, dtype=np.float64)
    corrected = scores.astype(np.float64) / divisor
    if content_free is not None:
        corrected -= (content_free.astype(np.float64) / divisor).mean(axis=0)
    return corrected
