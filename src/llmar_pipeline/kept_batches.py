"""Work on many clips whose results are kept batch by batch, so that a killed run goes on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import claim, made_from, set_aside, whole_file
from llmar_pipeline.progress import Progress
from llmar_pipeline.records import check_recorded, record

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
_UNREADABLE = (UserError, ValueError, EOFError, OSError, TypeError)


def in_kept_batches(
    items: Sequence[Item],
    batch_size: int,
    work: Callable[[Sequence[Item]], np.ndarray],
    folder: Path | None,
    fingerprint: Mapping[str, Any],
    title: str,
    others: Sequence[Path] = (),
) -> np.ndarray:
    """Apply `work` to batches of items, except where its result is already on disk.

    Batches are those of an uninterrupted run, so the result is the same to the last bit.

    Args:
        items: At least one.
        batch_size: Items in a batch.
        work: Items of a batch to an array with a row each; numbers or text.
        folder: One file a batch, each under its name only once it is whole; None: nothing is kept.
        fingerprint: What the results depend on, as `files.claim` takes it; results of another are set aside.
        title: Of the progress bar.
        others: Such folders of other runs; batches that one of the same fingerprint holds are taken over.

    Returns:
        The rows of all items, in their order.

    Source: ours.
    """
    origin = {**fingerprint, "batch_size": batch_size}
    if folder is not None:
        claim(folder, origin, f"results of '{title}'")
    same = [other for other in others if made_from(other, origin)]
    results = []
    with Progress(total=len(items), title=title) as progress:
        for start in range(0, len(items), batch_size):
            batch = items[start : start + batch_size]
            file = folder / f"from_{start:07d}.npy" if folder is not None else None
            kept = _read(file, len(batch)) if file is not None and file.exists() else None
            found = kept if kept is not None or file is None else _taken(file.name, len(batch), same, origin)
            if found is not None:
                progress.initial += len(batch)  # its time is not that of this run
            result = work(batch) if found is None else found
            if file is not None and kept is None:
                with whole_file(file) as stream:
                    np.save(stream, result, allow_pickle=False)
                record(file)
            progress.update(len(batch))
            results.append(result)
    return np.concatenate(results)


def _taken(name: str, rows: int, others: Sequence[Path], origin: Mapping[str, Any]) -> np.ndarray | None:
    """The first of others' results that is whole; what is wrong with the rest is for others to say."""
    for other in others:
        try:
            if (other / name).exists():
                result = _whole(other / name, rows)
                if made_from(other, origin):  # still: its run may have begun anew meanwhile
                    return result
        except _UNREADABLE:
            continue
    return None


def _read(file: Path, rows: int) -> np.ndarray | None:
    """A batch's result; None where the file is not what was written, which is said."""
    try:
        return _whole(file, rows)
    except _UNREADABLE as error:
        seen = " ".join(str(error).split())
    logger.warning("%s cannot be read (%s); set aside as %s, made again", file, seen, set_aside(file))
    return None


def _whole(file: Path, rows: int) -> np.ndarray:
    check_recorded(file, "made again")
    result: np.ndarray = np.load(file, allow_pickle=False)
    if len(result) != rows:
        raise ValueError(f"{len(result)} rows, not {rows}")
    return result
