"""Work on many clips whose results are kept, so that a killed run goes on."""

import hashlib
import io
import logging
import os
import struct
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import claim, made_from, room_for, set_aside, whole_file
from llmar_pipeline.progress import Progress
from llmar_pipeline.records import check_recorded, record

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
_UNREADABLE = (UserError, ValueError, EOFError, OSError, TypeError, KeyError, zipfile.BadZipFile)

CLIPS_A_FILE = 1000
_FILES = 128  # at least, where there are as many clips, so that many processes have about as much to do each
_FEWEST = 8  # clips a file
_FORMAT = 3  # parts of up to a thousand clips; in the second one of a thousand
_SEEN_AFTER = 120.0  # seconds at most, until a shared folder shows what another machine wrote
_HEAD = struct.Struct("<Q32s")  # before each result of a part that is not complete: bytes, SHA-256


@dataclass(frozen=True)
class Part:
    """Items whose results are kept in one file.

    Attributes:
        items: Their numbers.
        made_from: What their results depend on beside the fingerprint of all; text.
    """

    items: Sequence[int]
    made_from: str = ""


class Team(Protocol):
    """Processes that share the parts among them."""

    @property
    def first(self) -> bool:
        """Whether this process is the first of them."""

    def deal(self, number: int) -> Iterator[int]:
        """The numbers below one given, each dealt to one process."""

    def meet(self) -> None:
        """Wait until all have come so far."""


