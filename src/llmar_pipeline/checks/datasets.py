"""Whether what a run reads is there, and what it writes can be written."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, MemoryDataset

from llmar_pipeline.checks.finding import Finding, in_bytes
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.folder_dataset import FolderDataset
from llmar_pipeline.records import check_recorded

STORES = 2  # as read, and normalised
CHECKPOINTS = 3  # two are kept, while a third is written
_WRITES_A_FOLDER = Callable[[Path], object]
_BYTES_A_WEIGHT = 12  # in float32, with both moments of AdamW


def check_inputs(pipeline: Any, catalog: Any) -> None:
    """Datasets that an earlier pipeline should have written.

    Raises:
        UserError: One is not there, or not as it was written.
    """
    from llmar_pipeline.pipeline_registry import stages  # here: the hooks of every command import this module

    for name in sorted(pipeline.inputs()):
        dataset = catalog.get(name, fallback_to_runtime_pattern=True)
        unable = type(dataset)._exists is AbstractDataset._exists  # it cannot say whether it is there
        if name.startswith("param") or unable:
            continue
        if isinstance(dataset, MemoryDataset) and not dataset.exists():
            raise UserError(
                f"expected the dataset {name} in the catalog, saw it kept in memory by the run that made it: "
                "give it an entry in conf/base/catalog, or make it in the same run"
            )
        maker = next((stage for stage, made in stages().items() if name in made.all_outputs()), None)
        what_to_do = (
            f"run `kedro run --pipelines={maker}` first, with the same --env and --params"
            if maker
            else "put it there, or correct its entry in the catalog"
        )
        if not dataset.exists():
            raise UserError(f"{name} ({place_of(dataset) or dataset}) does not exist: {what_to_do}")
        if (place := recorded_place(dataset)) is not None:
            check_recorded(place, what_to_do)


def check_folders(pipeline: Any, catalog: Any) -> None:
    """What a node has a folder written for must lie in one.

    Raises:
        UserError: Its entry in the catalog is gone, or of another type.
    """
    writers = (node for node in pipeline.nodes if node.func.__annotations__.get("return") == _WRITES_A_FOLDER)
    for name in sorted(name for node in writers for name in node.outputs):
        dataset = catalog.get(name) if name in catalog else None
        if not isinstance(dataset, FolderDataset):
            raise UserError(
                f"catalog entry {name!r}: expected the type {FolderDataset.__module__}.FolderDataset, saw "
                f"{'no entry' if dataset is None else type(dataset).__name__}; restore it in "
                "conf/base/catalog"
            )


def check_outputs(pipeline: Any, catalog: Any) -> None:
    """The nearest existing folder of every output must take a new file.

    Raises:
        UserError: One does not.
    """
    folders = {_nearest(folder): folder for folder in output_folders(pipeline.all_outputs(), catalog)}
    for there, folder in sorted(folders.items()):
        try:
            with tempfile.TemporaryFile(dir=there) as probe:
                probe.write(b"\0" * 65536)
        except OSError as error:
            raise UserError(
                f"cannot write {folder}: {error.strerror}; free some space or choose another output folder "
                "with --params=data_dir=<folder>"
            ) from error


def output_folders(names: Iterable[str], catalog: Any) -> list[Path]:
    """Folders that datasets are written to."""
    outputs = set(names) - {"raw_recordings"}  # only read, and maybe from a read-only place
    files = (place_of(catalog.get(name)) for name in outputs)
    return sorted({file.parent for file in files if file is not None})


def disk(
    folder: Path, store: int | None, whose: str, weights: int, there: Iterable[Path], features: int = 0
) -> Finding:
    """Whether the disk takes what the run will write.

    Args:
        folder: Under which everything is written.
        store: Bytes of one store of the sequences; None where they are not known.
        whose: Sequences they are, where it is not those that lie there.
        weights: How many are trained, of both models together.
        there: Folders of what an earlier run wrote of it.
        features: Bytes of what the language model reads in place of codes.
    """
    nearest = _nearest(folder)
    free = shutil.disk_usage(nearest).free
    if store is None:
        unknown = "how much the sequences need is not known before one of them can be read"
        return Finding("note", "disk", f"{unknown}; {in_bytes(free)} free at {nearest}")
    trained = CHECKPOINTS * _BYTES_A_WEIGHT * weights
    text = f"about {in_bytes(STORES * store)} for the sequences{whose}, as read and normalised"
    text += f", and {in_bytes(trained)} for checkpoints" if trained else ""
    text += f", and {in_bytes(features)} for features in place of codes" if features else ""
    written = sum(path.stat().st_size for parts in there for path in parts.rglob("*") if path.is_file())
    text += f", {in_bytes(written)} of it there already" if written else ""
    text += f"; {in_bytes(free)} free at {nearest}"
    if STORES * store + trained + features - written > free:
        return Finding("missing", "disk", f"{text}: free some space, or --params=data_dir=<folder>")
    return Finding("ok", "disk", text)


def place_of(dataset: Any, saved: bool = False) -> Path | None:
    """Where a dataset lies on this machine.

    Args:
        dataset: Of the catalog; None where it is not in it, and so in memory.
        saved: Of a versioned one, the version that was just saved, not the folder of all.

    Returns:
        None for one in memory, elsewhere than on this machine, or that does not say.
    """
    path = getattr(dataset, "_filepath", None)
    if path is None or getattr(dataset, "_protocol", "file") != "file":
        return None
    version = dataset.resolve_save_version() if saved and hasattr(dataset, "resolve_save_version") else None
    return Path(path, version, Path(path).name) if version else Path(path)


def recorded_place(dataset: Any, saved: bool = False) -> Path | None:
    """The file or whole folder of a dataset whose content is recorded; of a handle there is none."""
    path = place_of(dataset, saved)
    if isinstance(dataset, FolderDataset):
        return path if dataset.whole else None
    return None if path is None or path.is_dir() else path


def _nearest(folder: Path) -> Path:
    """The folder itself, or the first above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.exists(path))
