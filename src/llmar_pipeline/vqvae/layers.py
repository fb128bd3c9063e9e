"""The convolutions of encoder and decoder."""

from torch import Tensor, nn


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
