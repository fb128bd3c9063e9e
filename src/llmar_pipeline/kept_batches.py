"""Work on many clips whose results are kept batch by batch, so that a killed run goes on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import claim, set_aside, whole_file
from llmar_pipeline.progress import Progress
from llmar_pipeline.records import check_recorded, record

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


def in_kept_batches(
    items: Sequence[Item],
    batch_size: int,
    work: Callable[[Sequence[Item]], np.ndarray],
    folder: Path | None,
    fingerprint: Mapping[str, Any],
    title: str,
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

    Returns:
        The rows of all items, in their order.

    Source: ours.
    """
    if folder is not None:
        claim(folder, {**fingerprint, "batch_size": batch_size}, f"results of '{title}'")
    results = []
    with Progress(total=len(items), title=title) as progress:
        for start in range(0, len(items), batch_size):
            batch = items[start : start + batch_size]
            file = folder / f"from_{start:07d}.npy" if folder is not None else None
            kept = _read(file, len(batch)) if file is not None and file.exists() else None
            if kept is not None:
                progress.initial += len(batch)  # its time is not that of this run
            result = work(batch) if kept is None else kept
            if file is not None and kept is None:
                with whole_file(file) as stream:
                    np.save(stream, result, allow_pickle=False)
                record(file)
            progress.update(len(batch))
            results.append(result)
    return np.concatenate(results)


def _read(file: Path, rows: int) -> np.ndarray | None:
    """A batch's result; None where the file is not what was written, which is said."""
    try:
        check_recorded(file, "made again")
        result: np.ndarray = np.load(file, allow_pickle=False)
        if len(result) == rows:
            return result
        seen = f"{len(result)} rows, not {rows}"
    except (UserError, ValueError, EOFError, OSError, TypeError) as error:
        seen = " ".join(str(error).split())
    logger.warning("%s cannot be read (%s); set aside as %s, made again", file, seen, set_aside(file))
    return None
