"""Recordings of any format: which files are some, the clips in them, and whose reader they are for."""

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.corpus import LARGEST_FILE, PICKLE, Corpus
from llmar_pipeline.corpora.formats.keypoint_files import SUFFIXES, read_keypoints
from llmar_pipeline.corpora.formats.pyskl import read_pyskl
from llmar_pipeline.corpora.own.custom import CUSTOM
from llmar_pipeline.corpora.own.layout import LAYOUTS, find_layout
from llmar_pipeline.corpora.sources import Source, files_below
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import SkeletonFileError
from llmar_pipeline.skeletons.topology import Topology

FORMATS = (*(name for name in CORPORA if name != CUSTOM.name), *LAYOUTS)
"""What a file can be said to be: one of a corpus, or keypoints (npz, csv, json, pickle) of a layout."""

_SUFFIXES = {PICKLE, ".pickle", *SUFFIXES, *(corpus.suffix for corpus in CORPORA.values())}
_BESIDE = {"clips.csv", "readme.txt"}  # in folders of recordings, and none
_PICKLE_MARK = b"\x80"  # of protocol 2 and later
_UNREADABLE = (SkeletonFileError, UnicodeDecodeError, OSError)
_HEAD = 2**16  # bytes in which a file says what it is
_KEYPOINTS, _PICKLED, _JSON = "keypoints", "pickle", "json"
_BY_KEY = {"frames": "smarthome", "skeletons": "nwucla", "keypoints": _KEYPOINTS}
_BY_SUFFIX = {
    **dict.fromkeys(SUFFIXES, _KEYPOINTS),
    **dict.fromkeys((PICKLE, ".pickle"), _PICKLED),
    **{CORPORA[name].suffix: name for name in ("ntu60", "uav", "utdmhad")},
}
_OF_JOINTS = {len(CORPORA[name].topology.joints): name for name in ("ntu60", "uav")}
_FAMILIES = (("ntu60", "ntu120"), ("smarthome", "smarthome2d"))  # of one kind of file


def recordings_in(
    place: Path, pass_over: Callable[[UserError], None] | None = None
) -> tuple[list[Path], list[Path]]:
    """The files of a folder, or the file itself.

    Args:
        place: A file, or a folder, whose subfolders are looked through as for a training.
        pass_over: Told of each subfolder that cannot be read; None: it is raised.

    Returns:
        Files that may be recordings, by name, and those that are none by the end of their names.

    Raises:
        UserError: There is no such place, it cannot be read, or no file in it may be a recording.
    """
    if not stat.S_ISDIR(_looked_at(place).st_mode):
        return [place], []
    if not os.access(place, os.R_OK | os.X_OK):
        raise SkeletonFileError("a folder that can be read", "Permission denied", file=str(place))
    found = sorted(path for path in files_below(place, pass_over) if path.name.lower() not in _BESIDE)
    files = [path for path in found if path.suffix.lower() in _SUFFIXES]
    if not files:
        seen = f"{len(found)} files of other kinds, such as {found[0].name}" if found else "an empty folder"
        raise UserError(f"{place}: expected recordings ({', '.join(sorted(_SUFFIXES))}), saw {seen}")
    return files, [path for path in found if path.suffix.lower() not in _SUFFIXES]


def clips_of(file: Path, form: str | None = None) -> list[Source]:
    """The clips in a file: itself, or those of a pickle of the pyskl kind.

    Args:
        file: The file.
        form: One of `FORMATS`; by default its content says what it is.

    Raises:
        UserError: It cannot be read, is no recording, or is a damaged pickle or one of something else.
    """
    head = _head(file)
    if not head.startswith(_PICKLE_MARK) and (form or _first(head, file) != _PICKLED):
        return [Source(file.stem, str(file))]
    return [Source(name, str(file), str(place)) for place, name in enumerate(read_pyskl(file).names)]


def corpus_of_clip(clip: Source, own: Corpus, form: str | None = None) -> Corpus:
    """Who reads a clip, told from its content.

    Args:
        clip: Where it lies.
        own: The corpus of the model that is asked: where several would do, it is that one.
        form: One of `FORMATS`, to settle any doubt.

    Raises:
        SkeletonFileError: It is damaged, or no recording.
        UserError: There is no such format.
    """
    if form is not None and form not in FORMATS:
        raise UserError(f"expected a format out of {', '.join(FORMATS)}, saw {form!r:.60}; correct --format")
    if form in LAYOUTS:
        alike = [layout for layout in _layouts() if layout.name == form]
        flat = own.topology.coordinates
        return _of_layout(next((its for its in alike if its.coordinates == flat), alike[0]), own)
    kind = form or (_PICKLED if clip.member else _told(clip.path))
    if kind in CORPORA:
        family = next((names for names in _FAMILIES if kind in names), (kind,))
        if own.name in family:
            return own
        flat = kind == "smarthome" and form is None and own.topology.coordinates == 2
        return CORPORA["smarthome2d" if flat else kind]
    topology = _layout_of(clip, own.topology)
    if clip.member and topology == own.topology:  # in the order of persons that its corpus has
        return own
    return _of_layout(topology, own)


def _of_layout(topology: Topology, own: Corpus) -> Corpus:
    """Keypoint files of a layout: metres where there are three coordinates, else pixels."""
    if own.name == CUSTOM.name and topology == own.topology:
        return own
    vertical = find_layout(topology.name, Path())[1] if topology.name in LAYOUTS else None
    flat = topology.coordinates == 2
    return replace(
        CUSTOM,
        topology=topology,
        persons=own.persons,
        units="pixels" if flat else "metres",
        vertical=vertical or ("down" if flat else "up"),
    )


