"""Errors that a user can act on in one line, found in whatever was raised."""

import errno
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kedro.io

from llmar_pipeline.errors import UserError, causes
from llmar_pipeline.files import disk_is_full, no_room
from llmar_pipeline.interruption import Interrupted, ending_in_order, interruption
from llmar_pipeline.io.tracking import end_current

_KEDRO_IO = Path(kedro.io.__file__).parent
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
FAILING = (errno.EIO, errno.ESTALE, errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE, errno.ENFILE)
_CATALOG = ("parse_dataset_definition", "from_config")
"""In which Kedro looks for the type of a catalog's entry, and makes it."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a user can put right into one line and exit code 1; leave bugs their traceback.

    A run that is asked to end, or fails outside of its nodes, is closed in MLflow.
    """
    with ending_in_order():
        try:
            yield
        except BaseException as error:
            asked = interruption(error)
            end_current("KILLED" if asked else "FAILED")
            if asked:
                raise _stopped(asked) from error
            message = explain(error)
            if message is None:
                raise
            raise UserError(message) from error


def explain(error: BaseException) -> str | None:
    """The line for a user's mistake, found anywhere in the chain of causes; None for anything else."""
    chain = causes(error)
    for cause in chain:
        if isinstance(cause, UserError):
            return cause.message
        if isinstance(cause, OSError) and cause.errno in READ_ONLY:
            return _cannot_read(cause.filename) or _cannot_write(cause.errno, cause.filename)
        if isinstance(cause, OSError) and cause.errno in FAILING:
            return (
                f"cannot use {cause.filename or 'a file'}: {cause.strerror}; see to the disk, and run again"
            )
        frames = traceback.extract_tb(cause.__traceback__)
        if any(frame.name in _CATALOG and Path(frame.filename).parent == _KEDRO_IO for frame in frames):
            seen = " ".join(str(cause).split())
            return (
                "conf/*/catalog: expected datasets by a type such as pandas.ParquetDataset and its settings, "
                f"saw that one cannot be made ({seen}); correct it"
            )
        if "'load_versions' keys" in str(cause):
            return f"--load-versions: expected datasets of conf/base/catalog, saw others: {cause}"
        if type(cause).__name__ == "ParameterValidationError":
            return _invalid_parameters(str(cause))
    named = [getattr(cause, "filename", None) for cause in chain] + [_place(str(cause)) for cause in chain]
    place = Path(next(filter(None, named), "a file"))
    if disk_is_full(error):
        return no_room(place)
    if str(error).startswith("Failed while loading data from dataset"):  # what Kedro's own datasets read
        reason = " ".join(str(chain[1] if chain[1:] else error).split())[:200]
        return (
            f"expected {place} as a run wrote it, saw that reading fails ({reason}); run the pipeline that "
            "writes it again"
        )
    return None


def _cannot_read(filename: Any) -> str | None:
    """The line for what this user may not read, or for a folder before it; None where all may be read."""
    if not isinstance(filename, str | os.PathLike):
        return None
    path = Path(os.path.abspath(os.fspath(filename)))
    for place in (*reversed(path.parents), path):
        needed = os.X_OK if place != path else os.R_OK | (os.X_OK if place.is_dir() else 0)
        if place.exists() and not os.access(place, needed):
            return (
                f"cannot read {place}: this user has no permission; have its owner give it "
                f"(chmod -R a+rX {place}), or name another place"
            )
    return None


def _stopped(asked: Interrupted) -> UserError:
    """The line for a run that was asked to end, with the exit code that shells give it."""
    error = UserError(
        f"stopped by {asked}: what is finished is kept; the same command goes on from the last checkpoint"
    )
    vars(error)["exit_code"] = 128 + asked.signal
    return error


def _cannot_write(code: int | None, filename: Any) -> str:
    where = f" {filename}" if filename else ""
    return (
        f"cannot write{where}: {os.strerror(code or 0)}; "
        "free some space or choose another output folder with --params=data_dir=<folder>, and run again: "
        "training continues from its last checkpoint"
    )


def _place(text: str) -> str | None:
    """The file of a dataset that Kedro names in an error."""
    found = re.search(r"filepath=(?:\w+\()?'?([^',)]+)", text)
    return found[1] if found else None


def _invalid_parameters(text: str) -> str:
    """Kedro's multi-line pydantic report as one line, without links."""
    lines = [line.strip(" -") for line in text.splitlines()[1:] if "https://" not in line and line.strip()]
    return "invalid parameters: " + " ".join(lines)