def in_kept_batches(
    items: Sequence[Item],
    batch_size: int,
    work: Callable[[Sequence[Item]], np.ndarray],
    folder: Path | None,
    fingerprint: Mapping[str, Any],
    title: str,
    parts: Sequence[Part] = (),
    others: Sequence[Path] = (),
    team: Team | None = None,
) -> np.ndarray:
    """Apply `work` to batches of items, except where its result is already on disk.

    Batches are those of an uninterrupted run, so the result is the same to the last bit. Results of a part
    are written one behind the other as they come, each with its checksum, and once they are complete as one
    file, under its name only when it is whole. Neither parts nor batches depend on the processes that share
    them: each part is worked on by one, and read by all from the folder that they have in common.

    Args:
        items: At least one.
        batch_size: Items in a batch; one does not reach beyond its part.
        work: Items of a batch to an array with a row each; numbers or text.
        folder: Of the files; None: nothing is kept.
        fingerprint: What the results depend on, as `files.claim` takes it; results of another are set aside.
        title: Of the progress bar.
        parts: Every item once; by default up to `CLIPS_A_FILE` that follow one another.
        others: Such folders of other runs; parts that one of the same fingerprint holds are taken over.
        team: Processes that call this together; None: this one alone. Where nothing is kept, each does all.

    Returns:
        The rows of all items, in their order.

    Raises:
        UserError: What another process has written is not to be seen in the folder.

    Source: ours.
    """
    if not parts:
        clips = min(CLIPS_A_FILE, max(_FEWEST, len(items) // _FILES))
        size = batch_size * max(1, clips // batch_size)
        starts = range(0, len(items), size)
        parts = [Part(range(start, min(start + size, len(items)))) for start in starts]
    origin = {**fingerprint, "batch_size": batch_size, "format": _FORMAT}
    shared = team if folder is not None else None
    if folder is not None and (shared is None or shared.first):
        claim(folder, origin, f"results of '{title}'")
    if shared is not None:
        shared.meet()
    results: dict[int, np.ndarray] = {}
    total = len(items) if shared is None else None  # how many this process is dealt is not known before
    with Progress(total=total, title=title, disable=not (team is None or team.first)) as progress:
        for number in range(len(parts)) if shared is None else shared.deal(len(parts)):
            part, name = parts[number], _name(number)
            batches = [part.items[at : at + batch_size] for at in range(0, len(part.items), batch_size)]
            of_batches = [[items[item] for item in batch] for batch in batches]
            taken = None
            if folder is not None and not (folder / name).exists():
                taken = _taken(name, part, others, origin)
            results[number] = _of_part(folder, name, part, of_batches, work, progress, taken)
    if shared is not None and folder is not None:
        shared.meet()
        for number in set(range(len(parts))) - results.keys():
            results[number] = _of_another(folder / _name(number), parts[number])
    rows = np.empty((len(items), *results[0].shape[1:]), np.result_type(*results.values()))
    for number in reversed(range(len(parts))):
        rows[np.asarray(parts[number].items)] = results.pop(number)
    return rows


def _name(number: int) -> str:
    return f"part-{number:05}.npz"


def _of_another(file: Path, part: Part) -> np.ndarray:
    """What another process has just completed; a network's file system may show it some time later."""
    end = time.monotonic() + _SEEN_AFTER
    while True:
        try:
            rows = _whole(file, part)
        except _UNREADABLE as error:
            if time.monotonic() > end:
                raise UserError(
                    f"expected {file}, which another process has written, saw that it cannot be "
                    f"read ({error}); see that all machines have the same data_dir, and run again"
                ) from error
            os.listdir(file.parent)  # makes NFS look anew
            time.sleep(0.2)
            continue
        if rows is None:
            raise UserError(f"expected {file} of the same clips, saw others; run again")
        return rows


def _of_part(
    folder: Path | None,
    name: str,
    part: Part,
    batches: Sequence[Sequence[Item]],
    work: Callable[[Sequence[Item]], np.ndarray],
    progress: Progress,
    taken: np.ndarray | None,
) -> np.ndarray:
    if folder is None:
        made = []
        for batch in batches:
            made.append(work(batch))
            progress.update(len(batch))
        return np.concatenate(made)
    file = folder / name
    begun = file.with_suffix(".begun")
    kept = _read(file, part) if file.exists() else None
    if kept is not None or taken is not None:
        progress.initial += len(part.items)  # its time is not that of this run
        progress.update(len(part.items))
    if kept is None and taken is not None:
        kept = _complete(file, part, taken)
    elif kept is None:
        made = _read_begun(begun, part, [len(batch) for batch in batches])
        for batch, _ in zip(batches, made, strict=False):
            progress.initial += len(batch)
            progress.update(len(batch))
        for batch in batches[len(made) :]:
            made.append(work(batch))
            with room_for(begun), begun.open("ab") as stream:
                _append(stream, made[-1])
            progress.update(len(batch))
        kept = _complete(file, part, np.concatenate(made))
    begun.unlink(missing_ok=True)
    return kept


def _complete(file: Path, part: Part, rows: np.ndarray) -> np.ndarray:
    with whole_file(file) as stream:
        np.savez(stream, rows=rows, made_from=np.array(part.made_from))
    record(file)
    return rows


def _taken(name: str, part: Part, others: Sequence[Path], origin: Mapping[str, Any]) -> np.ndarray | None:
    """The first of others' results that is whole; what is wrong with the rest is for others to say."""
    for other in others:
        try:
            if (other / name).exists() and made_from(other, origin):
                rows = _whole(other / name, part)
                if rows is not None and made_from(other, origin):  # still: its run may have begun anew
                    return rows
        except _UNREADABLE:
            continue
    return None


def _read(file: Path, part: Part) -> np.ndarray | None:
    """A part's results; None where the file is not what was written, or for others, which is said."""
    try:
        rows = _whole(file, part)
    except _UNREADABLE as error:
        seen = " ".join(str(error).split())
        logger.warning("%s cannot be read (%s); set aside as %s, made again", file, seen, set_aside(file))
        return None
    if rows is None:
        logger.warning("%s: its clips changed; set aside as %s, made again", file, set_aside(file))
    return rows


def _whole(file: Path, part: Part) -> np.ndarray | None:
    """A part's results; None where they were made from others."""
    check_recorded(file, "made again")
    with np.load(file, allow_pickle=False) as content:
        rows, origin = np.asarray(content["rows"]), str(content["made_from"])
    if origin != part.made_from:
        return None
    if len(rows) != len(part.items):
        raise ValueError(f"{len(rows)} rows, not {len(part.items)}")
    return rows


def _read_begun(file: Path, part: Part, sizes: Sequence[int]) -> list[np.ndarray]:
    """What is there of a part that was not completed; of the file, only that is left.

    A kill may have cut off its last result. Whatever does not have its checksum goes, with all behind it.
    """
    if file.is_symlink():
        file.unlink()
    read: list[np.ndarray] = []
    whole = 0  # bytes
    with room_for(file), file.open("a+b") as stream:
        stream.seek(0)
        for result, end in _results(stream):
            expected = (str(result) == part.made_from) if not whole else _fits(result, sizes[len(read) :])
            if not expected:
                break
            read += [result] if whole else []
            whole = end
        if whole < stream.seek(0, io.SEEK_END) and read:
            logger.warning("%s: what follows %d batches is not whole; made again", file, len(read))
        stream.truncate(whole)
        if not whole:
            _append(stream, np.array(part.made_from))
    return read


def _fits(result: np.ndarray, sizes: Sequence[int]) -> bool:
    return bool(sizes) and result.ndim > 0 and len(result) == sizes[0]


def _append(stream: BinaryIO, result: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, result, allow_pickle=False)
    data = content.getvalue()
    stream.write(_HEAD.pack(len(data), hashlib.sha256(data).digest()) + data)


def _results(stream: BinaryIO) -> Iterator[tuple[np.ndarray, int]]:
    """Whole results one after the other, and where each ends."""
    while len(head := stream.read(_HEAD.size)) == _HEAD.size:
        length, checksum = _HEAD.unpack(head)
        data = stream.read(length) if length < 2**40 else b""
        if len(data) != length or hashlib.sha256(data).digest() != checksum:
            return
        yield np.load(io.BytesIO(data), allow_pickle=False), stream.tell()