def _told(path: Path) -> str:
    """A corpus, or keypoints, by what the file begins with; by the end of its name where that is damaged."""
    kind = _first(_head(path), path)
    if kind != _JSON:
        return kind
    if (size := _looked_at(path).st_size) > LARGEST_FILE:
        seen = f"{size >> 20} MiB"
        raise SkeletonFileError(f"at most {LARGEST_FILE >> 20} MiB", seen, file=str(path))
    try:
        recording: Any = json.loads(path.read_bytes().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise SkeletonFileError("JSON", error.msg, error.lineno, file=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise SkeletonFileError("JSON", " ".join(str(error).split())[:80], file=str(path)) from error
    keys = recording if isinstance(recording, dict) else {}
    if (key := next((key for key in _BY_KEY if key in keys), None)) is None:
        seen = f"the keys {', '.join(map(repr, list(keys)[:5]))}" if keys else type(recording).__name__
        expected = "an object with keypoints, skeletons (NW-UCLA) or frames (Toyota Smarthome)"
        raise SkeletonFileError(expected, seen[:100], file=str(path))
    return _BY_KEY["keypoints" if "keypoints" in keys else key]


def _first(head: bytes, path: Path) -> str:
    """What a file is by its first bytes: a key of `CORPORA`, keypoints, a pickle or JSON."""
    text = _text(head)
    if head.startswith(b"MATLAB"):
        return "utdmhad"
    if head.startswith(b"PK\x03\x04"):
        return _KEYPOINTS
    if head.startswith(_PICKLE_MARK):
        return _PICKLED
    if text.startswith(("{", "[")):
        return _JSON
    if _is_table(text):
        return _KEYPOINTS
    if (joints := _joints_of_a_body(text)) in _OF_JOINTS:
        return _OF_JOINTS[joints]
    if (known := _BY_SUFFIX.get(path.suffix.lower())) is not None:  # its reader says what is wrong with it
        return known
    raise SkeletonFileError(
        "a recording (.skeleton, .json, .txt, .mat, .npz, .csv or a pickle of pyskl)",
        f"a file that begins with {head[:12]!r}" if text else "an empty file",
        file=str(path),
    )


def _text(head: bytes) -> str:
    return head.decode("utf-8-sig", errors="replace").lstrip()


def _is_table(text: str) -> bool:
    return {"frame", "joint"} <= {column.strip() for column in text.partition("\n")[0].split(",")}


def _joints_of_a_body(text: str) -> int | None:
    """The number of joints in the first body of a `.skeleton` text; None where it is no such text.

    Line by line: a pattern over blank lines and zeros would take for ever where they alternate.
    """
    rows = [row for line in text.split("\n") if (row := line.strip())]
    body = next((place for place, row in enumerate(rows[1:], 1) if row != "0"), len(rows))
    told = [*rows[:1], *rows[body : body + 3 : 2]]  # frames; bodies, and two lines below them joints
    whole = len(told) == 3 and all(re.fullmatch("[0-9]{1,9}", row) for row in told)
    return int(told[2]) if whole else None


def _layout_of(clip: Source, own: Topology) -> Topology:
    """The skeleton of keypoints: that of the model if they fit it, else the smallest layout that they fit."""
    layouts = list(_layouts())
    if clip.member:
        annotation = read_pyskl(clip.path).annotations[int(clip.member)]
        keypoints = annotation.get("keypoint") if isinstance(annotation, dict) else None
        shape = getattr(keypoints, "shape", ())
    elif _is_table(_text(_head(clip.path))):
        for topology in (own, *sorted(layouts, key=lambda layout: len(layout.joints))):
            with suppress(*_UNREADABLE):
                read_keypoints(clip.path, topology)
                return topology
        return own
    else:
        try:
            shape = read_keypoints(clip.path, own)[0].shape
        except _UNREADABLE:  # whoever loads it says what is wrong, and where
            return own
    for topology in (own, *layouts):
        if shape[-2:] == (len(topology.joints), topology.coordinates):
            return topology
    known = ", ".join(f"{len(layout.joints)} x {layout.coordinates} ({layout.name})" for layout in layouts)
    raise SkeletonFileError(
        f"keypoints of {len(own.joints)} joints in {own.coordinates} coordinates, as the model has them, or "
        f"of {known}",
        f"shape {list(shape)}",
        file=str(clip.path),
    )


def _layouts() -> Iterator[Topology]:
    for name in LAYOUTS:
        topology = find_layout(name, Path())[0]
        yield topology
        if name == "mediapipe33":  # world landmarks, and those of the picture
            yield replace(topology, coordinates=2)


def _looked_at(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except (OSError, ValueError) as error:  # a name with a null character is a ValueError
        seen = getattr(error, "strerror", None) or str(error)
        raise SkeletonFileError("a recording that can be read", seen, file=str(path)) from error


def _head(path: Path) -> bytes:
    found = _looked_at(path)
    if not stat.S_ISREG(found.st_mode):
        raise SkeletonFileError("a file", "something else", file=str(path))
    if not found.st_size:
        raise SkeletonFileError("a skeleton recording", "an empty file", file=str(path))
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise SkeletonFileError("a readable file", error.strerror or repr(error), file=str(path)) from error
