"""The convolutions of encoder and decoder."""

import torch
from torch import Tensor, nn

from llmar_pipeline.skeletons.topology import Body
from llmar_pipeline.vqvae.ball import at_least_float32
from llmar_pipeline.vqvae.config import VQVAEConfig


class _ResidualBlock(nn.Module):
    """x + Conv1d(k1) of ReLU of a dilated Conv1d(k3) of ReLU of x. Source: lineage."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
            nn.ReLU(),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.residual(x)
        return x + change


class ConvEncoder(nn.ModuleList):
    """One stack of convolutions for each body part, over its channels of all streams.

    Args:
        body: What it works on.
        config: Streams, parts, width, depth, du.

    Source: lineage; parts: ours.
    """

    def __init__(self, body: Body, config: VQVAEConfig) -> None:
        self.parts = [
            [stream * body.channels + channel for stream in range(len(config.streams)) for channel in part]
            for part in body.part_channels(config.body_parts)
        ]
        width = config.width if len(self.parts) == 1 else max(1, config.width // 2)
        shape = (config.downsamplings, config.depth, config.dilation_growth)
        super().__init__(encoder(len(part), width, config.code_dim, *shape) for part in self.parts)
        # The ball is flat far below norm 1 and a tree far above it. The entries of an untrained encoder's
        # output are about 0.1 at every du, so with this factor the features start at norms of about 1.
        self.scale = nn.Parameter(torch.tensor(10 / config.code_dim**0.5))

    def forward(self, motion: Tensor) -> Tensor:
        """Encode motion.

        Args:
            motion: `[B, V, streams * channels]`, zero where nothing was observed.

        Returns:
            Tangent vectors, `[B, W, P, du]`, float32 at least.
        """
        channels = motion.transpose(1, 2)
        encoded = [
            layers(channels if len(self.parts) == 1 else channels[:, part])
            for layers, part in zip(self, self.parts, strict=True)
        ]
        return at_least_float32(torch.stack(encoded, dim=-1).permute(0, 2, 3, 1)) * self.scale


def encoder(
    channels: int, width: int, code_dim: int, halvings: int, depth: int, growth: int
) -> nn.Sequential:
    """Motion `[B, channels, V]` to features `[B, code_dim, V / 2^halvings]`.

    Args:
        channels: Numbers a frame.
        width: Channels inside.
        code_dim: Channels at the end.
        halvings: How often the number of frames is halved.
        depth: Residual blocks a resolution.
        growth: Of the dilation from block to block; the widest comes first.

    Source: lineage.
    """
    layers: list[nn.Module] = [nn.Conv1d(channels, width, 3, padding=1), nn.ReLU()]
    for _ in range(halvings):
        layers += [nn.Conv1d(width, width, 4, stride=2, padding=1), *_blocks(width, depth, growth)]
    return nn.Sequential(*layers, nn.Conv1d(width, code_dim, 3, padding=1))


def decoder(
    code_dim: int, width: int, channels: int, doublings: int, depth: int, growth: int
) -> nn.Sequential:
    """Codes `[B, code_dim, W]` to motion `[B, channels, W * 2^doublings]`; the mirror image of `encoder`.

    Source: lineage.
    """
    layers: list[nn.Module] = [nn.Conv1d(code_dim, width, 3, padding=1), nn.ReLU()]
    for _ in range(doublings):
        layers += [
            *_blocks(width, depth, growth),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv1d(width, width, 3, padding=1),
        ]
    layers += [nn.Conv1d(width, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv1d(width, channels, 3, padding=1))


def _blocks(width: int, depth: int, growth: int) -> list[nn.Module]:
    return [_ResidualBlock(width, growth**level) for level in reversed(range(depth))]
