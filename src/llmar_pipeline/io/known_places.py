"""Folders by what lies in them: one that was moved or copied keeps the names of what was made from it."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmar_pipeline.files import write_json

logger = logging.getLogger(__name__)

PLACES = ("raw_dir", "llm.model", "init_from")
"""Parameters that may be folders: the same one under another name is the same."""
_FILE = "known_places.json"
_END = 4096  # bytes at both ends of a file: zip, npz and safetensors say there what is inside


def place(value: Any) -> Any:
    """A folder under its one full name; anything else as it is."""
    try:
        path = Path(str(value)).expanduser()
        return str(path.resolve()) if path.is_absolute() or path.exists() else value
    except (OSError, RuntimeError):
        return value


def known_places(data_dir: str) -> dict[str, str]:
    """Folders that runs were named after, and the digest of what lay in each."""
    try:
        known = json.loads(Path(data_dir, _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def first_place(value: Any, known: Mapping[str, str]) -> Any:
    """The folder under which a folder's content is known; the folder itself where it is not.

    Args:
        value: A folder, or a name that is none.
        known: As `known_places` gives it.

    Source: ours.
    """
    own = place(value)
    if not known or own in known or not Path(str(own)).is_dir():
        return own
    seen = digest(Path(str(own)))
    return next((path for path, content in known.items() if content == seen), own)


def remember(data_dir: str, values: Iterable[Any]) -> None:
    """Note what lies in the folders that a run is named after, and say which of them were elsewhere.

    Args:
        data_dir: What runs write lies under it.
        values: Folders, or names that are none.
    """
    before = known_places(data_dir)
    known = dict(before)
    for value in values:
        own, first = Path(str(place(value))), first_place(value, before)
        if not own.is_dir():
            continue
        known[first] = digest(own)
        if str(own) != first:
            logger.info("%s holds what was in %s: what was made from it counts", own, first)
    if known != before:
        write_json(Path(data_dir, _FILE), known)


def digest(folder: Path) -> str:
    """SHA-256 of names, sizes and both ends of all files in a folder, but for those that begin with a dot."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("[!.]*") if path.is_file()):
        size = path.stat().st_size
        found.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode(errors="surrogateescape"))
        with path.open("rb") as stream:
            found.update(stream.read(_END))
            stream.seek(max(0, size - _END))
            found.update(stream.read(_END))
    return found.hexdigest()
