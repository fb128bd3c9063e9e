"""A graph network of CTR-GCN's kind, written small: topology refined channel by channel, time in branches."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmar_pipeline.skeletons.topology import Body, Topology

BLOCKS = ((32, 1), (32, 2), (64, 1), (64, 2), (128, 1), (128, 1))
"""Channels of each block, and every how many frames it looks. CTR-GCN has ten, of 64 to 256 channels."""
KERNEL, DILATIONS = 5, (1, 2)
REDUCTION, FEWEST = 8, 8  # channels of which one is compared, and how many are at least


def skeleton_graph(topology: Topology) -> Tensor:
    """Where the shared adjacencies start: self, parent, mean of the children, `[3, joints, joints]`."""
    graph = torch.zeros(3, len(topology.joints), len(topology.joints))
    graph[0] = torch.eye(len(topology.joints))
    for child, parent in topology.bones:
        graph[1, child, parent] = graph[2, parent, child] = 1.0
    graph[2] /= graph[2].sum(1, keepdim=True).clamp(min=1)
    return graph


class TopologyRefinement(nn.Module):
    """Graph convolution whose adjacency differs from channel to channel and from clip to clip.

    Each subset's adjacency is one that all share plus `alpha` times a refinement: a linear map of
    tanh(difference of two joints' features, pooled over time).

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        graph: Where the shared adjacencies start, `[subset, to, from]`.

    Source: CTR-GC, Chen et al. 2021. There features are mapped, then pooled; a mean may as well come first.
    """

    def __init__(self, inputs: int, outputs: int, graph: Tensor) -> None:
        super().__init__()
        subsets, compared = len(graph), max(FEWEST, inputs // REDUCTION)
        self.shared = nn.Parameter(graph.clone())
        self.alpha = nn.Parameter(torch.zeros(()))
        self.compare = nn.Linear(inputs, 2 * subsets * compared)
        bound = compared**-0.5
        self.refine = nn.Parameter(torch.empty(subsets, outputs, compared).uniform_(-bound, bound))
        self.offset = nn.Parameter(torch.empty(subsets, outputs, 1).uniform_(-bound, bound))
        self.value = nn.Conv2d(inputs, outputs * subsets, 1)

    def adjacencies(self, x: Tensor) -> Tensor:
        """Of features `[B, C, joint, frame]`: `[B, channel, to, subset, from]`."""
        (subsets, outputs, compared), joints = self.refine.shape, x.shape[2]
        pooled = self.compare(x.mean(3).permute(2, 0, 1)).view(joints, len(x), 2, subsets, compared)
        to, come = pooled.permute(2, 3, 4, 1, 0).unbind(0)  # each [subset, compared, B, joint]
        apart = torch.tanh(to.unsqueeze(4) - come.unsqueeze(3))
        # What all channels share, and the offset, take part in the one product: no pass over its large result.
        shared = self.shared.view(subsets, 1, 1, joints, joints).expand(-1, -1, len(x), -1, -1)
        told = torch.cat([apart, shared, torch.ones_like(shared)], 1).flatten(2)
        weights = torch.cat(
            [self.alpha * self.refine, torch.ones_like(self.offset), self.alpha * self.offset], 2
        )
        return (weights @ told).view(subsets, outputs, len(x), joints, joints).permute(2, 1, 3, 0, 4)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, joint, frame]` to the same with `outputs` channels."""
        # Subsets and joints side by side, so that one product takes from all of them.
        values = self.value(x).unflatten(1, (-1, len(self.shared))).flatten(2, 3)
        mixed: Tensor = self.adjacencies(x).flatten(3) @ values
        return mixed


class TemporalBranches(nn.Module):
    """A quarter of the channels each: two dilations, a maximum over neighbours, and no look at others."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.branch, self.stride = channels // (len(DILATIONS) + 2), stride
        self.into = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        self.convolutions = nn.ModuleList(
            nn.Conv2d(
                self.branch,
                self.branch,
                (1, KERNEL),
                (1, stride),
                (0, KERNEL // 2 * dilation),
                (1, dilation),
                bias=False,
            )
            for dilation in DILATIONS
        )
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, joint, frame]` to the same with every stride-th frame."""
        *convolved, pooled, plain = self.into(x).split(self.branch, 1)
        made = [look(part) for look, part in zip(self.convolutions, convolved, strict=True)]
        # Nothing is below zero here, so zeros beyond the ends change no maximum. torch's own takes ten times as long.
        around, last = F.pad(pooled, (1, 1)), x.shape[3]
        before, here, after = (around[..., start : start + last : self.stride] for start in range(3))
        made.append(torch.maximum(torch.maximum(before, after), here))
        result: Tensor = self.norm(torch.cat([*made, plain[..., :: self.stride]], 1))
        return result


class Block(nn.Module):
    """Joints look at one another, then frames; what came in is added to both."""

    def __init__(self, inputs: int, outputs: int, stride: int, graph: Tensor, first: bool) -> None:
        super().__init__()
        self.graph = TopologyRefinement(inputs, outputs, graph)
        self.norm = nn.BatchNorm2d(outputs)
        nn.init.constant_(self.norm.weight, 1.0 if first else 1e-6)  # as there: a block starts as its input
        self.time = TemporalBranches(outputs, stride)
        self.past_graph, self.past_time = _Past(inputs, outputs, 1), _Past(inputs, outputs, stride)
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, joint, frame]` to the same with `outputs` channels and every stride-th frame."""
        y = F.relu(self.norm(self.graph(x)) + self.past_graph(x))
        y = self.time(y)
        made: Tensor = F.relu(y if self.first else y + self.past_time(x))
        return made


class _Past(nn.Sequential):
    """What came in, in the shape of what goes out."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        same = inputs == outputs and stride == 1
        mapped = (nn.Conv2d(inputs, outputs, 1, (1, stride), bias=False), nn.BatchNorm2d(outputs))
        super().__init__(*(() if same else mapped))


class PeerNetwork(nn.Module):
    """Motion to a score of each class.

    Args:
        body: What it works on.
        classes: How many there are.
        blocks: Channels and stride of each.

    Source: CTR-GCN (Chen et al. 2021), with fewer blocks and channels.
    """

    def __init__(self, body: Body, classes: int, blocks: Sequence[tuple[int, int]] = BLOCKS) -> None:
        super().__init__()
        topology = body.topology
        graph = skeleton_graph(topology)
        self.standardize = nn.BatchNorm1d(body.channels)
        widths = [topology.coordinates, *(width for width, _ in blocks)]
        self.blocks = nn.Sequential(
            *(
                Block(inputs, outputs, stride, graph, not number)
                for number, (inputs, (outputs, stride)) in enumerate(zip(widths, blocks, strict=False))
            )
        )
        self.answer = nn.Linear(widths[-1], classes)

    def forward(self, motion: Tensor) -> Tensor:
        """`[B, frame, coordinate, person, joint]` to `[B, classes]`; persons are averaged."""
        batch, frames, coordinates, persons, joints = motion.shape
        flat = motion.permute(0, 3, 4, 2, 1).reshape(batch, -1, frames)
        x = self.standardize(flat).view(batch * persons, joints, coordinates, frames)
        x = self.blocks(x.transpose(1, 2).contiguous()).mean((2, 3))
        scores: Tensor = self.answer(x.unflatten(0, (batch, persons)).mean(1))
        return scores
