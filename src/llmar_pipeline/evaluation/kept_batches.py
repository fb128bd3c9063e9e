"""Work on many clips whose results are kept batch by batch, so that a killed evaluation goes on."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from llmar_pipeline.progress import Progress
from llmar_pipeline.training.checkpoints import FINGERPRINT, write_json

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


def in_kept_batches(
    items: Sequence[Item],
    batch_size: int,
    work: Callable[[Sequence[Item]], np.ndarray],
    folder: Path,
    fingerprint: Mapping[str, Any],
    title: str,
) -> np.ndarray:
    """Apply `work` to batches of items, except where its result is already on disk.

    Batches are those of an uninterrupted run, so the result is the same to the last bit.

    Args:
        items: At least one.
        batch_size: Items in a batch.
        work: Items of a batch to an array with a row each; numbers or text.
        folder: One file a batch, each under its name only once it is whole.
        fingerprint: What the results depend on, JSON-able; results of another are discarded.
        title: Of the progress bar.

    Returns:
        The rows of all items, in their order.

    Source: ours.
    """
    _prepare(folder, json.loads(json.dumps({**fingerprint, "batch_size": batch_size})))
    results = []
    with Progress(total=len(items), title=title) as progress:
        for start in range(0, len(items), batch_size):
            batch, file = items[start : start + batch_size], folder / f"from_{start:07d}.npy"
            if file.exists():
                result = np.load(file, allow_pickle=False)
                progress.initial += len(batch)  # its time is not that of this run
            else:
                result = work(batch)
                _write(file, result)
            progress.update(len(batch))
            results.append(result)
    return np.concatenate(results)


def _prepare(folder: Path, fingerprint: dict[str, Any]) -> None:
    """Empty a folder of other results; one without a fingerprint may come of a run killed while emptying."""
    known = folder / FINGERPRINT
    if known.exists() and json.loads(known.read_text(encoding="utf-8")) == fingerprint:
        return
    if known.exists():
        logger.warning("model, sentences or settings changed since the scores in %s: starting over", folder)
    if folder.exists():
        shutil.rmtree(folder)
    write_json(known, fingerprint)


def _write(file: Path, result: np.ndarray) -> None:
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        np.save(stream, result, allow_pickle=False)
    os.replace(temporary, file)
