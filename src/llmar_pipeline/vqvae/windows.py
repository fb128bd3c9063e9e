"""Sequences as the VQ-VAE's input: windows of a whole batch in one computation, read as they are needed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.augmentation import Augmentation, AugmentationConfig, draw, plain
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.skeletons.topology import Body, Topology
from llmar_pipeline.training import processes
from llmar_pipeline.vqvae.config import FurtherStream, Stream
from llmar_pipeline.vqvae.streams import from_stream, to_stream
from llmar_pipeline.vqvae.variation import frame_positions, vary

Reading = tuple[int, Augmentation]
"""Number of a clip, and how to read it."""

FramesOf = Callable[[int], np.ndarray]
"""Number of a clip to its [frame, person, joint, coordinate], NaN where missing."""

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


def plain_windows(
    store: SequenceStore,
    names: Sequence[str],
    device: torch.device | str,
    frames: int,
    *streams: FurtherStream,
    at_once: int = 256,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Windows of clips as they are, some clips at a time.

    Args:
        store: where they are.
        names: which.
        device: where windows are wanted.
        frames: of a window.
        *streams: as `Clips.windows` takes them.
        at_once: clips.

    Yields:
        What `Clips.windows` returns.
    """
    for first in range(0, len(names), at_once):
        clips = Clips.load(store, names[first : first + at_once], device)
        yield clips.windows(stacked([clips.plain(clip) for clip in range(len(clips))]), frames, *streams)


class Clips:
    """Many clips, of which a batch reads the frames that it needs; on a GPU all of them, where they fit.

    Attributes:
        device: Where windows come out.
        body: Whose clips they are.
        seen: Which frames of each clip show somebody, [frame] bool; found out when it is asked for.
    """

    def __init__(
        self,
        frames_of: FramesOf,
        lengths: Sequence[int],
        body: Body,
        device: torch.device | str = "cpu",
        memory_share: float = 0.5,
    ) -> None:
        """Clips of known lengths, each read by its number; see `load` and `from_arrays`."""
        self.device, self.body = torch.device(device), body
        self._frames_of, self._lengths = frames_of, lengths
        self._mirror = torch.tensor(body.topology.mirror, device=self.device)
        self.seen: Sequence[np.ndarray] = _Seen(frames_of, len(lengths))
        size = sum(lengths) * (4 * body.channels + body.persons * len(body.topology.joints))
        self._resident = self._everything() if _fits(self.device, size, memory_share) else None

    @classmethod
    def load(
        cls,
        store: SequenceStore,
        names: Sequence[str],
        device: torch.device | str = "cpu",
        memory_share: float = 0.5,
    ) -> "Clips":
        """Clips of a store.

        Args:
            store: where they are.
            names: which; clip number i is names[i].
            device: where windows are wanted.
            memory_share: most of a GPU's free memory that the clips may take. What is larger stays in the
                store, and of each batch only the resampled frames go to the GPU.

        Raises:
            UserError: a name that is not in the store.
        """
        numbers = [store.number(name) for name in names]
        lengths = [store.lengths[number] for number in numbers]
        return cls(lambda clip: store.frames(numbers[clip]), lengths, store.body, device, memory_share)

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
        lengths = [array.shape[1] for array in arrays]
        return cls(lambda clip: arrays[clip].transpose(1, 0, 2, 3), lengths, body, device)

    def __len__(self) -> int:
        return len(self._lengths)

    def plain(self, clip: int) -> Reading:
        """The whole clip as it is."""
        return clip, plain(self._lengths[clip], self.body.topology.coordinates)

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
        points, observed = (
            processes.sent(tensor, self.device) for tensor in self._resample(readings, frames)
        )
        given = {name: processes.sent(tensor, self.device) for name, tensor in readings.items()}
        if "first" in given:
            given["persons"] = processes.sent(self._persons(readings["clip"]), self.device)
        points, observed = vary(points, observed, given, self._mirror, self.body.topology.root)
        seen = observed.unsqueeze(2)
        values = [_channels(to_stream(points, observed, self.body.topology, s) * seen) for s in streams]
        return torch.cat(values, dim=2), _channels(seen.expand_as(points))

    def _resample(self, readings: dict[str, Tensor], frames: int) -> tuple[Tensor, Tensor]:
        """As `transforms.resample`, where the clips lie: what `vqvae.streams` calls points and observed."""
        home = torch.device("cpu") if self._resident is None else self.device
        given = {name: processes.sent(readings[name], home) for name in _IN_TIME & readings.keys()}
        position = frame_positions(given, frames)
        whole = torch.stack([position.floor(), position.ceil()]).long() + given["start"][:, None]
        points, observed, (before, after) = self._at(given["clip"], whole)
        weight = position.frac().float().view(-1, 1, 1)
        seen_before, seen_after = (observed.index_select(0, at).float() for at in (before, after))
        # Where both neighbours are observed 1 - weight and weight, where one is, 1 for that one.
        share_before = seen_before * (1 - weight * seen_after)
        share_after = seen_after * (1 - (1 - weight) * seen_before)
        resampled = points.index_select(0, before) * share_before[:, None]
        resampled += points.index_select(0, after) * share_after[:, None]
        batch = (len(given["clip"]), frames)
        return resampled.unflatten(0, batch), (seen_before + seen_after > 0).unflatten(0, batch)

    def _at(self, clip: Tensor, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where frames [2, B, V] of clips [B] are: in what `_packed` gives, at [2, B * V]."""
        if self._resident is not None:
            points, observed, offsets, _ = self._resident
            return points, observed, (frame + offsets[clip][:, None]).flatten(1)
        longest = int(frame.max()) + 1
        rows = torch.arange(len(clip))[:, None] * longest
        wanted, place = torch.unique(frame + rows, return_inverse=True)
        cuts = np.searchsorted(wanted.numpy(), rows[1:, 0].numpy())
        frames = np.split((wanted % longest).numpy(), cuts)
        read = [self._frames_of(c)[at] for c, at in zip(clip.tolist(), frames, strict=True)]
        return *_packed(read, self.body), place.flatten(1)

    def _everything(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `_packed` gives for all clips, where each begins, its persons; on the device."""
        persons, joints, coordinates = (
            self.body.persons, len(self.body.topology.joints), self.body.topology.coordinates
        )  # fmt: skip
        total, device = sum(self._lengths), self.device
        points = torch.empty(total, coordinates, persons, joints, device=device)
        observed = torch.empty(total, persons, joints, dtype=torch.bool, device=device)
        end = 0
        for first in range(0, len(self), _CLIPS_AT_ONCE):
            block = range(first, min(first + _CLIPS_AT_ONCE, len(self)))
            packed = _packed([self._frames_of(clip) for clip in block], self.body)
            start, end = end, end + len(packed[0])
            points[start:end], observed[start:end] = packed
        offsets = torch.tensor([0, *self._lengths], device=device).cumsum(0)[:-1]
        return points, observed, offsets, self._count(range(len(self))).to(device)

    def _persons(self, clip: Tensor) -> Tensor:
        """How many persons clips [B] have, without the absent ones at the end, [B] int64."""
        if self._resident is not None:
            return self._resident[-1][processes.sent(clip, self.device)]
        return self._count(clip.tolist())

    def _count(self, clips: Iterable[int]) -> Tensor:
        there = (_observed(self._frames_of(clip)).any(axis=(0, 2)) for clip in clips)
        return torch.tensor([1 + int(np.flatnonzero(who).max(initial=0)) for who in there])


class _Seen(Sequence[np.ndarray]):
    """Which frames of each clip show somebody: [frame] bool, of all clips too much to be kept."""

    def __init__(self, frames_of: FramesOf, number: int) -> None:
        self._frames_of, self._number = frames_of, number

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, clip: Any) -> Any:
        return _observed(self._frames_of(range(self._number)[clip])).any(axis=(1, 2))


