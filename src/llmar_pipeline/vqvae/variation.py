"""What a batch of readings changes: where its frames lie, who and which joints are seen, how they are turned.

Everything is a function of a reading's own numbers; what a reading leaves off is left as it is, to the bit.
"""

from functools import reduce
from math import pi, sqrt

import torch
from torch import Tensor


def frame_positions(readings: dict[str, Tensor], frames: int) -> Tensor:
    """Where in their crops frames are taken.

    Args:
        readings: what `windows.stacked` gives, all on one device.
        frames: V.

    Returns:
        [B, V] float64, not decreasing, from 0 to the crop's last frame.

    Source: even: lineage; random: the field's loaders of NW-UCLA, which take whole frames; sway: ours.
    """
    last = (readings["length"] - 1).double()[:, None]
    position = torch.arange(frames, device=last.device) * (last / max(frames - 1, 1))
    if frames > 1:
        position[:, -1:] = last  # as in numpy's linspace, whatever the rounding
    if "scattered" in readings:
        drawn = _uniform(readings["seed"] + 1, frames).sort(dim=1).values * last
        position = torch.where(readings["scattered"][:, None], drawn, position)
    if "sway" in readings:
        sway = torch.view_as_real(readings["sway"]).double()[:, :, None]
        # The speed 1 + Re(sway e^(i turn)), integrated; the last frame's turn, a whole one, counts as none.
        turn = 2 * pi * (position / last.clamp(min=1)).frac()
        moved = sway[:, 0] * turn.sin() + sway[:, 1] * (turn.cos() - 1)
        position = torch.minimum((position + last * moved / (2 * pi)).clamp(min=0), last)
    return position


def vary(
    points: Tensor,
    observed: Tensor,
    readings: dict[str, Tensor],
    partners: Tensor,
    root: int,
) -> tuple[Tensor, Tensor]:
    """Read joints as the readings say: persons in another order, turned, mirrored, with gaps, with noise.

    Args:
        points: positions, [B, frame, coordinate, person, joint].
        observed: [B, frame, person, joint] bool.
        readings: what `windows.stacked` gives, on the same device; with `first` also `persons`, how many each
            clip has, without the absent ones at the end, [B] int64.
        partners: the joint that takes each one's place in the mirror, [joint] int64.
        root: the joint that is never dropped.

    Returns:
        points and observed. A joint that is dropped is unobserved in every frame, as one that no sensor saw;
        the root never is, for the others are told from it. On a dropped axis positions are zero and count as
        observed: a projection. Who comes first stays where he or she was, for the scene is the same.
    """
    # Not a matrix product, which mixed precision and TF32 would round.
    columns = readings["matrix"][:, None, :, :, None, None].unbind(3)
    products = (column * x.unsqueeze(2) for column, x in zip(columns, points.unbind(2), strict=True))
    points = reduce(torch.add, products)
    if "first" in readings:
        count = readings["persons"][:, None]
        place = torch.arange(observed.shape[2], device=observed.device)
        turned = (place + (readings["first"][:, None] * count).long()) % count
        order = torch.where(place < count, turned, place)[:, None, :, None]
        observed = observed.take_along_dim(order, 2)
        points = points.take_along_dim(order.unsqueeze(2), 3)
    if "mirror" in readings:
        flip = readings["mirror"].view(-1, 1, 1, 1)
        points = torch.where(flip.unsqueeze(2), points.index_select(-1, partners), points)
        observed = torch.where(flip, observed.index_select(-1, partners), observed)
    if "joint_dropout" in readings:
        numbers = _uniform(readings["seed"] + 2, observed[0, 0].numel()).view_as(observed[:, 0])
        kept = numbers >= readings["joint_dropout"].view(-1, 1, 1)
        kept[..., root] = True
        observed = observed & kept.unsqueeze(1)
    if "noise" in readings:
        noise = _normal(readings["seed"], points[0].numel()).view_as(points)
        strength = readings["noise"][:, None] * readings["matrix"].any(2)  # none on a dropped axis
        points = points + noise * strength[:, None, :, None, None]
    return points, observed


def _normal(seed: Tensor, count: int) -> Tensor:
    """Numbers of mean 0 and variance 1, [B, count] float32.

    Each is the sum of four 16-bit integers of a hash: nearly normal, at most 3.5 standard deviations.
    """
    x = _hash(seed, count)
    total = sum(x >> shift & 0xFFFF for shift in (16, 32, 48)) + (x & 0xFFFF)
    return (total - 2 * 0xFFFF).float() * sqrt(3 / (2**32 - 1))


def _uniform(seed: Tensor, count: int) -> Tensor:
    """Numbers from 0 to below 1, [B, count] float64."""
    return (_hash(seed, count) >> 11 & (1 << 53) - 1).double() * 2.0**-53


def _hash(seed: Tensor, count: int) -> Tensor:
    """Random 64-bit integers, [B, count]; those of a seed are the same on every device.

    Source: SplitMix64 (Steele et al. 2014) of seed and place.
    """
    x = seed[:, None] + torch.arange(1, count + 1, device=seed.device) * -0x61C8864680B583EB
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15), (31, 1)):
        # The right shift of a signed integer copies the sign; SplitMix64 wants zeros.
        x = (x ^ (x >> shift & (1 << 64 - shift) - 1)) * factor
    return x
