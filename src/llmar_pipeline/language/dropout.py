"""Dropout that is drawn for each clip and place, whatever is computed together with it."""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

_PLACES = 1 << 22
_SEED = 0  # of the table alone: where in it a token reads depends on the training's seed
_STEP, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
"""Odd numbers of SplitMix64, as signed integers."""


class Draws:
    """What the dropout layers of a model read their draws from.

    A table of draws is made once; each token reads a row of it that begins at a place of its own in each
    layer. So a mask costs what its reading costs, a tenth of drawing it on a CPU, and nothing of it is kept
    for the backward pass.

    Args:
        share: Of the inputs that is zeroed; the rest is divided by 1 - share.
        width: Of the widest input.

    Source: ours.
    """

    def __init__(self, share: float, width: int) -> None:
        self._share, self._width = share, width
        self._table: Tensor | None = None
        self.tokens: Tensor | None = None

    def begin(self, tokens: Tensor) -> None:
        """Say which tokens the next pass is of.

        Args:
            tokens: Number of each, as `token_keys` gives it, of any shape `[...]`, int64.
        """
        self.tokens = tokens

    def rows(self, tokens: Tensor, layer: int, like: Tensor) -> Tensor:
        """0 or 1 / (1 - share) for every input of some tokens.

        Args:
            tokens: As `begin` takes them.
            layer: Odd number of the layer.
            like: Of the width, number type and device that are asked, `[..., width]`.
        """
        if self._table is None:
            drawn = torch.rand(_PLACES + self._width, generator=torch.Generator().manual_seed(_SEED))
            self._table = (drawn >= self._share) / (1 - self._share)
        if (self._table.dtype, self._table.device) != (like.dtype, like.device):
            self._table = self._table.to(like)
        places = ((tokens * layer) >> 40) & (_PLACES - 1)
        table = self._table.as_strided((_PLACES, like.shape[-1]), (1, 1))
        return table.index_select(0, places.flatten()).view(like.shape)


class KeyedDropout(nn.Module):
    """nn.Dropout whose draws are those of the tokens, see `Draws`.

    Args:
        draws: Shared by all layers of a model.
        number: Of this layer, from 0.
    """

    def __init__(self, draws: Draws, number: int) -> None:
        super().__init__()
        self.draws = draws
        self._layer = int(mixed(torch.tensor(number + 1) * _STEP)) | 1

    def forward(self, x: Tensor) -> Tensor:
        """Zero some inputs in training.

        Args:
            x: Inputs of the tokens that were begun with, `[..., width]`.
        """
        if not self.training or self.draws.tokens is None:
            return x
        return cast(Tensor, _Masked.apply(x, self.draws.tokens, self.draws, self._layer))


class _Masked(torch.autograd.Function):
    """x times its row of the table, which is read once more for the gradient rather than kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tokens: Tensor, draws: Draws, layer: int) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.draws, ctx.layer = draws, layer
        return x * draws.rows(tokens, layer, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (tokens,) = ctx.saved_tensors
        return gradients[0] * ctx.draws.rows(tokens, ctx.layer, gradients[0]), None, None, None


def drop_by_clip(model: nn.Module) -> Draws | None:
    """Let the adapters of a peft model draw their dropout by clip and place, in place.

    Args:
        model: With layers that have `lora_dropout`.

    Returns:
        What they read; None without dropout.

    Source: ours.
    """
    layers = cast(Iterable[Any], model.modules())
    places: list[tuple[Any, str, nn.Dropout, int]] = [
        (layer.lora_dropout, name, dropout, layer.in_features)
        for layer in layers
        if isinstance(getattr(layer, "lora_dropout", None), nn.ModuleDict)
        for name, dropout in layer.lora_dropout.items()
        if isinstance(dropout, nn.Dropout)
    ]
    if not places:
        return None
    shared = Draws(places[0][2].p, max(width for *_, width in places))
    for number, (parent, name, *_) in enumerate(places):
        parent[name] = KeyedDropout(shared, number)
    return shared


def mixed(numbers: Tensor) -> Tensor:
    """Integers that look random, a different one for each.

    Args:
        numbers: int64, any shape.

    Source: the last steps of SplitMix64 (Steele et al. 2014).
    """
    for shift, factor in ((30, _FIRST), (27, _SECOND), (31, 1)):
        shifted = (numbers >> shift) & ((1 << 64 - shift) - 1)  # what comes from the left is 0, not the sign
        numbers = (numbers ^ shifted) * factor
    return numbers


def token_keys(keys: Tensor, places: Tensor) -> Tensor:
    """A number for each token of each clip.

    Args:
        keys: Of the clips, drawn at random, int64.
        places: Of the tokens in their clip, int64; together they broadcast.
    """
    return mixed(keys + places * _STEP)


def uniform(tokens: Tensor) -> Tensor:
    """A number from 0 up to 1 for each token, `[...]`, float32, as if drawn at random.

    Args:
        tokens: As `token_keys` gives them.
    """
    return ((tokens >> 40) & 0xFFFFFF).float() / (1 << 24)