def _observed(frames: np.ndarray) -> np.ndarray:
    """Of [frame, person, joint, coordinate], the joints that lack no coordinate."""
    missing = np.isnan(frames)
    # Not `any` along so short an axis, which takes four times as long.
    gaps = reduce(np.logical_or, (missing[..., axis] for axis in range(frames.shape[-1])))
    observed: np.ndarray = np.logical_not(gaps)
    return observed


def _packed(clips: Sequence[np.ndarray], body: Body) -> tuple[Tensor, Tensor]:
    """Frames of clips one after the other.

    Args:
        clips: each [frame, person, joint, coordinate], NaN where missing; persons may be left out.
        body: whose clips they are.

    Returns:
        Points [frame, coordinate, person, joint], zero where missing, and which are observed. Coordinates
        stand before joints: one coordinate of all joints is then contiguous memory.
    """
    cuts = np.cumsum([0, *map(len, clips)])
    joints = len(body.topology.joints)
    data = np.full((cuts[-1], body.topology.coordinates, body.persons, joints), np.nan, np.float32)
    for clip, start, end in zip(clips, cuts, cuts[1:], strict=False):
        data[start:end, :, : clip.shape[1]] = clip.transpose(0, 3, 1, 2)
    observed = np.logical_not(np.isnan(data).any(axis=1))
    np.copyto(data, 0, where=np.logical_not(observed)[:, None])
    return torch.from_numpy(data), torch.from_numpy(observed)


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
