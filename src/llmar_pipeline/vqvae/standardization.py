"""Numbers brought to mean 0 and variance 1, whatever they are measured in."""

import torch
from torch import Tensor, nn

from llmar_pipeline.training import processes
from llmar_pipeline.vqvae.ball import at_least_float32

_EPSILON = 1e-5


class Standardization(nn.Module):
    """Batch normalisation without learned scale and shift that leaves out what is absent.

    In training by the batch's own mean and variance, under several processes those of the whole batch; else
    by their moving averages.

    Args:
        channels: Numbers to standardise, each for itself.
        momentum: Share of a batch in the moving averages.

    Source: Ioffe and Szegedy 2015; absence and processes: ours.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """Standardise.

        Args:
            values: `[..., channels]`.
            present: True where they count, `[...]`.

        Returns:
            The same shape, float32 at least, zero where absent.
        """
        values, there = at_least_float32(values), present.unsqueeze(-1)
        if not self.training:
            return (values - self.mean) * (self.variance + _EPSILON).rsqrt() * there
        flat, counted = values.flatten(0, -2), there.flatten(0, -2)
        count = processes.total(counted.sum().float()).clamp(min=1)
        mean = processes.sum_over_processes((flat * counted).sum(0)) / count
        centred = (values - mean) * there
        variance = processes.sum_over_processes(centred.flatten(0, -2).square().sum(0)) / count
        with torch.no_grad():
            self.mean.lerp_(mean.to(self.mean), self.momentum)
            self.variance.lerp_(variance.to(self.variance), self.momentum)
        return centred * (variance + _EPSILON).rsqrt()
