"""Answers without the language model: what stage 1's class head says, and what the codes say."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.tokenize import encode_readings, readings_to_recognize
from llmar_pipeline.vqvae.windows import Clips

Read = Literal["llm", "codes", "head"]
"""Who answers: the language model, the codes by what they said in training, or the class head of stage 1."""


class Encoded(NamedTuple):
    """What stage 1 makes of some clips, each read once or several times.

    Attributes:
        features: `[clips * readings, W, P, du]`.
        codes: Action sentences, `[clips, readings, S]`, int64.
        mask: Where motion was observed, `[clips * readings, V, channels]`.
    """

    features: Tensor
    codes: Tensor
    mask: Tensor


def encode(vqvae: VQVAE, clips: Clips, readings: int) -> Encoded:
    """Encode clips as the evaluation of the training does.

    Args:
        vqvae: As `load_vqvae` returns it.
        clips: Of its body.
        readings: How often each is read.

    Source: "action sentence" of Sec. 3.1 of the paper.
    """
    read = [its for clip in range(len(clips)) for its in readings_to_recognize(clips, clip, readings)]
    features, mask = encode_readings(vqvae, clips, read)
    return Encoded(features, vqvae.nearest_codes(features).unflatten(0, (len(clips), -1)), mask)


def head_chances(vqvae: VQVAE, encoded: Encoded, labels: list[int]) -> np.ndarray | None:
    """What the class head before the codebook says.

    Args:
        vqvae: The trained one.
        encoded: Clips.
        labels: Classes of the training to choose from.

    Returns:
        Probabilities `[clips, len(labels)]`, float64, of several readings their geometric mean; None without
        a head.

    Source: ours.
    """
    told = vqvae.classify(encoded.features, encoded.mask)
    return None if told is None else _chances(told.unflatten(0, encoded.codes.shape[:2]), labels)


def code_chances(votes: Tensor, encoded: Encoded, labels: list[int]) -> np.ndarray:
    """What the codes say, each by itself, whatever their order.

    Args:
        votes: What speaks for each class in each code `[codes, classes]`: log p(code | class), which are
            added up (naive Bayes, each class as likely as another), or a head's logits, which are averaged.
        encoded: Clips.
        labels: As of `head_chances`.

    Returns:
        As `head_chances`. Naive Bayes takes codes for independent, which they are not: its probabilities are
        too sure.

    Source: multinomial naive Bayes; see `VQVAE.code_votes`.
    """
    return _chances(code_scores(votes, encoded.codes.cpu()), labels)


def code_scores(votes: Tensor, codes: Tensor) -> Tensor:
    """What the codes of some sentences say for each class, up to what is the same for all.

    Args:
        votes: As of `code_chances`.
        codes: Action sentences of one length, `[..., S]`, int64.

    Returns:
        `[..., classes]`, float64, nats.

    Source: as of `code_chances`.
    """
    votes = votes.cpu().double()
    told, of_each_class = votes[codes], votes.exp().sum(0)
    adds_up = torch.allclose(of_each_class, torch.ones_like(of_each_class), atol=1e-3)
    return told.sum(-2) if adds_up else told.mean(-2)


def _chances(scores: Tensor, labels: list[int]) -> np.ndarray:
    """Of the scores of each reading `[clips, readings, classes]`."""
    chances: np.ndarray = scores[..., labels].double().log_softmax(-1).mean(1).softmax(-1).cpu().numpy()
    return chances
