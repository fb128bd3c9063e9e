"""Input streams: ways to write one motion as numbers, those that the decoder gives back with their inverse.

Tensors are `[B, frame, coordinate, person, joint]`, zero where missing; `observed`, which has no coordinate,
says where they are not. What is observed comes back exactly (but for rounding).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from llmar_pipeline.skeletons.topology import Topology
from llmar_pipeline.vqvae.config import FurtherStream, Stream

_FLAT = 1e-4  # units of the data; of a shorter side nothing but noise would be spread over the box
_STEP_SCALE = 10.0  # a person walks some centimetres a frame; limbs reach decimetres


def to_stream(points: Tensor, observed: Tensor, topology: Topology, stream: FurtherStream) -> Tensor:
    """Write joint positions as a stream.

    Args:
        points: positions, [B, frame, coordinate, person, joint], zero where missing.
        observed: [B, frame, person, joint] bool.
        topology: names root and parents.
        stream: `joints`: the positions themselves. `local`: joints relative to their person's root joint in
            the same frame, the root as it is. `bones`: joints relative to their parents, the tree's top as it
            is. `motion`: each joint's step since the frame before, times 10; the first observation stands for
            itself. `local_motion`: the same of `local`. `box`: joints in the box around all that the window
            shows, from -1 to 1 along each axis; `box_bones` and `box_motion`: bones and motion of these.

    Returns:
        A tensor of the same shape; what it says of a missing joint means nothing.

    Source: bones and motion: the field's streams (2s-AGCN, CTR-GCN); local: ours, after the lineage's motion
        features (HumanML3D), which part the root's path from the pose; box: the field's loaders of NW-UCLA.
    """
    if stream in ("box", "box_bones", "box_motion"):
        boxed = _boxed(points, observed)
        inside: dict[str, Stream] = {"box": "joints", "box_bones": "bones", "box_motion": "motion"}
        return to_stream(boxed, observed, topology, inside[stream])
    if stream == "local":
        root = slice(topology.root, topology.root + 1)
        values = points - _held(points[..., root], observed[..., root])
        values[..., root] = points[..., root]
        return values
    if stream == "bones":
        held = _held(points, observed)
        # Joint by joint: an index tensor would have to travel to the GPU, which waits for all work before.
        return torch.stack(
            [
                points[..., joint] - held[..., parent] if parent >= 0 else points[..., joint]
                for joint, parent in enumerate(topology.parents)
            ],
            dim=-1,
        )
    if stream == "local_motion":
        return to_stream(to_stream(points, observed, topology, "local"), observed, topology, "motion")
    if stream == "motion":
        before = F.pad(_held(points, observed)[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
        return (points - before) * _STEP_SCALE
    return points


def from_stream(values: Tensor, observed: Tensor, topology: Topology, stream: Stream) -> Tensor:
    """Inverse of `to_stream`, differentiable.

    Args:
        values: the stream, [B, frame, coordinate, person, joint], zero where missing.
        observed: [B, frame, person, joint] bool.
        topology: names root and parents.
        stream: what `values` are.

    Returns:
        Joint positions, same shape; what it says of a missing joint means nothing.
    """
    if stream == "local_motion":
        local = from_stream(values, observed, topology, "motion")
        return from_stream(local, observed, topology, "local")
    if stream == "local":
        root = slice(topology.root, topology.root + 1)
        held = _held(values[..., root], observed[..., root])
        before, after = values[..., : root.start] + held, values[..., root.stop :] + held
        return torch.cat([before, values[..., root], after], dim=-1)
    if stream == "bones":
        points: dict[int, Tensor] = {}
        for joint in sorted(range(len(topology.joints)), key=lambda joint: _depth(joint, topology)):
            own, parent = values[..., joint : joint + 1], topology.parents[joint]
            at_parent = slice(parent, parent + 1)
            points[joint] = own + _held(points[parent], observed[..., at_parent]) if parent >= 0 else own
        return torch.cat([points[joint] for joint in range(len(points))], dim=-1)
    return values.cumsum(1) / _STEP_SCALE if stream == "motion" else values


def _boxed(points: Tensor, observed: Tensor) -> Tensor:
    """Brought to -1 to 1 along each axis over frames, persons and joints; zero along a flat one."""
    absent, all_but_axes = ~observed.unsqueeze(2), (1, 3, 4)
    low = points.masked_fill(absent, torch.inf).amin(all_but_axes, keepdim=True)
    high = points.masked_fill(absent, -torch.inf).amax(all_but_axes, keepdim=True)
    flat = high - low <= _FLAT  # or nobody is there
    factor = torch.where(flat, 0.0, 2 / (high - low))
    return points * factor - torch.where(flat, 0.0, (high + low) / 2) * factor


def _held(points: Tensor, observed: Tensor) -> Tensor:
    """Where missing, the last observation before; zero before the first."""
    frames = torch.arange(points.shape[1], device=points.device).view(-1, 1, 1)
    last = (
        (frames * observed).cummax(1).values
    )  # frame 0 where there is none yet; missing, it is zeroed below
    return (points * observed.unsqueeze(2)).gather(1, last.unsqueeze(2).expand_as(points))


def _depth(joint: int, topology: Topology) -> int:
    parent = topology.parents[joint]
    return 0 if parent < 0 else 1 + _depth(parent, topology)
