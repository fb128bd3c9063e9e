"""Many sequences on disk: ragged, memory-mapped shards and a manifest.

Shard number k is `shard-k.bin`, little-endian float32, all clips one after the other as
`[frame, person, joint, coordinate]` with no padding, and `shard-k.json`, written after it, which names them.
`manifest.json` is written last and says that the store is complete.
"""

import hashlib
import json
import logging
import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import accumulate
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

_FORMAT = 2
_MAPPED = 2**28  # bytes of shards that are mapped at a time
_DTYPE = np.dtype("<f4")
_MANIFEST = "manifest.json"


class Shard:
    """A shard that is being written.

    Attributes:
        notes: Whatever the writer wants to find again with the shard; JSON.
    """

    def __init__(self, file: BinaryIO, persons: int, topology: Topology) -> None:
        self.notes: dict[str, Any] = {}
        self.names: list[str] = []
        self.shapes: list[tuple[int, int]] = []  # frames and persons of each clip
        self.hash = hashlib.sha256()
        self._file, self._persons, self._topology = file, persons, topology

    def append(self, sequence: Sequence) -> None:
        """Adds one sequence.

        Raises:
            UserError: If its shape does not fit the store.
        """
        joints, coordinates = len(self._topology.joints), self._topology.coordinates
        if sequence.data.shape[2:] != (joints, coordinates) or sequence.n_persons > self._persons:
            raise UserError(
                f"expected at most {self._persons} persons with {joints} joints and {coordinates} "
                f"coordinates, saw {list(sequence.data.shape)} in {sequence.name!r}; "
                "read it with its own corpus."
            )
        content = sequence.data.transpose(1, 0, 2, 3).astype(_DTYPE).tobytes()
        self._file.write(content)
        self.hash.update(content)
        self.names.append(sequence.name)
        self.shapes.append((sequence.n_frames, sequence.n_persons))


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
                "sequences from %s on: %s; set aside as %s, made again", stem, why, self._aside
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
            "shapes": made.shapes,
            "notes": made.notes,
        }
        write_sealed(self._path("json"), shard, indent=None)
        self._shards.append(shard)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        names = [name for shard in self._shards for name in shard["names"]]
        if len(set(names)) < len(names):
            twice = next(name for i, name in enumerate(names) if name in names[:i])
            raise UserError(f"Store {self.folder}: expected unique names, saw {twice!r} twice; rename one.")
        kept = {f"shard-{number:05}" for number in range(len(self._shards))}
        for path in sorted(self.folder.glob("shard-*")):
            if path.stem not in kept and path.exists():
                self._set_aside(path.stem, "no clips are left for them")
        manifest = {
            "format": _FORMAT,
            "persons": self._persons,
            "topology": asdict(self._topology),
            "shards": [{key: shard[key] for key in ("bytes", "sha256")} for shard in self._shards],
            "clips": [len(shard["names"]) for shard in self._shards],
            "names": names,
            "shapes": [shape for shard in self._shards for shape in shard["shapes"]],
        }
        write_json(self.folder / _MANIFEST, manifest, indent=None)

    def _path(self, suffix: str) -> Path:
        return self.folder / f"shard-{len(self._shards):05}.{suffix}"


class SequenceStore:
    """A complete store, opened for reading. Iterable; `len`, integer index and `by_name` work.

    Attributes:
        folder: Where it lies.
        names: Clip names in the order in which they were written.
        lengths: Frames of each clip.
        body: Whose sequences they are. Every clip has all its persons: absent ones are NaN.
        digest: SHA-256 of the shards' own, as recorded when they were written.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.names: list[str] = manifest["names"]
        self.lengths: list[int] = [frames for frames, _ in manifest["shapes"]]
        topology = TypeAdapter(Topology).validate_python(manifest["topology"])
        self.body = Body(topology, manifest["persons"])
        sums = "".join(shard["sha256"] for shard in manifest["shards"])
        self.digest: str = hashlib.sha256(sums.encode()).hexdigest()
        self._shapes: list[tuple[int, int]] = manifest["shapes"]
        self._index = {name: i for i, name in enumerate(self.names)}
        self._first = list(accumulate(manifest["clips"], initial=0))  # number of each shard's first clip
        if len(self.names) != len(self._shapes) or len(self.names) != self._first[-1]:
            raise UserError(
                f"{folder / _MANIFEST}: expected as many shapes as names, saw {len(self._shapes)} and "
                f"{len(self.names)}; write the store again."
            )
        for number, shard in enumerate(manifest["shards"]):
            _check_size(self._path(number), shard["bytes"])
        self._mapped: dict[int, np.ndarray] = {}
        point = len(topology.joints) * topology.coordinates
        starts = np.cumsum([0, *(frames * persons * point for frames, persons in self._shapes)])
        self._starts = starts[:-1] - np.repeat(starts[self._first[:-1]], manifest["clips"])

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
        frames, persons = self._shapes[index]
        joints, coordinates = len(self.body.topology.joints), self.body.topology.coordinates
        start = int(self._starts[index])
        shard = self._map(bisect_right(self._first, index) - 1)
        clip = shard[start : start + frames * persons * joints * coordinates]
        return clip.reshape(frames, persons, joints, coordinates)

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
