"""A graph network of CTR-GCN's kind, written small: topology refined channel by channel, time in branches.

Features are `[C, B, joint, frame]`. With channels in front a map of channels is one large product, batch
normalisation reads whole rows, and frames, last, fill the lanes of the products with adjacencies.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmar_pipeline.skeletons.topology import Body
from llmar_pipeline.vqvae.graph_encoder import skeleton_graph

BLOCKS = ((32, 1), (32, 2), (64, 1), (64, 2), (128, 1), (128, 1))
"""Channels of each block, and every how many frames it looks. CTR-GCN has ten, of 64 to 256 channels."""
KERNEL, DILATIONS = 5, (1, 2)
REDUCTION, FEWEST = 8, 8  # channels of which one is compared, and how many are at least


class ChannelMap(nn.Linear):
    """A linear map of channels, with what stands in front of each as it is: a convolution of size one."""

    def forward(self, x: Tensor) -> Tensor:
        """`[C, ...]` to the same with other channels."""
        flat = x.flatten(1)
        made = (
            self.weight @ flat
            if self.bias is None
            else torch.addmm(self.bias.unsqueeze(1), self.weight, flat)
        )
        return made.view(-1, *x.shape[1:])


class Norm(nn.BatchNorm1d):
    """Batch normalisation of `[C, ...]`."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return super().forward(x.flatten(1).unsqueeze(0)).view_as(x)


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
        compared = max(FEWEST, inputs // REDUCTION)
        self.shared = nn.Parameter(graph.clone())
        self.alpha = nn.Parameter(torch.zeros(()))
        self.compare = nn.ModuleList(ChannelMap(inputs, 2 * compared) for _ in graph)
        self.refine = nn.ModuleList(nn.Linear(compared, outputs) for _ in graph)
        self.values = nn.ModuleList(ChannelMap(inputs, outputs) for _ in graph)

    def adjacency(self, x: Tensor, subset: int) -> Tensor:
        """Of features pooled over time, `[C, B, joint]`: `[channel, B, to, from]`."""
        to, come = self.compare[subset](x).chunk(2)
        apart = torch.tanh(to.unsqueeze(3) - come.unsqueeze(2))
        # What is shared, and the offset, take part in the one product: no passes over its large result.
        shared, refine = self.shared[subset].expand(1, *apart.shape[1:]), self.refine[subset]
        told = torch.cat([apart, shared, torch.ones_like(shared)]).flatten(1)
        offset = refine.bias.unsqueeze(1)
        weights = torch.cat([self.alpha * refine.weight, torch.ones_like(offset), self.alpha * offset], 1)
        return (weights @ told).view(-1, *apart.shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        """`[C, B, joint, frame]` to the same with `outputs` channels."""
        pooled, mixed = x.mean(3), None
        for subset, value in enumerate(self.values):
            adjacency, values = self.adjacency(pooled, subset).flatten(0, 1), value(x)
            given = values.flatten(0, 1)
            mixed = adjacency @ given if mixed is None else torch.baddbmm(mixed, adjacency, given)
        made: Tensor = mixed.view_as(values)
        return made


class TemporalBranches(nn.Module):
    """A quarter of the channels each: two dilations, a maximum over neighbours, and no look at others."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        branch, self.stride = channels // (len(DILATIONS) + 2), stride
        self.into = nn.Sequential(ChannelMap(channels, channels, bias=False), Norm(channels), nn.ReLU())
        self.looks = nn.ModuleList(
            nn.Conv2d(branch, branch, (1, KERNEL), (1, stride), (0, KERNEL // 2 * far), (1, far), bias=False)
            for far in DILATIONS
        )
        self.looks.append(nn.MaxPool2d((1, 3), (1, stride), (0, 1)))
        self.norm = Norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[C, B, joint, frame]` to the same with every stride-th frame."""
        *looked, plain = self.into(x).chunk(len(self.looks) + 1)
        made = [
            look(part.transpose(0, 1)).transpose(0, 1) for look, part in zip(self.looks, looked, strict=True)
        ]
        result: Tensor = self.norm(torch.cat([*made, plain[..., :: self.stride]]))
        return result


class Block(nn.Module):
    """Joints look at one another, then frames; what came in is added to both."""

    def __init__(self, inputs: int, outputs: int, stride: int, graph: Tensor) -> None:
        super().__init__()
        self.graph, self.norm = TopologyRefinement(inputs, outputs, graph), Norm(outputs)
        nn.init.constant_(self.norm.weight, 1e-6)  # CTR-GCN's: at first what came in passes
        self.time, self.stride = TemporalBranches(outputs, stride), stride
        same = inputs == outputs
        self.beside_graph, self.beside_time = (
            nn.Identity() if same else nn.Sequential(ChannelMap(inputs, outputs, bias=False), Norm(outputs))
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[C, B, joint, frame]` to the same with `outputs` channels and every stride-th frame."""
        y = F.relu(self.norm(self.graph(x)) + self.beside_graph(x))
        made: Tensor = F.relu(self.time(y) + self.beside_time(x[..., :: self.stride]))
        return made


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
        graph = skeleton_graph(body.topology)
        self.standardize = nn.BatchNorm1d(body.channels)
        widths = [body.topology.coordinates, *(width for width, _ in blocks)]
        self.blocks = nn.Sequential(
            *(
                Block(inputs, outputs, stride, graph)
                for inputs, (outputs, stride) in zip(widths, blocks, strict=False)
            )
        )
        self.answer = nn.Linear(widths[-1], classes)

    def forward(self, motion: Tensor) -> Tensor:
        """`[B, frame, coordinate, person, joint]` to `[B, classes]`; persons are averaged."""
        batch, frames, coordinates, persons, joints = motion.shape
        flat = self.standardize(motion.flatten(2).transpose(1, 2))
        x = flat.view(batch, coordinates, persons, joints, frames).permute(1, 0, 2, 3, 4)
        x = self.blocks(x.flatten(1, 2)).mean((2, 3))
        scores: Tensor = self.answer(x.unflatten(1, (batch, persons)).mean(2).T)
        return scores
