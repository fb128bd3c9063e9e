"""A store of sequences, written shard by shard; see `store` for what lies in it."""

import hashlib
import logging
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import differences, folder_aside, room_for, write_json
from llmar_pipeline.records import damage, read_sealed, write_sealed
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import DIGEST_BYTES, DTYPE, FORMAT, MANIFEST
from llmar_pipeline.skeletons.topology import Topology

logger = logging.getLogger(__name__)

CLIPS_PER_SHARD = 1000


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
        content = sequence.data.transpose(1, 0, 2, 3).astype(DTYPE).tobytes()
        self._file.write(content)
        self.hash.update(content)
        described = f"{sequence.name}\0{sequence.n_frames} {sequence.n_persons}\0".encode()
        self.digests.append(hashlib.blake2b(described + content, digest_size=DIGEST_BYTES).hexdigest())
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
        known = shard.get("made_from") if shard.get("format") == FORMAT else None
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
        for name in (MANIFEST, f"{stem}.json", f"{stem}.bin"):
            if (self.folder / name).exists():
                os.replace(self.folder / name, self._aside / name)

    @contextmanager
    def shard(self, made_from: Mapping[str, Any]) -> Iterator[Shard]:
        """Writes the next shard; it is complete when the context is left without an exception."""
        # At no time does a manifest lie beside data that are not its own.
        (self.folder / MANIFEST).unlink(missing_ok=True)
        self._path("json").unlink(missing_ok=True)
        path = self._path("bin")
        path.unlink(missing_ok=True)
        with room_for(path), path.open("xb") as file:  # anew: what lies there may be a link to elsewhere
            made = Shard(file, self._persons, self._topology)
            yield made
        known = {"bytes": path.stat().st_size, "sha256": made.hash.hexdigest()}
        shard = {
            "format": FORMAT,
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
            "format": FORMAT,
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
        write_json(self.folder / MANIFEST, manifest, indent=None)

    def column(self, key: str) -> list[Any]:
        """What is known of all clips so far, shard by shard: their `names`, `frames` or `persons`."""
        return list(chain.from_iterable(shard[key] for shard in self._shards))

    def _path(self, suffix: str) -> Path:
        return self.folder / f"shard-{len(self._shards):05}.{suffix}"
