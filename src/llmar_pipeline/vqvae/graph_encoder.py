"""The graph encoder: joints look at one another, then steps at one another."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmar_pipeline.skeletons.topology import Body, Topology
from llmar_pipeline.vqvae.config import FurtherStream, VQVAEConfig
from llmar_pipeline.vqvae.standardization import Standardization

_RELATIONS = 4  # self, parent, children, all
GRAPH_LAYERS = 2
TEMPORAL_BLOCKS = 2
DILATIONS = (1, 2, 4)
KERNEL = 5


def inner_width(config: VQVAEConfig) -> int:
    """Channels of a joint: about half the width, as many in each group of relations."""
    return _RELATIONS * max(1, config.width // 2 // _RELATIONS)


class GraphEncoder(nn.Module):
    """Motion as a graph of joints, every 2^downsamplings frames a step.

    Each joint's frames of a step become one vector; two layers mix the joints of a step along relations that
    start as the skeleton's and are learned; the joints' mean and maximum go through convolutions over the
    steps. The joints of all persons are nodes of one graph, so that people are seen together; absent joints
    count in no mean and no maximum. Features are standardised, which bounds their norms from the first step
    on: a tangent vector has the norm 1 in the quadratic mean, however the losses pull.

    Args:
        body: What it works on.
        config: Streams, width, dropout, number of frames a step, du.

    Source: ours, of the field's parts: learned adjacency in groups (2s-AGCN, CTR-GCN), temporal convolution
    in branches (MS-G3D, CTR-GCN), patches (ViT).
    """

    nodes_of_part: Tensor
    kept: Tensor

    def __init__(self, body: Body, config: VQVAEConfig) -> None:
        super().__init__()
        self.body, self.stride = body, config.stride
        streams = config.streams
        joints, coordinates = len(body.topology.joints), body.topology.coordinates
        inside, width = inner_width(config), config.width
        kept = torch.stack([_kept(body.topology, stream, config.root_path) for stream in streams])
        self.register_buffer("kept", kept.repeat(1, body.persons), False)  # [streams, nodes]
        members = body.members(config.body_parts)
        nodes = [[p * joints + joint for p in range(body.persons) for joint in part] for part in members]
        of_part = torch.zeros(len(nodes), body.persons * joints, dtype=torch.bool)
        for part, its in enumerate(nodes):
            of_part[part, its] = True
        self.register_buffer("nodes_of_part", of_part, False)  # [P, nodes]
        self.standardize_input = Standardization(len(streams) * coordinates)
        self.stem = nn.Linear(len(streams) * coordinates * self.stride, inside)
        self.place = nn.Parameter(0.02 * torch.randn(body.persons * joints, inside))
        self.graph = nn.ModuleList(_GraphLayer(body, inside, config.dropout) for _ in range(GRAPH_LAYERS))
        self.pool = nn.Linear(2 * inside, width)
        self.temporal = nn.ModuleList(_TemporalBlock(width, config.dropout) for _ in range(TEMPORAL_BLOCKS))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.code_dim))
        self.standardize_features = Standardization(config.code_dim)

    def forward(self, motion: Tensor) -> Tensor:
        """Encode motion.

        Args:
            motion: `[B, V, streams * channels]`, zero where nothing was observed.

        Returns:
            Tangent vectors, `[B, W, P, du]`.
        """
        topology = self.body.topology
        nodes, streams = self.body.persons * len(topology.joints), len(self.kept)
        values = motion.unflatten(2, (streams, nodes * topology.coordinates))
        # Streams first, whole rows at a time: of three coordinates alone each look costs as much as of many.
        seen = (values != 0).any(2).unflatten(2, (nodes, -1)).any(-1)  # [B, V, nodes]
        # One copy lays a joint's frames of a step side by side: [B, W, nodes, frame, streams * coordinates].
        patches = values.unflatten(1, (-1, self.stride)).unflatten(4, (nodes, -1)).permute(0, 1, 4, 2, 3, 5)
        patches = patches.flatten(4) * self.kept.T.repeat_interleave(topology.coordinates, 1).unsqueeze(1)
        seen = seen.unflatten(1, (-1, self.stride)).transpose(2, 3)  # [B, W, nodes, frame]
        patches = self.standardize_input(patches, seen).flatten(3)
        present = seen.any(-1)  # [B, W, nodes]
        x = self.stem(patches) + self.place
        for layer in self.graph:
            x = layer(x, present)
        pooled = torch.stack([_pool(x, present & part) for part in self.nodes_of_part], dim=2)
        steps = self.pool(pooled).transpose(1, 2).flatten(0, 1)  # [B * P, W, width]
        for block in self.temporal:
            steps = block(steps)
        features = self.last(steps).unflatten(0, (len(motion), -1)).transpose(1, 2)
        there = (present.unsqueeze(2) & self.nodes_of_part).any(-1)
        made: Tensor = self.standardize_features(features, there) / features.shape[-1] ** 0.5
        return made


class _GraphLayer(nn.Module):
    """x + a linear map of what each group of channels takes from the other nodes by its own adjacency."""

    def __init__(self, body: Body, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.adjacency = nn.Parameter(_relations(body))  # [groups, to, from]
        self.value = nn.Linear(width, width)
        self.add = _ResidualDropout(dropout)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        groups = (self.norm(x) * present.unsqueeze(-1)).unflatten(-1, (len(self.adjacency), -1))
        mixed = torch.einsum("gij,bwjgc->bwigc", self.adjacency, groups).flatten(3)
        made: Tensor = self.add(x, F.gelu(self.value(mixed)))
        return made


class _ResidualDropout(nn.Dropout):
    """x + dropout of a change.

    On a CPU drawing the numbers takes most of the time. Drawn as float64 they are those of torch's own
    dropout, to the bit, in three quarters of it; their use is then one pass over the memory, not three.
    """

    def forward(self, x: Tensor, change: Tensor) -> Tensor:  # type: ignore[override]
        """The sum, of the shape of both."""
        if not (self.training and self.p and x.dtype == change.dtype and x.device.type == "cpu"):
            return x + super().forward(change)
        kept = torch.rand(change.shape, dtype=torch.float64) < 1 - self.p
        return torch.addcmul(x, change, kept.to(change.dtype), value=1 / (1 - self.p))


class _TemporalBlock(nn.Module):
    """x + convolutions of several dilations and a maximum over neighbouring steps; then a feed-forward."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        branch = width // (len(DILATIONS) + 1)
        rest = width - branch * len(DILATIONS)
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(branch, branch, KERNEL, padding=KERNEL // 2 * dilation, dilation=dilation)
            for dilation in DILATIONS
        )
        self.sizes = [branch] * len(DILATIONS) + [rest]
        self.dropout = nn.Dropout1d(dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        *branches, pooled = F.gelu(self.into(self.norm(x))).transpose(1, 2).split(self.sizes, dim=1)
        made = [convolution(branch) for convolution, branch in zip(self.convolutions, branches, strict=True)]
        made.append(F.max_pool1d(pooled, 3, stride=1, padding=1))
        x = x + self.dropout(torch.cat(made, dim=1)).transpose(1, 2)
        further: Tensor = self.dropout(self.feed_forward(x).transpose(1, 2))
        return x + further.transpose(1, 2)


def _pool(x: Tensor, present: Tensor) -> Tensor:
    """Mean and maximum over the nodes that are there, `[B, W, 2 * width]`; zero where there is none."""
    there = present.unsqueeze(-1)
    count = there.sum(2)
    mean = (x * there).sum(2) / count.clamp(min=1)
    highest = x.masked_fill(~there, -torch.inf).amax(2)
    return torch.cat([mean, highest.masked_fill(count == 0, 0.0)], dim=-1)


def skeleton_graph(topology: Topology) -> Tensor:
    """How joints hang together: self, parent, mean of the children, `[3, joints, joints]`. Source: ours."""
    joints = len(topology.joints)
    graph = torch.zeros(_RELATIONS - 1, joints, joints)
    graph[0] = torch.eye(joints)
    for child, parent in topology.bones:
        graph[1, child, parent] = 1.0
        graph[2, parent, child] = 1.0
    graph[2] /= graph[2].sum(1, keepdim=True).clamp(min=1)
    return graph


def _relations(body: Body) -> Tensor:
    """Where the adjacencies start: those of the skeleton, mean of all, `[4, nodes, nodes]`."""
    nodes = body.persons * len(body.topology.joints)
    graph = skeleton_graph(body.topology)
    same = torch.stack([torch.block_diag(*[relation] * body.persons) for relation in graph])
    return torch.cat([same, torch.full((1, nodes, nodes), 1 / nodes)])


def _kept(topology: Topology, stream: FurtherStream, root_path: bool) -> Tensor:
    """Which joints of a stream are read: without the root's path not those that stand where the body is."""
    kept = torch.ones(len(topology.joints))
    if not root_path and stream == "local":
        kept[topology.root] = 0
    if not root_path and stream in ("bones", "box_bones"):
        kept[torch.tensor(topology.parents) < 0] = 0
    return kept
