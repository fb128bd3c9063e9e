"""Linear layers whose weights lie as the processor's products read them, for scoring on a CPU."""

import torch
from torch import Tensor, nn

_ROWS = 64  # that a product is expected to have; others gain as much, but for a single one


class PackedLinear(nn.Module):
    """A linear layer without gradient, float32, on the CPU.

    Args:
        layer: Whose weights are taken over.

    Source: ours. The operations are those of oneDNN that torch's inductor calls for frozen weights.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), _ROWS)
        self._bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """Map features.

        Args:
            x: Features [..., in].

        Returns:
            Features [..., out]: those of the layer, but for the order of its sums.
        """
        mapped: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return mapped


def pack_linear_layers(module: nn.Module) -> int:
    """Replace linear layers in place where that pays: frozen, in float32, on a CPU where torch has oneDNN.

    Args:
        module: Any; adapters in it must have been added to the weights. What is replaced can no longer be
            trained, moved or saved.

    Returns:
        How many were replaced.

    Source: ours; what it gains is measured by benchmarks/stage2.py.
    """
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return 0
    places = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear and child.weight.device.type == "cpu"
    ]
    packed = 0
    for parent, name, child in places:
        if child.weight.dtype == torch.float32 and not child.weight.requires_grad:
            setattr(parent, name, PackedLinear(child))
            packed += 1
    return packed
