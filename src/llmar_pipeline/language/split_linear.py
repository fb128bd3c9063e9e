"""Linear layers that keep bfloat16 weights and are as exact as in float32, for scoring on a GPU."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LowRank(NamedTuple):
    """What an adapter adds to a layer's weight: scale * out @ into.

    Attributes:
        into: [rank, in], float32.
        out: [out, rank], float32.
        scale: Of their product.
    """

    into: Tensor
    out: Tensor
    scale: float


def split(x: Tensor) -> Tensor:
    """Three bfloat16 terms whose sum is x.

    Each takes the 8 leading bits of what those before it leave over, rounded to nearest: 24 bits, as float32
    has. So the sum is x itself from 2^-110 to bfloat16's largest number, 3.39e38; nearer to 0, where the last
    term has no room for its bits, it is off by less than 2^-133.

    Args:
        x: Finite numbers [...], float32.

    Returns:
        The terms [3, ...], bfloat16, the largest first.

    Source: ours, after the splitting of Dekker 1971 in matrix products (Henry, Tang, Heinecke 2019).
    """
    terms = torch.empty(3, *x.shape, dtype=torch.bfloat16, device=x.device)
    terms[0].copy_(x)
    rest = x - terms[0]
    terms[1].copy_(rest)
    torch.sub(rest, terms[1], out=terms[2])
    return terms


class SplitLinear(nn.Module):
    """A linear layer without gradient: float32 activations, bfloat16 weights, float32's accuracy.

    The three terms of `split` are multiplied with the weights in one product, whose factors of 8 bits each
    have exact products, which are summed in float32. On a GPU that is three products at the speed of bfloat16
    in place of one in float32, which is slower by far, and half of the memory.

    Args:
        weight: [out, in], bfloat16.
        bias: [out].
        low_rank: What an adapter adds; in float32 beside the weights, which have no digits for it.

    Source: ours.
    """

    weight: Tensor
    bias: Tensor | None
    into: Tensor | None
    out: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None = None, low_rank: LowRank | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", None if bias is None else bias.detach().float())
        self.register_buffer("into", None if low_rank is None else low_rank.into)
        self.register_buffer("out", None if low_rank is None else low_rank.out)
        self.scale = 0.0 if low_rank is None else low_rank.scale

    def forward(self, x: Tensor) -> Tensor:
        """Map features.

        Args:
            x: Features [..., in], float32.

        Returns:
            Features [..., out], float32: those of the layer in float32, but for the order of its sums.
        """
        rows = x.reshape(-1, x.shape[-1])
        products = _product(split(rows).flatten(0, 1), self.weight)
        mapped: Tensor = products.unflatten(0, (3, len(rows))).sum(0)
        if self.into is not None:
            mapped = torch.addmm(mapped, F.linear(rows, self.into), self.out.T, alpha=self.scale)
        if self.bias is not None:
            mapped += self.bias
        return mapped.view(*x.shape[:-1], len(self.weight))


def _product(rows: Tensor, weight: Tensor) -> Tensor:
    """bfloat16 rows times transposed bfloat16 weights, summed in float32."""
    if rows.device.type == "cuda":
        return torch.mm(rows, weight.T, out_dtype=torch.float32)
    return F.linear(rows.float(), weight.float())  # the same numbers: their products fit float32


def splits(device: torch.device) -> bool:
    """Whether the split pays on a device: a GPU with bfloat16 of its own."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def split_linear_layers(model: nn.Module, low_rank: Mapping[str, LowRank] | None = None) -> None:
    """Replace a model's bfloat16 linear layers in place, and let all else compute in float32.

    Args:
        model: Frozen, in bfloat16. Weights that a linear layer shares, as the vocabulary's often are with the
            words, are there twice afterwards.
        low_rank: By the layer's name, what an adapter adds to it.

    Source: ours.
    """
    layers = {name: layer for name, layer in model.named_modules() if type(layer) is nn.Linear}
    for name, layer in layers.items():
        added = (low_rank or {}).get(name)
        model.set_submodule(name, SplitLinear(layer.weight.data, layer.bias, added))
    for parameter in model.parameters():  # words and norms: the layers' weights are none any more
        parameter.data = parameter.data.float()
