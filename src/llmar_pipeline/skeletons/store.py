"""Many sequences on disk: one ragged, memory-mapped array and a manifest.

`frames.bin` holds little-endian float32 `[frame, person, joint, coordinate]`, all clips one after the
other with no padding in time; `manifest.json` is written last and says that the store is complete.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Sequence

_FORMAT = 1
_DTYPE = "<f4"
_FRAMES, _MANIFEST = "frames.bin", "manifest.json"


class StoreWriter:
    """Writes sequences to a folder, one after the other, in constant memory.

    Use it as a context manager: leaving it completes the store, leaving it by an exception leaves
    whatever store was there before.

    Args:
        folder: Where to write; made if need be.
        persons: Persons kept for each clip; clips with fewer are padded with NaN.
        joints: Joints of each person.
        coordinates: Coordinates of each joint.
    """

    def __init__(self, folder: Path, persons: int, joints: int, coordinates: int) -> None:
        self.folder = Path(folder)
        self._shape = (persons, joints, coordinates)
        self._lengths: dict[str, int] = {}
        self._hash = hashlib.sha256()
        self._file: BinaryIO

    def __enter__(self) -> "StoreWriter":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = (self.folder / f"{_FRAMES}.part").open("wb")
        return self

    def append(self, sequence: Sequence) -> None:
        """Adds one sequence.

        Raises:
            UserError: If its name is taken, or its shape does not fit the store.
        """
        persons, joints, coordinates = self._shape
        if sequence.data.shape[2:] != (joints, coordinates) or sequence.n_persons > persons:
            raise UserError(
                f"Store {self.folder}: expected at most {persons} persons with {joints} joints and "
                f"{coordinates} coordinates, saw {list(sequence.data.shape)} in {sequence.name!r}; "
                "read it with its own corpus."
            )
        if sequence.name in self._lengths:
            raise UserError(
                f"Store {self.folder}: expected unique names, saw {sequence.name!r} twice; rename one."
            )
        frames = np.full((sequence.n_frames, *self._shape), np.nan, dtype=_DTYPE)
        frames[:, : sequence.n_persons] = sequence.data.transpose(1, 0, 2, 3)
        content = frames.tobytes()
        self._file.write(content)
        self._hash.update(content)
        self._lengths[sequence.name] = sequence.n_frames

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        part = self.folder / f"{_FRAMES}.part"
        if kind is not None:
            part.unlink()
            return
        persons, joints, coordinates = self._shape
        manifest = {
            "format": _FORMAT,
            "dtype": _DTYPE,
            "persons": persons,
            "joints": joints,
            "coordinates": coordinates,
            "sha256": self._hash.hexdigest(),
            "names": list(self._lengths),
            "lengths": list(self._lengths.values()),
        }
        # The old manifest goes first: at no time does a manifest lie beside data that are not its own.
        (self.folder / _MANIFEST).unlink(missing_ok=True)
        os.replace(part, self.folder / _FRAMES)
        manifest_part = self.folder / f"{_MANIFEST}.part"
        manifest_part.write_text(json.dumps(manifest), encoding="utf-8")
        os.replace(manifest_part, self.folder / _MANIFEST)


class SequenceStore:
    """A complete store, opened for reading. Iterable; `len`, integer index and `by_name` work.

    Attributes:
        folder: Where it lies.
        names: Clip names in the order in which they were written.
        lengths: Frames of each clip.
        persons: Persons of every clip, absent ones included.
        joints: Joints of each person.
        coordinates: Coordinates of each joint.
        digest: SHA-256 of the data file, as recorded when it was written.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.names: list[str] = manifest["names"]
        self.lengths: list[int] = manifest["lengths"]
        self.persons: int = manifest["persons"]
        self.joints: int = manifest["joints"]
        self.coordinates: int = manifest["coordinates"]
        self.digest: str = manifest["sha256"]
        self._ends = np.cumsum(self.lengths, dtype=np.int64)
        self._index = {name: i for i, name in enumerate(self.names)}
        total = int(self._ends[-1]) if self.names else 0
        shape = (total, self.persons, self.joints, self.coordinates)
        path = folder / _FRAMES
        size = path.stat().st_size if path.is_file() else 0
        wanted = int(np.prod(shape, dtype=np.int64)) * np.dtype(_DTYPE).itemsize
        if size != wanted or len(self.names) != len(self.lengths):
            raise UserError(
                f"{path}: expected {wanted} bytes as its manifest says, saw {size}; write the store again."
            )
        self._frames = (
            np.memmap(path, dtype=_DTYPE, mode="r", shape=shape) if total else np.empty(shape, _DTYPE)
        )

    @classmethod
    def open(cls, folder: Path) -> "SequenceStore":
        """Opens a store.

        Raises:
            UserError: If there is no complete store, or its manifest does not fit its data.
        """
        path = Path(folder) / _MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            seen = (manifest["format"], manifest["dtype"])
            if seen != (_FORMAT, _DTYPE):
                raise UserError(
                    f"{path}: expected format {(_FORMAT, _DTYPE)}, saw {seen}; write the store again."
                )
            return cls(path.parent, manifest)
        except FileNotFoundError:
            raise UserError(
                f"{path}: expected a complete sequence store, saw no manifest; run the ingestion to its end."
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: expected a store's manifest, saw {error!r}; write the store again."
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process maps the file anew instead of being sent its content.
        return SequenceStore.open, (self.folder,)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sequence:
        index = range(len(self))[index]
        end = int(self._ends[index])
        frames = self._frames[end - self.lengths[index] : end]
        return Sequence(self.names[index], np.array(frames.transpose(1, 0, 2, 3), np.float32, order="C"))

    def __iter__(self) -> Iterator[Sequence]:
        return (self[i] for i in range(len(self)))

    def by_name(self, name: str) -> Sequence:
        """The sequence of that name.

        Raises:
            UserError: If there is none.
        """
        if name not in self._index:
            raise UserError(f"{self.folder}: expected a stored name, saw {name!r}; see SequenceStore.names.")
        return self[self._index[name]]
