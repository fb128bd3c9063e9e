"""Files that are whole or not there, and folders that say what they were made from."""

import errno
import functools
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import platformdirs

from llmar_pipeline.code_digest import CODE, changed_modules
from llmar_pipeline.errors import UserError

logger = logging.getLogger(__name__)

FINGERPRINT = "fingerprint.json"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_LARGE = 2**26  # bytes; above, reading a file takes longer than looking up what was seen of it before
_LONGEST = 60  # characters of a value that a message quotes
# How writers say it that keep the system's error to themselves: safetensors, torch, NumPy.
_SAID_FULL = re.compile(
    r"No space left|Disk quota exceeded|requested and \d+ written"
    r"|PytorchStreamWriter failed|unexpected pos \d+ vs \d+|iostream error"
)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file under a temporary name first, so that a reader never sees half of it.

    Args:
        path: Its folder is made where it does not exist.

    Yields:
        A stream; the file has its name once the context is left without an exception.

    Raises:
        UserError: The disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with room_for(path):
        try:
            temporary.unlink(missing_ok=True)
            with temporary.open("xb") as stream:  # anew: what lies there may be a link to elsewhere
                yield stream
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def room_for(path: Path, needed: int | None = None, partial: Path | None = None) -> Iterator[None]:
    """Say in one line that the disk is full, whoever writes and however it says so.

    Args:
        path: What is written.
        needed: Its bytes, where they are known.
        partial: A folder that is removed where its writing fails so: half of one takes the room of a whole.

    Raises:
        UserError: The disk is full.
    """
    try:
        yield
    except Exception as error:
        if not disk_is_full(error):
            raise
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        raise UserError(no_room(path, needed)) from error


def disk_is_full(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that there is no room for a file."""
    if (isinstance(error, OSError) and error.errno in FULL_DISK) or _SAID_FULL.search(str(error)):
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and disk_is_full(cause)


def no_room(path: Path, needed: int | None = None) -> str:
    """The line for a file that a full disk has no room for: which, how large, and what is free."""
    place = next((folder for folder in path.absolute().parents if folder.is_dir()), Path())
    free = shutil.disk_usage(place).free
    wants = "it needs more" if needed is None else f"it needs {needed:,} bytes"
    return (
        f"cannot write {path}: {os.strerror(errno.ENOSPC)}: {wants}, {free:,} bytes are free; free some "
        "space or choose another output folder with --params=data_dir=<folder>, and run again: training "
        "continues from its last checkpoint"
    )


def write_json(path: Path, content: Any, indent: int | None = 1) -> None:
    """Write a JSON file, whole; indented to be read, unless it is large."""
    with whole_file(path) as stream:
        stream.write((json.dumps(content, indent=indent, ensure_ascii=False) + "\n").encode())


def file_checksum(path: Path) -> str:
    """SHA-256 of a file's content; remembered while its size and times of change stay.

    Those of large files, such as weights of language models, are remembered in the user's cache too.
    """
    stat = path.stat()
    return _file_checksum(path.absolute(), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@functools.lru_cache(maxsize=64)
def _file_checksum(path: Path, size: int, *changed: int) -> str:
    place = platformdirs.user_cache_path("llmar-pipeline", appauthor=False) / "checksums.json"
    if size < _LARGE or not place.is_absolute():
        return _digest(path)
    known = None
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
        checksum: str = known[str(path)][str([size, *changed])]
    except (OSError, ValueError, KeyError, TypeError):
        checksum = _digest(path)
        remembered = known if isinstance(known, dict) else {}
        with suppress(OSError):
            write_json(place, {**remembered, str(path): {str([size, *changed]): checksum}})
    return checksum


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def json_checksum(content: Any) -> str:
    """SHA-256 of what can be written as JSON."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_fingerprint(folder: Path) -> dict[str, Any] | None:
    """What a folder was made from; None where it does not say, or not in words that can be read."""
    try:
        known = json.loads((folder / FINGERPRINT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    code = known.get(CODE, {}) if isinstance(known, dict) else None
    readable = isinstance(code, dict) and all(isinstance(digests, list) for digests in code.values())
    return known if readable else None


def claim(folder: Path, fingerprint: Mapping[str, Any], what: str) -> bool:
    """Make a folder one of this fingerprint: keep what was made from the same, set aside all else.

    The old folder leaves by one renaming, before anything new is written: at no moment do results lie beside
    the fingerprint of others.

    Args:
        folder: What is kept there was made from what its `fingerprint.json` says.
        fingerprint: What it should be made from, JSON-able. Under the key "code": digests of `code_of`.
        what: What the folder holds, in the plural, for the message.

    Returns:
        Whether something of this fingerprint may lie there.
    """
    wanted = json.loads(json.dumps(fingerprint))
    known = read_fingerprint(folder)
    changes = ["of unknown origin"] if known is None else differences(known, wanted)
    if known is not None and not changes:
        return True
    if folder.is_dir() and any(folder.iterdir()):
        aside = set_aside(folder)
        logger.warning("%s: %s; set aside as %s, made again", what, "; ".join(changes), aside)
    write_json(folder / FINGERPRINT, wanted)
    return False


def made_from(folder: Path, fingerprint: Mapping[str, Any]) -> bool:
    """Whether a folder says that it was made from what `claim` would take as the same; it stays as it is."""
    known = read_fingerprint(folder)
    return known is not None and not differences(known, json.loads(json.dumps(fingerprint)))


def differences(known: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Which keys of a fingerprint changed, from what to what; of code, which modules.

    Args:
        known: The old one.
        wanted: The new one.
        prefix: Of the keys.
    """
    found = []
    for key in dict.fromkeys([*known, *wanted]):
        old, new = known.get(key), wanted.get(key)
        if key == CODE and isinstance(old, Mapping) and isinstance(new, Mapping):
            if modules := changed_modules(old, new):
                found.append(f"the code of {', '.join(modules)} changed")
        elif key == CODE and old != new:
            found.append("the code that made it was not recorded")
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} changed from {_quote(old)} to {_quote(new)}")
    return found


def set_aside(path: Path) -> Path:
    """Rename a file or folder that no longer counts to `<name>.before-<n>`, and remove earlier such ones.

    Args:
        path: Of what exists.

    Returns:
        Where it lies now. Nothing reads it; a user may.
    """
    aside, earlier = _next_aside(path)
    os.rename(path, aside)
    _remove(earlier)
    return aside


def folder_aside(folder: Path) -> Path:
    """Make an empty `<name>.before-<n>` for parts of a folder that no longer count; remove earlier ones."""
    aside, earlier = _next_aside(folder)
    aside.mkdir()
    _remove(earlier)
    return aside


def _next_aside(path: Path) -> tuple[Path, list[Path]]:
    pattern = re.compile(re.escape(path.name) + r"\.before-(\d+)")
    named = ((pattern.fullmatch(other.name), other) for other in path.parent.iterdir())
    earlier = {int(match[1]): other for match, other in named if match}
    return path.with_name(f"{path.name}.before-{1 + max(earlier, default=0)}"), list(earlier.values())


def _remove(paths: list[Path]) -> None:
    for path in paths:
        logger.warning("%s, set aside earlier, is removed: only the newest one is kept", path)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _quote(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list) and len(str(value)) > _LONGEST:
        return f"a list of {len(value)}"
    text = str(value)
    if re.fullmatch(r"[0-9a-f]{16,}", text):  # a checksum tells nobody anything but that it is another
        return f"{text[:8]}..."
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
