"""Sequences as the VQ-VAE's input: all clips in one tensor, windows of a whole batch in one computation."""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.augmentation import Augmentation, AugmentationConfig, draw, plain
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.skeletons.topology import Body, Topology
from llmar_pipeline.vqvae.config import FurtherStream, Stream
from llmar_pipeline.vqvae.streams import from_stream, to_stream
from llmar_pipeline.vqvae.variation import frame_positions, vary

Reading = tuple[int, Augmentation]
"""Number of a clip, and how to read it."""

_CLIPS_AT_ONCE = 1000
_IN_TIME = {"clip", "start", "length", "seed", "scattered", "sway"}  # of a reading, what finds its frames


def stacked(readings: Sequence[Reading]) -> dict[str, Tensor]:
    """Readings as tensors; a data loader's `collate_fn`.

    Args:
        readings: numbers of clips and how to read them.

    Returns:
        clip, start, length [B] int64; matrix [B, coordinate, coordinate] float32. Only where a reading needs
        them, [B] each: mirror and scattered bool; noise, joint_dropout and first float32; seed int64; sway
        complex64.
    """
    augmentations = [augmentation for _, augmentation in readings]
    packed = {
        "clip": torch.tensor([clip for clip, _ in readings]),
        "start": torch.tensor([a.start for a in augmentations]),
        "length": torch.tensor([a.length for a in augmentations]),
        "matrix": torch.from_numpy(np.stack([a.matrix for a in augmentations])),
    }
    for name in ("mirror", "noise", "seed", "joint_dropout", "sway", "scattered", "first"):
        values = [getattr(a, name) for a in augmentations]
        if any(values):
            packed[name] = torch.tensor(values)
    return packed


