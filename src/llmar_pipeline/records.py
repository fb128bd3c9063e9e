"""Size and checksum of what was written, kept beside it, so that what was damaged since is not read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import file_checksum, json_checksum, write_json

_CHECKSUM = "checksum"
ADDED = "added"
"""Folder, in one that is recorded, of what is added to it later: no part of what was written."""
_NOT_READ = (".md", ".partial", ".tmp", ".written")  # suffixes, in folders that are recorded


def write_sealed(path: Path, content: Mapping[str, Any], indent: int | None = 1) -> None:
    """Write a JSON file that holds the checksum of its own content."""
    write_json(path, sealed(content), indent)


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """JSON-able content with its own checksum in it."""
    return {**content, _CHECKSUM: json_checksum(content)}


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `write_sealed` wrote.

    Raises:
        ValueError: It is not that.
    """
    return unsealed(json.loads(path.read_text(encoding="utf-8")), path.name)


def unsealed(content: Any, name: str) -> dict[str, Any]:
    """What `sealed` was given, from what it returned.

    Args:
        content: As JSON holds it.
        name: Of the file, for the error.

    Raises:
        ValueError: It is not that.
    """
    if not isinstance(content, dict) or content.pop(_CHECKSUM, None) != json_checksum(content):
        raise ValueError(f"the content of {name} is not that of its checksum")
    return content


def written(path: Path) -> dict[str, Any]:
    """What `damage` holds a file against: size, checksum and time of change; JSON-able."""
    stat = path.stat()
    return {"bytes": stat.st_size, "sha256": file_checksum(path), "changed": stat.st_mtime_ns}


def damage(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> str | None:
    """What is wrong with files, held against what `written` said of them.

    Where size and time of change are still those, a file is not read: checking gigabytes takes no time.

    Args:
        folder: Where they lie.
        files: What was written, by its path in the folder.

    Returns:
        Of the first that differs; None where none does.
    """
    for name, known in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is gone"
        stat = path.stat()
        if stat.st_size != known["bytes"]:
            return f"{name} has {stat.st_size:,} bytes, not {known['bytes']:,} as written"
        if stat.st_mtime_ns != known["changed"] and file_checksum(path) != known["sha256"]:
            return f"{name} was changed since it was written"
    return None


def record(path: Path) -> None:
    """Keep beside a file, or beside a folder for all its files, what `check_recorded` holds it against."""
    folder, members = path.parent, [path]
    if path.is_dir():
        folder, members = path, [file for file in sorted(path.rglob("*")) if file.suffix not in _NOT_READ]
    known = _recorded(path) or {}
    files = {}
    for file in members:
        name = file.relative_to(folder).as_posix()
        if file.is_file() and not name.startswith(f"{ADDED}/"):
            stat = file.stat()
            same = {"bytes": stat.st_size, "changed": stat.st_mtime_ns}.items() <= known.get(name, {}).items()
            files[name] = known[name] if same else written(file)
    write_sealed(_record_of(path), {"files": files})


def announce(path: Path) -> None:
    """Say beside what is about to be written that it is not whole; `record` says that it is."""
    if _recorded(path) is None:  # what an earlier record does not fit is not whole either
        write_sealed(_record_of(path), {"files": {}})


def forget(path: Path) -> None:
    """Remove a file that is there no longer to be read, and its record."""
    path.unlink(missing_ok=True)
    _record_of(path).unlink(missing_ok=True)


def check_recorded(path: Path, what_to_do: str) -> None:
    """Make sure that a file or folder is what was written; one without a record is taken as it is.

    Args:
        path: As `record` took it.
        what_to_do: For the message.

    Raises:
        UserError: It is not.
    """
    known = _recorded(path)
    if known is None:
        return
    wrong = (
        damage(path if path.is_dir() else path.parent, known) if known else f"{path.name} was not finished"
    )
    if wrong:
        raise UserError(f"expected {path} as it was written, saw that {wrong}; {what_to_do}")


def checksums(path: Path) -> dict[str, str] | None:
    """SHA-256 of a recorded file, or of each file of a recorded folder.

    Args:
        path: As `record` took it.

    Returns:
        By their path in the folder; nothing where neither the file nor a record of it is there; None where it
        is not what was written, or that is not known.
    """
    if not path.exists() and not _record_of(path).exists():
        return {}
    known = _recorded(path)
    if not known or damage(path if path.is_dir() else path.parent, known):
        return None
    return {name: str(file["sha256"]) for name, file in known.items()}


def read_recorded(path: Path) -> Any:
    """Read a JSON file that a run wrote.

    Raises:
        UserError: It is no longer what was written.
    """
    again = "run `kedro run` again with the --env and --params of the run that wrote it"
    check_recorded(path, again)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"expected {path} as a run wrote it, saw that reading fails ({error}); {again}"
        ) from error


def _record_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.written")


def _recorded(path: Path) -> dict[str, Any] | None:
    try:
        files = read_sealed(_record_of(path))["files"]
    except (OSError, ValueError, KeyError):
        return None
    return files if isinstance(files, dict) else None
