"""A trained model as one file, its language model with it: packed, and opened on another machine."""

import hashlib
import json
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import file_checksum, json_checksum, room_for, whole_file
from llmar_pipeline.holders import hold
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.llm import ensure_llm
from llmar_pipeline.language.trained_model import find_llm
from llmar_pipeline.recognizer_folder import MANIFEST as WHOLE
from llmar_pipeline.recognizer_folder import check_recognizer
from llmar_pipeline.records import ADDED, sealed, unsealed

MANIFEST = "packed.json"
MODEL, LLM = "recognizer", "llm"
_DATA = ("*.json", "*.safetensors", "*.txt", "*.md", "*.model", "*.jinja", "LICEN[CS]E*", "NOTICE*")
_NAME = rf"^({MODEL}|{LLM})(/[A-Za-z0-9_-][A-Za-z0-9_.-]*){{1,3}}$"
_LARGEST_MANIFEST = 2**20  # bytes
_AT_ONCE = 2**20  # bytes


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PackedFile(_Part):
    """Size in bytes and SHA-256 of one file."""

    size: int = Field(ge=0)
    sha256: str


class Packed(_Part):
    """The content of `packed.json`, the first entry of a packed model.

    Attributes:
        format: Of the zip file: its entries are stored, not compressed, since weights do not get smaller.
        files: Every other entry by its name: `recognizer/...`, and `llm/...` of the language model.
    """

    format: Literal[1] = 1
    files: dict[Annotated[str, Field(pattern=_NAME)], PackedFile]


def pack(folder: Path, target: Path, cache: Path, with_llm: bool = True, llm: str | None = None) -> Path:
    """Write a trained model with all that it needs into one zip file.

    Args:
        folder: Of the trained model.
        target: The file; it must not exist.
        cache: Folder of converted language models.
        with_llm: Whether the language model goes with it. If not, it is looked for at the first use as after
            the training, by the place or hub id that it had there, and held against its checksum.
        llm: Where the language model lies by now, if not where it lay in training.

    Returns:
        `target`.

    Raises:
        UserError: The model is not whole, its language model cannot be had or is another one, or the file
            exists or cannot be written.

    Source: ours.
    """
    if target.exists():
        raise UserError(f"expected the name of a file to make, saw one that exists: {target}; name another")
    facts = check_recognizer(folder)
    now = None if llm is None else LLMConfig(model=llm, precision="float32")
    inside = [folder / name for name in (WHOLE, *facts.files)]
    for beside in (folder, folder / ADDED, folder / ADDED / "enrolled"):
        inside += _data(beside)
    members = {f"{MODEL}/{path.relative_to(folder).as_posix()}": path for path in inside}
    if with_llm:
        place = ensure_llm(find_llm(folder, cache, now), cache)
        members |= {f"{LLM}/{path.name}": path for path in _data(place)}
    for name, path in members.items():
        if not re.match(_NAME, name):
            raise UserError(f"expected plain names of files in a model, saw {path}; rename or remove it")
    files = {
        name: PackedFile(size=path.stat().st_size, sha256=file_checksum(path))
        for name, path in members.items()
    }
    with whole_file(target) as stream, zipfile.ZipFile(stream, "w") as archive:
        content = json.dumps(sealed(Packed(files=files).model_dump()), indent=1)
        archive.writestr(zipfile.ZipInfo(MANIFEST), content)
        for name, path in members.items():
            entry = zipfile.ZipInfo(name)  # without a time: the same model makes the same file
            entry.file_size = files[name].size
            with path.open("rb") as source, archive.open(entry, "w") as copy:
                shutil.copyfileobj(source, copy, _AT_ONCE)
    return target


def unpacked(file: Path, cache: Path) -> tuple[Path, Path | None]:
    """The folders of a packed model, which is unpacked unless it was before.

    Args:
        file: As `pack` wrote it, from wherever it came.
        cache: Folder of models, in which it gets one of its own.

    Returns:
        Folder of the trained model, and that of its language model where the file has one.

    Raises:
        UserError: It is no packed model, or damaged, or there is no room for it.

    Source: ours. Nothing is written outside of the folder, nothing that the list of files does not name, and
        of each file not a byte more than the list says.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            packed = _read_manifest(archive)
            folder = cache / "packed" / json_checksum(packed.model_dump())[:32]
            with hold(folder.parent, wait=True):
                if not _is_whole(folder, packed):
                    _unpack(archive, packed, folder)
    except UserError:
        raise
    except OSError as error:
        where = error.filename or file
        raise UserError(
            f"expected to read {file} and to write {cache}, saw {error.strerror or error}: {where}; "
            "give this user the right to, or name another cache by XDG_CACHE_HOME=<folder>"
        ) from error
    except Exception as error:  # zipfile raises many kinds, some of them undocumented
        seen = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"expected a model as `kedro pack` writes it, saw {file} ({seen}); copy the file again, or pack "
            "the model anew"
        ) from error
    llm = folder / LLM
    return folder / MODEL, llm if llm.is_dir() else None


def _data(folder: Path) -> Iterator[Path]:
    """Files of data in a folder, and what is said about it; no programs, and nothing half-written."""
    found = {path for pattern in _DATA for path in folder.glob(pattern)}
    yield from (path for path in sorted(found) if path.is_file() and not path.name.startswith("."))


def _read_manifest(archive: zipfile.ZipFile) -> Packed:
    """The list of files, if the entries are those of the list and plain files.

    Raises:
        ValueError: They are not, or it cannot be read.
    """
    entries = archive.infolist()
    if not entries or entries[0].filename != MANIFEST or entries[0].file_size > _LARGEST_MANIFEST:
        raise ValueError(f"its first entry is not {MANIFEST}")
    with archive.open(entries[0]) as stream:
        content = unsealed(json.loads(stream.read(_LARGEST_MANIFEST)), MANIFEST)
    packed = Packed.model_validate(content)
    if [entry.filename for entry in entries[1:]] != list(packed.files):
        raise ValueError(f"its entries are not those that {MANIFEST} names")
    for entry, known in zip(entries[1:], packed.files.values(), strict=True):
        plain = stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG)
        stored = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
        if not plain or not stored or entry.file_size != known.size:
            raise ValueError(f"{entry.filename} is no file, stored as it is, of {known.size} bytes")
    return packed


def _is_whole(folder: Path, packed: Packed) -> bool:
    return all(
        (folder / name).is_file() and file_checksum(folder / name) == known.sha256
        for name, known in packed.files.items()
    )


def _unpack(archive: zipfile.ZipFile, packed: Packed, folder: Path) -> None:
    """Unpack under another name first, so that a folder of its own name is whole."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    needed = sum(known.size for known in packed.files.values())
    shutil.rmtree(partial, ignore_errors=True)
    try:
        if needed > (free := shutil.disk_usage(folder.parent).free):
            raise UserError(
                f"expected room for {needed:,} bytes in {folder.parent}, saw {free:,} free; "
                "free some space, or name another cache by XDG_CACHE_HOME=<folder>"
            )
        with room_for(partial, needed):
            for name, known in packed.files.items():
                _copy(archive, name, partial / name, known)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy(archive: zipfile.ZipFile, name: str, target: Path, known: PackedFile) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), known.size
    with archive.open(name) as source, target.open("xb") as copy:
        while chunk := source.read(min(_AT_ONCE, left)):
            copy.write(chunk)
            digest.update(chunk)
            left -= len(chunk)
    if left or digest.hexdigest() != known.sha256:
        raise ValueError(f"{name} is not what was packed")
