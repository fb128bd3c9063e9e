"""Many sequences on disk: ragged, memory-mapped shards and a manifest.

Shard number k is `shard-k.bin`, little-endian float32, all clips one after the other as
`[frame, person, joint, coordinate]` with no padding, and `shard-k.json`, written after it, which names them.
`manifest.json` is written last and says that the store is complete. What is said of each clip stands in
columns. A clip's digest is that of its name, shape and numbers, so it does not matter which shard it lies in.
"""

import hashlib
import json
import mmap
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import accumulate, pairwise, starmap
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.topology import Body, Topology

FORMAT = 3
DIGEST_BYTES = 16  # of each clip
_MAPPED = 2**26  # bytes of shards that are mapped at a time
DTYPE = np.dtype("<f4")
MANIFEST = "manifest.json"


class SequenceStore:
    """A complete store, opened for reading. Iterable; `len`, integer index and `by_name` work.

    Attributes:
        folder: Where it lies.
        names: Clip names in the order in which they were written.
        lengths: Frames of each clip.
        body: Whose sequences they are. Every clip has all its persons: absent ones are NaN.
        shards: Of each shard, the numbers of its clips.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.names: list[str] = manifest["names"]
        self.lengths: list[int] = manifest["frames"]
        topology = TypeAdapter(Topology).validate_python(manifest["topology"])
        self.body = Body(topology, manifest["persons"])
        self._persons: list[int] = manifest["persons_of_clips"]
        digests = bytes.fromhex(manifest["digests"])
        self._digests = np.ndarray((len(digests) // DIGEST_BYTES, DIGEST_BYTES), np.uint8, digests)
        self._index = {name: i for i, name in enumerate(self.names)}
        # Number of each shard's first clip.
        self._first = list(accumulate((shard["clips"] for shard in manifest["shards"]), initial=0))
        self.shards = list(starmap(range, pairwise(self._first)))
        columns = (self.names, self.lengths, self._persons, self._digests)
        if any(len(column) != self._first[-1] for column in columns):
            raise UserError(
                f"{folder / MANIFEST}: expected columns of {self._first[-1]} clips, saw of "
                f"{', '.join(str(len(column)) for column in columns)}; write the store again."
            )
        for number, shard in enumerate(manifest["shards"]):
            _check_size(self._path(number), shard["bytes"])
        self._mapped: dict[int, np.ndarray] = {}
        point = len(topology.joints) * topology.coordinates
        sizes = np.array(self.lengths, np.int64) * np.array(self._persons, np.int64) * point
        starts = np.concatenate([[0], np.cumsum(sizes)])
        self._starts = starts[:-1] - np.repeat(starts[self._first[:-1]], np.diff(self._first))

    @classmethod
    def open(cls, folder: Path) -> "SequenceStore":
        """Opens a store.

        Raises:
            UserError: If there is no complete store, or its manifest does not fit its data.
        """
        path = Path(folder) / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if manifest["format"] != FORMAT:
                raise UserError(
                    f"{path}: expected format {FORMAT}, saw {manifest['format']}; write the store again."
                )
            return cls(path.parent, manifest)
        except FileNotFoundError:
            raise UserError(
                f"{path}: expected a complete sequence store, saw no manifest; run the ingestion to its end."
            ) from None
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            reason = " ".join(repr(error).split())[:200]
            raise UserError(
                f"{path}: expected a store's manifest, saw {reason}; write the store again."
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process maps the files anew instead of being sent their content.
        return SequenceStore.open, (self.folder,)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sequence:
        index = range(len(self))[index]
        frames = self.frames(index)
        data = np.full((self.body.persons, len(frames), *frames.shape[2:]), np.nan, np.float32)
        data[: frames.shape[1]] = frames.transpose(1, 0, 2, 3)
        return Sequence(self.names[index], data)

    def frames(self, index: int) -> np.ndarray:
        """A sequence as it lies on disk, read where it is used.

        Args:
            index: Number of the clip.

        Returns:
            [frame, person, joint, coordinate] float32, without absent persons at the end; not to be written.
        """
        frames, persons = self.lengths[index], self._persons[index]
        joints, coordinates = len(self.body.topology.joints), self.body.topology.coordinates
        start = int(self._starts[index])
        shard = self._map(bisect_right(self._first, index) - 1)
        clip = shard[start : start + frames * persons * joints * coordinates]
        return clip.reshape(frames, persons, joints, coordinates)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all clips: of their names, shapes and numbers, in whatever order and shards they lie."""
        halves = self._digests.view(np.uint64)
        return hashlib.sha256(self._digests[np.lexsort(halves.T)].tobytes()).hexdigest()

    def digest_of(self, clips: Iterable[int]) -> str:
        """SHA-256 of some clips, in their order."""
        return hashlib.sha256(self._digests[np.fromiter(clips, np.int64)].tobytes()).hexdigest()

    def __iter__(self) -> Iterator[Sequence]:
        return (self[i] for i in range(len(self)))

    def _path(self, number: int) -> Path:
        return self.folder / f"shard-{number:05}.bin"

    def _map(self, number: int) -> np.ndarray:
        """A shard's content; few are mapped at a time: what was read of a mapped file counts as memory."""
        if number not in self._mapped:
            with self._path(number).open("rb") as file:
                # Not NumPy's memmap, which takes twice as long: a training opens a shard for every clip.
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            mapped = np.frombuffer(content, DTYPE)
            while self._mapped and mapped.nbytes + sum(x.nbytes for x in self._mapped.values()) > _MAPPED:
                del self._mapped[next(iter(self._mapped))]
            self._mapped[number] = mapped
        return self._mapped[number]

    def number(self, name: str) -> int:
        """Place of the sequence of that name.

        Raises:
            UserError: If there is none.
        """
        if name not in self._index:
            raise UserError(f"{self.folder}: expected a stored name, saw {name!r}; see SequenceStore.names.")
        return self._index[name]

    def by_name(self, name: str) -> Sequence:
        """The sequence of that name.

        Raises:
            UserError: If there is none.
        """
        return self[self.number(name)]


def _check_size(path: Path, expected: int) -> None:
    size = path.stat().st_size if path.is_file() else 0
    if size != expected:
        raise UserError(
            f"{path}: expected {expected} bytes as its manifest says, saw {size}; write the store again."
        )
