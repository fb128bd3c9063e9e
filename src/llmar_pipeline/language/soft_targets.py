"""Answers that are known as probabilities of all names, learnt along one name at a time."""

import torch
from torch import Tensor


def beginnings(answer_ids: Tensor, answer_mask: Tensor) -> Tensor:
    """Which answers begin alike.

    Args:
        answer_ids: Tokens of all answers [C, A], int64, right-padded.
        answer_mask: True where a token is real [C, A], bool.

    Returns:
        Whether, up to a token of one answer, another has the same tokens and goes on [C, A, C], bool.

    Source: ours.
    """
    same = (answer_ids[:, None] == answer_ids) & answer_mask[:, None] & answer_mask
    before = torch.cat([torch.ones_like(same[..., :1]), same[..., :-1].cumprod(2).bool()], dim=2)
    return (before & answer_mask[:, None] & answer_mask).transpose(1, 2)


def next_token_chances(chances: Tensor, alike: Tensor) -> Tensor:
    """How probable it is that an answer goes on as each name does, given its tokens up to there.

    The cross-entropy with these along an answer that is drawn by its probability is on average that of the
    probabilities of all names, at the price of one name.

    Args:
        chances: Probability of each name [C].
        alike: `beginnings` of the answer that is drawn [A, C].

    Returns:
        Shares [A, C], each row of sum 1, or 0 behind the answer's end.

    Source: ours, after distillation (Hinton et al. 2015); the chain rule.
    """
    shares = chances * alike
    return shares / shares.sum(1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
