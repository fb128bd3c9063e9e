"""Many sequences on disk: ragged, memory-mapped shards and a manifest.

Shard number k is `shard-k.bin`, little-endian float32, all clips one after the other as
`[frame, person, joint, coordinate]` with no padding, and `shard-k.json`, written after it, which names them.
`manifest.json` is written last and says that the store is complete. What is said of each clip stands in
columns. A clip's digest is that of its name, shape and numbers, so it does not matter which shard it lies in.
"""

import hashlib
import json
import logging
import mmap
import os
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from itertools import accumulate, chain, pairwise, starmap
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from pydantic import TypeAdapter, ValidationError

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import differences, folder_aside, room_for, write_json
from llmar_pipeline.records import damage, read_sealed, write_sealed
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.topology import Body, Topology

logger = logging.getLogger(__name__)

CLIPS_PER_SHARD = 1000

_FORMAT = 3
_DIGEST_BYTES = 16  # of each clip
_MAPPED = 2**26  # bytes of shards that are mapped at a time
_DTYPE = np.dtype("<f4")
_MANIFEST = "manifest.json"


def by_shard(names: SequenceOf[str], clips_per_shard: int) -> list[list[int]]:
    """Which clips lie in which shard: a hash of the name says it, so none moves where others come or go.

    The number of shards is a power of two. It doubles, and all clips are put anew, once for each time that
    the number of clips doubles.

    Args:
        names: Of the clips.
        clips_per_shard: So many on the average at most.

    Returns:
        Of each shard, the numbers of its clips, rising; it may be empty.
    """
    number = 1 << (max(len(names) - 1, 0) // clips_per_shard).bit_length()
    shards: list[list[int]] = [[] for _ in range(number)]
    for clip, name in enumerate(names):
        shards[zlib.crc32(name.encode()) % number].append(clip)
    return shards


class Shard:
    """A shard that is being written.

    Attributes:
        notes: Whatever the writer wants to find again with the shard; JSON.
    """

    def __init__(self, file: BinaryIO, persons: int, topology: Topology) -> None:
        self.notes: dict[str, Any] = {}
        self.names: list[str] = []
        self.frames: list[int] = []
        self.persons: list[int] = []
        self.digests: list[str] = []
        self.hash = hashlib.sha256()
        self._file, self._most, self._topology = file, persons, topology

    def append(self, sequence: Sequence) -> None:
        """Adds one sequence.

        Raises:
            UserError: If its shape does not fit the store.
        """
        joints, coordinates = len(self._topology.joints), self._topology.coordinates
        if sequence.data.shape[2:] != (joints, coordinates) or sequence.n_persons > self._most:
            raise UserError(
                f"expected at most {self._most} persons with {joints} joints and {coordinates} "
                f"coordinates, saw {list(sequence.data.shape)} in {sequence.name!r}; "
                "read it with its own corpus."
            )
        content = sequence.data.transpose(1, 0, 2, 3).astype(_DTYPE).tobytes()
        self._file.write(content)
        self.hash.update(content)
        described = f"{sequence.name}\0{sequence.n_frames} {sequence.n_persons}\0".encode()
        self.digests.append(hashlib.blake2b(described + content, digest_size=_DIGEST_BYTES).hexdigest())
        self.names.append(sequence.name)
        self.frames.append(sequence.n_frames)
        self.persons.append(sequence.n_persons)


class StoreWriter:
    """Writes sequences to a folder, shard by shard, in constant memory; a killed writing continues.

    Use it as a context manager. Every shard says what it was made from, as `files.differences` takes it.
    `reuse` takes a shard made from the same over from an earlier, possibly broken-off writing; `shard` writes
    it anew. Shards made from something else are set aside, in a folder beside the store. Leaving the context
    completes the store; leaving it by an exception keeps the finished shards for the next time.

    Args:
        folder: Where to write; made if need be.
        persons: Most persons of a clip.
        topology: The body that the clips are of.
    """

    def __init__(self, folder: Path, persons: int, topology: Topology) -> None:
        self.folder = Path(folder)
        self._persons, self._topology = persons, topology
        self._shards: list[dict[str, Any]] = []
        self._aside: Path | None = None

    def __enter__(self) -> "StoreWriter":
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def reuse(self, made_from: Mapping[str, Any]) -> dict[str, Any] | None:
        """Takes the next shard over if it was made from the same.

        Args:
            made_from: What it should be made from; JSON-able.

        Returns:
            Its notes; None where there is no such shard.
        """
        path = self._path("json")
        try:
            shard = read_sealed(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            shard = {}
        known = shard.get("made_from") if shard.get("format") == _FORMAT else None
        changes = ["of unknown origin"] if known is None else differences(known, made_from)
        if not changes and (wrong := damage(self.folder, shard["files"])) is not None:
            changes = [wrong]
        if changes:
            self._set_aside(path.stem, "; ".join(changes))
            return None
        self._shards.append(shard)
        return dict(shard["notes"])

    def _set_aside(self, stem: str, why: str) -> None:
        """Moves a shard out of the way; the manifest first, which lies beside its own data or nowhere."""
        if self._aside is None:
            self._aside = folder_aside(self.folder)
            logger.warning(
                "sequences, %s first: %s; set aside as %s, made again", stem, why, self._aside
            )  # fmt: skip
        for name in (_MANIFEST, f"{stem}.json", f"{stem}.bin"):
            if (self.folder / name).exists():
                os.replace(self.folder / name, self._aside / name)

    @contextmanager
    def shard(self, made_from: Mapping[str, Any]) -> Iterator[Shard]:
        """Writes the next shard; it is complete when the context is left without an exception."""
        # At no time does a manifest lie beside data that are not its own.
        (self.folder / _MANIFEST).unlink(missing_ok=True)
        self._path("json").unlink(missing_ok=True)
        path = self._path("bin")
        path.unlink(missing_ok=True)
        with room_for(path), path.open("xb") as file:  # anew: what lies there may be a link to elsewhere
            made = Shard(file, self._persons, self._topology)
            yield made
        known = {"bytes": path.stat().st_size, "sha256": made.hash.hexdigest()}
        shard = {
            "format": _FORMAT,
            "made_from": made_from,
            **known,
            "files": {path.name: {**known, "changed": path.stat().st_mtime_ns}},
            "names": made.names,
            "frames": made.frames,
            "persons": made.persons,
            "digests": "".join(made.digests),
            "notes": made.notes,
        }
        write_sealed(self._path("json"), shard, indent=None)
        self._shards.append(shard)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        names = self.column("names")
        if len(set(names)) < len(names):
            twice = next(name for name, times in Counter(names).items() if times > 1)
            raise UserError(f"Store {self.folder}: expected unique names, saw {twice!r} twice; rename one.")
        kept = {f"shard-{number:05}" for number in range(len(self._shards))}
        for path in sorted(self.folder.glob("shard-*")):
            if path.stem not in kept and path.exists():
                self._set_aside(path.stem, "no clips are left for them")
        manifest = {
            "format": _FORMAT,
            "persons": self._persons,
            "topology": asdict(self._topology),
            "shards": [
                {"bytes": shard["bytes"], "sha256": shard["sha256"], "clips": len(shard["names"])}
                for shard in self._shards
            ],
            "names": names,
            "frames": self.column("frames"),
            "persons_of_clips": self.column("persons"),
            "digests": "".join(shard["digests"] for shard in self._shards),
        }
        write_json(self.folder / _MANIFEST, manifest, indent=None)

    def column(self, key: str) -> list[Any]:
        """What is known of all clips so far, shard by shard: their `names`, `frames` or `persons`."""
        return list(chain.from_iterable(shard[key] for shard in self._shards))

    def _path(self, suffix: str) -> Path:
        return self.folder / f"shard-{len(self._shards):05}.{suffix}"


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
        self._digests = np.ndarray((len(digests) // _DIGEST_BYTES, _DIGEST_BYTES), np.uint8, digests)
        self._index = {name: i for i, name in enumerate(self.names)}
        # Number of each shard's first clip.
        self._first = list(accumulate((shard["clips"] for shard in manifest["shards"]), initial=0))
        self.shards = list(starmap(range, pairwise(self._first)))
        columns = (self.names, self.lengths, self._persons, self._digests)
        if any(len(column) != self._first[-1] for column in columns):
            raise UserError(
                f"{folder / _MANIFEST}: expected columns of {self._first[-1]} clips, saw of "
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
        path = Path(folder) / _MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if manifest["format"] != _FORMAT:
                raise UserError(
                    f"{path}: expected format {_FORMAT}, saw {manifest['format']}; write the store again."
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
            mapped = np.frombuffer(content, _DTYPE)
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