class Clips:
    """All frames of many clips in one tensor, on the device where it fits, else in the CPU's memory.

    Attributes:
        device: Where windows come out.
        body: Whose clips they are.
        seen: Which frames of each clip show somebody, [frame] bool.
    """

    def __init__(
        self,
        arrays: Iterable[np.ndarray],
        lengths: Sequence[int],
        body: Body,
        device: torch.device | str = "cpu",
        memory_share: float = 0.5,
    ) -> None:
        """Copies arrays of known lengths one after the other; see `load` and `from_arrays`."""
        self.device, self.body = torch.device(device), body
        persons, joints, coordinates = body.persons, len(body.topology.joints), body.topology.coordinates
        size = sum(lengths) * (4 * body.channels + persons * joints)
        home = self.device if _fits(self.device, size, memory_share) else torch.device("cpu")
        # Coordinates before joints: one coordinate of all joints is then contiguous memory.
        self._frames = torch.empty(sum(lengths), coordinates, persons, joints, device=home)
        self._observed = torch.empty(sum(lengths), persons, joints, dtype=torch.bool, device=home)
        self._offsets = torch.tensor([0, *lengths], device=home).cumsum(0)[:-1]
        self._mirror = torch.tensor(body.topology.mirror, device=self.device)
        self.seen: list[np.ndarray] = []
        counts: list[int] = []  # of persons, without the absent ones at the end
        arrays, end = iter(arrays), 0
        while block := list(islice(arrays, _CLIPS_AT_ONCE)):
            cuts = np.cumsum([array.shape[1] for array in block])
            data = np.full((cuts[-1], coordinates, persons, joints), np.nan, np.float32)
            for array, place in zip(block, np.split(data, cuts[:-1]), strict=True):
                place[:, :, : len(array)] = array.transpose(1, 3, 0, 2)
            observed = np.logical_not(np.isnan(data).any(axis=1))
            data[~np.broadcast_to(observed[:, None], data.shape)] = 0
            start, end = end, end + len(data)
            self._frames[start:end] = torch.from_numpy(data)
            self._observed[start:end] = torch.from_numpy(observed)
            there = np.any(observed, axis=2)
            self.seen += np.split(np.any(there, axis=1), cuts[:-1])
            who = [np.flatnonzero(np.any(clip, axis=0)) for clip in np.split(there, cuts[:-1])]
            counts += [1 + int(numbers.max(initial=0)) for numbers in who]
        self._persons = torch.tensor(counts, dtype=torch.int64, device=self.device)

    @classmethod
    def load(
        cls,
        store: SequenceStore,
        names: Sequence[str],
        device: torch.device | str = "cpu",
        memory_share: float = 0.5,
    ) -> "Clips":
        """Read clips of a store.

        Args:
            store: where they are.
            names: which; clip number i is names[i].
            device: where windows are wanted.
            memory_share: most of a GPU's free memory that the clips may take. What is larger stays in the
                CPU's memory, and of each batch only the resampled frames go to the GPU.

        Raises:
            UserError: a name that is not in the store.
        """
        known = dict(zip(store.names, store.lengths, strict=True))
        # Of an unknown name, `by_name` says what is wrong.
        lengths = [known[name] if name in known else store.by_name(name).n_frames for name in names]
        arrays = (store.by_name(name).data for name in names)
        return cls(arrays, lengths, store.body, device, memory_share)

    @classmethod
    def from_arrays(
        cls,
        arrays: Sequence[np.ndarray],
        body: Body,
        device: torch.device | str = "cpu",
    ) -> "Clips":
        """Clips that are in memory.

        Args:
            arrays: each [person, frame, joint, coordinate], NaN where missing.
            body: whose clips they are; persons whom a clip lacks are absent.
            device: where windows are wanted.

        Raises:
            UserError: an array of another shape.
        """
        joints, coordinates = len(body.topology.joints), body.topology.coordinates
        for number, array in enumerate(arrays):
            if array.ndim != 4 or array.shape[2:] != (joints, coordinates) or not array.size:
                raise UserError(
                    f"clip {number}: expected [person, frame, joint, coordinate] with {joints} joints of "
                    f"{coordinates} coordinates, saw {list(array.shape)}; convert it first."
                )
            if len(array) > body.persons:
                raise UserError(
                    f"clip {number}: expected at most {body.persons} persons, saw {len(array)}; "
                    "leave some out."
                )
        return cls(arrays, [array.shape[1] for array in arrays], body, device)

    def __len__(self) -> int:
        return len(self.seen)

    def plain(self, clip: int) -> Reading:
        """The whole clip as it is."""
        return clip, plain(len(self.seen[clip]), self.body.topology.coordinates)

    def random(self, clip: int, config: AugmentationConfig, rng: np.random.Generator) -> Reading:
        """A random reading of a clip; see `skeletons.augmentation.draw`."""
        return clip, draw(config, self.seen[clip], self.body.topology.coordinates, rng)

    def windows(
        self, readings: dict[str, Tensor], frames: int, *streams: FurtherStream
    ) -> tuple[Tensor, Tensor]:
        """Read clips, each resampled to a fixed number of frames, as one stream or several.

        A window depends on its own reading alone, not on the others of its batch. A joint that lacks one
        coordinate counts as missing.

        Args:
            readings: what `stacked` gives, on any device.
            frames: V.
            streams: what the channels are.

        Returns:
            (motion [B, V, streams * channels] float32, zero where missing; mask [B, V, channels], True where
            observed), on `device`. Channels are persons, of each the joints, of each the coordinates.

        Source: input channels as in the lineage; resampling ours.
        """
        points, observed = (_send(tensor, self.device) for tensor in self._resample(readings, frames))
        given = {name: _send(tensor, self.device) for name, tensor in readings.items()}
        points, observed = vary(points, observed, given, self._mirror, self.body.topology.root, self._persons)
        seen = observed.unsqueeze(2)
        values = [_channels(to_stream(points, observed, self.body.topology, s) * seen) for s in streams]
        return torch.cat(values, dim=2), _channels(seen.expand_as(points))

    def _resample(self, readings: dict[str, Tensor], frames: int) -> tuple[Tensor, Tensor]:
        """As `transforms.resample`, where the clips lie: what `vqvae.streams` calls points and observed."""
        home = self._frames.device
        given = {name: _send(readings[name], home) for name in _IN_TIME & readings.keys()}
        clip, start, position = given["clip"], given["start"], frame_positions(given, frames)
        first = (self._offsets[clip] + start)[:, None]
        before = (first + position.floor().long()).flatten()
        after = (first + position.ceil().long()).flatten()
        weight = position.frac().float().view(-1, 1, 1)
        seen_before, seen_after = (self._observed.index_select(0, at).float() for at in (before, after))
        # Where both neighbours are observed 1 - weight and weight, where one is, 1 for that one.
        share_before = seen_before * (1 - weight * seen_after)
        share_after = seen_after * (1 - (1 - weight) * seen_before)
        points = self._frames.index_select(0, before) * share_before[:, None]
        points += self._frames.index_select(0, after) * share_after[:, None]
        batch = (len(clip), frames)
        return points.unflatten(0, batch), (seen_before + seen_after > 0).unflatten(0, batch)


def joint_positions(motion: Tensor, mask: Tensor, topology: Topology, stream: Stream) -> Tensor:
    """Joint positions of windows: the inverse of `Clips.windows`, but for the reading. Differentiable.

    Args:
        motion: [B, V, channels].
        mask: True where the original was observed, same shape.
        topology: the body it is of.
        stream: what the channels are.

    Returns:
        [B, person, V, joint, coordinate], NaN where not observed. NaN passes no gradient on.
    """
    shape = (-1, len(topology.joints), topology.coordinates)
    observed = mask.unflatten(2, shape).all(-1)
    values = motion.unflatten(2, shape).movedim(-1, 2) * observed.unsqueeze(2)
    points = from_stream(values, observed, topology, stream)
    return torch.where(observed.unsqueeze(2), points, torch.nan).permute(0, 3, 1, 4, 2)


def _channels(values: Tensor) -> Tensor:
    return values.permute(0, 1, 3, 4, 2).flatten(2)


def _fits(device: torch.device, size: int, memory_share: float) -> bool:
    """Whether so many bytes may lie on the device. CUDA alone has the double precision of `_resample`."""
    return device.type == "cuda" and size <= memory_share * torch.cuda.mem_get_info(device)[0]


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
