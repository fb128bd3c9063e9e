"""Keypoints of one clip in an npz, csv or json file, read within a fixed bound of memory."""

import csv
import io
import json
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from llmar_pipeline.corpora.formats.nested_lists import read_nested
from llmar_pipeline.corpora.formats.spelling import plain
from llmar_pipeline.skeletons.sequence import SkeletonFileError
from llmar_pipeline.skeletons.topology import Topology

LARGEST = 128 * 2**20
"""Bytes of a clip's keypoints, and of an npz file: 47 minutes of one person with 33 joints in 3D at 30 frames
a second, as float64."""

_DIFFERENT = 1000  # words of a column that are kept once each, however often they stand there
LARGEST_TEXT = 16 * 2**20
"""Bytes of a csv or json file."""

_PLACES_A_ROW = 200
"""Persons x frames x joints of a csv file for each of its rows: more is no recording with gaps."""

SUFFIXES = (".csv", ".json", ".npz")
_HEAD = 64  # bytes in which a file says which of them it is

INTEGER = r"-?[0-9]{1,15}"
"""A whole number as tables hold it, as a regular expression."""

T = TypeVar("T")
Keypoints = tuple[np.ndarray, np.ndarray | None]


def read_keypoints(path: Path, topology: Topology) -> Keypoints:
    """Reads a file of one of the three forms.

    Args:
        path: The file.
        topology: Says which joints a csv file may name.

    Returns:
        Keypoints `[person, frame, joint, coordinate]` or `[frame, joint, coordinate]`, and scores of the same
        shape without the last axis, or None. A csv file's axes are as long as what it names.

    Raises:
        SkeletonFileError: If it is damaged, too large, or of another form.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        suffix = _form(file.read(_HEAD), path.suffix.lower())
    size, largest = path.stat().st_size, LARGEST if suffix == ".npz" else LARGEST_TEXT
    if size > largest:
        way_out = "" if suffix == ".npz" else " (an .npz file holds eight times as much)"
        raise SkeletonFileError(f"a {suffix} file of at most {largest} bytes{way_out}", f"{size} bytes")
    if suffix == ".npz":
        return _read_npz(path)
    text = path.read_bytes().decode("utf-8-sig")
    if not text.strip():
        raise SkeletonFileError("keypoints", "an empty file")
    return _parse_csv(text, topology) if suffix == ".csv" else _parse_json(text)


def read_frame_rate(path: Path) -> float | None:
    """Frames a second, where an npz or json file of keypoints has them as `fps`; None elsewhere.

    Args:
        path: A file that `read_keypoints` has read, or one of another format.

    Raises:
        SkeletonFileError: `fps` is no number above 0, or damaged.
    """
    rate: Any = None
    try:
        with path.open("rb") as file:
            form = _form(file.read(_HEAD), "")
        if form == ".npz":
            with zipfile.ZipFile(path) as archive:
                if "fps.npy" in archive.namelist():
                    rate = _read_array("fps", archive, archive.getinfo("fps.npy")).tolist()
        elif form == ".json":
            content = json.loads(path.read_bytes())
            rate = content.get("fps") if isinstance(content, dict) else None
    except SkeletonFileError as error:
        raise SkeletonFileError(error.expected, error.seen, file=str(path)) from error
    except Exception as error:  # zipfile and numpy raise many kinds
        seen = f"{type(error).__name__}: {error}"[:100]
        raise SkeletonFileError("fps as frames a second", seen, file=str(path)) from error
    if rate is not None and not (type(rate) in (int, float) and 0 < rate < math.inf):
        raise SkeletonFileError("fps as frames a second", repr(rate)[:60], file=str(path))
    return None if rate is None else float(rate)


def _form(head: bytes, suffix: str) -> str:
    """What a file is by its first bytes; where they do not tell, by the end of its name."""
    if head.startswith(b"PK\x03\x04"):
        return ".npz"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        return ".json"
    return suffix if suffix in SUFFIXES else ".csv"


def _read_npz(path: Path) -> Keypoints:
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            if "keypoints.npy" not in entries:
                raise SkeletonFileError("an array named keypoints", f"the entries {sorted(entries)[:5]}")
            for name in ("keypoints", "scores"):
                if entry := entries.get(f"{name}.npy"):
                    arrays[name] = _read_array(name, archive, entry)
    except (SkeletonFileError, OSError):
        raise
    except Exception as error:  # zipfile and numpy raise many kinds, some of them undocumented
        seen = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        raise SkeletonFileError("an npz file as numpy.savez writes it", seen) from error
    return arrays["keypoints"], arrays.get("scores")


def _read_array(name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """One array; nothing is set aside for what is merely claimed."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise SkeletonFileError("an npz file as numpy.savez writes it", "another compression")
    # No more than this is ever unpacked: an entry that holds more than it claims ends there.
    if entry.file_size > LARGEST:
        raise SkeletonFileError(f"{name} of at most {LARGEST} bytes", f"{entry.file_size} bytes")
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        headers = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = headers[version[0]](file)
        content = file.read()
    if dtype.kind not in "fiu":
        raise SkeletonFileError(f"{name} as an array of numbers", f"dtype {dtype}")
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise SkeletonFileError(f"the content of {name}, {dtype} {list(shape)}", f"{len(content)} bytes")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _parse_json(text: str) -> Keypoints:
    try:
        recording = json.loads(text)
    except json.JSONDecodeError as error:
        raise SkeletonFileError("JSON", error.msg, error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise SkeletonFileError("JSON", " ".join(str(error).split())[:100]) from error
    if not isinstance(recording, dict) or "keypoints" not in recording:
        seen = (
            f"the keys {sorted(recording)[:5]}" if isinstance(recording, dict) else type(recording).__name__
        )
        raise SkeletonFileError(
            "an object with keypoints [person][frame][joint][coordinate], or without person", seen[:100]
        )
    keypoints = read_nested(recording["keypoints"], "keypoints", ("person", "frame", "joint", "coordinate"))
    scores = recording.get("scores")
    return keypoints, None if scores is None else read_nested(scores, "scores", ("person", "frame", "joint"))


def read_columns(text: str) -> tuple[dict[str, list[str]], list[int]]:
    """A csv table of text, blanks around fields and blank lines left out.

    Returns:
        The fields of each column, by its name, and the line of each row in the file.

    Raises:
        SkeletonFileError: If a row is not as long as the first line, or a column's name occurs twice.
    """
    lines: list[int] = []
    # The newline argument keeps what csv itself takes for a line's end; strict refuses an open quote.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        words: list[list[str]] = [[] for _ in columns]
        known: list[dict[str, str]] = [{} for _ in columns]  # most columns say the same again and again
        for row in reader:
            if any(fields := [field.strip() for field in row]):
                if len(columns) == 1 != len(row):
                    raise SkeletonFileError("the columns set apart by commas", columns_seen(columns), line=1)
                if len(row) != len(columns):
                    seen = f"{len(row)}" + " (a comma within a number?)" * (len(row) > len(columns))
                    raise SkeletonFileError(f"{len(columns)} fields, as in line 1", seen, reader.line_num)
                lines.append(reader.line_num)
                for field, column, same in zip(fields, words, known, strict=True):
                    column.append(same.setdefault(field, field) if len(same) < _DIFFERENT else field)
    except csv.Error as error:
        raise SkeletonFileError("a csv table", str(error), max(reader.line_num, 1)) from error
    if len(set(columns)) < len(columns):
        raise SkeletonFileError("columns with different names", ", ".join(columns)[:100], line=1)
    return dict(zip(columns, words, strict=True)), lines


def columns_seen(columns: Iterable[str]) -> str:
    """Columns as an error quotes them; where another sign sets them apart, the way out."""
    text = ", ".join(columns)
    sign = next((name for name, mark in (("semicolons", ";"), ("tabs", "\t")) if mark in text), "")
    way_out = f" (set apart by {sign}: save it with commas, and decimal points in numbers)" if sign else ""
    return text[:100] + way_out


class _Column:
    """The words of one column, with their lines."""

    def __init__(self, words: SequenceOf[str], lines: list[int]) -> None:
        self.words, self.lines = words, lines

    def each(self, what: str, read: Callable[[str], T | None]) -> list[T]:
        """Every word as `read` takes it; None says that it is not what it should be."""
        found = []
        for word, line in zip(self.words, self.lines, strict=True):
            if (value := read(word)) is None:
                raise SkeletonFileError(what, repr(word)[:60], line)
            found.append(value)
        return found


def _parse_csv(text: str, topology: Topology) -> Keypoints:
    axes = ["x", "y", "z"][: topology.coordinates]
    columns, lines = read_columns(text)
    required, optional = ["frame", "joint", *axes], ["person", "score"]
    if not set(required) <= set(columns) <= {*required, *optional}:
        expected = f"the columns {', '.join(required)}, and if need be {', '.join(optional)}"
        raise SkeletonFileError(expected, columns_seen(columns), line=1)
    if not lines:
        raise SkeletonFileError("a row for each joint", "none", line=2)
    table = {name: _Column(words, lines) for name, words in columns.items()}
    frame = np.array(table["frame"].each("the number of a frame", _integer), np.int64)
    frame -= frame.min()
    joint = np.array(_joints(table["joint"], topology), np.int64)
    person = np.zeros(len(lines), np.int64)
    if "person" in table:
        person = _places(table["person"].words)
    shape = (int(person.max()) + 1, int(frame.max()) + 1, len(topology.joints))
    if math.prod(shape) * len(axes) * 8 > LARGEST:
        raise SkeletonFileError(f"keypoints of at most {LARGEST} bytes", f"persons, frames, joints {shape}")
    if math.prod(shape) > _PLACES_A_ROW * len(lines) and shape[1] > _PLACES_A_ROW:
        seen = f"persons, frames, joints {shape} in {len(lines)} rows"
        raise SkeletonFileError("frames counted one by one, most of them with a row for each joint", seen)
    place = np.ravel_multi_index((person, frame, joint), shape)
    _, first = np.unique(place, return_index=True)
    if len(first) < len(place):
        again = np.setdiff1d(np.arange(len(place)), first)[0]
        raise SkeletonFileError("one row for each person, frame and joint", "a second one", lines[again])
    keypoints = np.full((math.prod(shape), len(axes)), np.nan)
    keypoints[place] = np.stack([_numbers(table[axis], axis) for axis in axes], axis=-1)
    scores: np.ndarray | None = None
    if "score" in table:
        scores = np.zeros(math.prod(shape))
        scores[place] = _numbers(table["score"], "score")
        scores = scores.reshape(shape)
    return keypoints.reshape(*shape, len(axes)), scores


def _places(words: SequenceOf[str]) -> np.ndarray:
    """The place of each word among the different ones in order: of numbers where all are, else of text."""
    integers = all(re.fullmatch(INTEGER, word) for word in words)
    return np.unique([int(word) if integers else word for word in words], return_inverse=True)[1]


def _joints(column: _Column, topology: Topology) -> list[int]:
    numbers = Counter(bool(re.fullmatch("[0-9]{1,9}", word)) for word in column.words)
    if numbers[True] > numbers[False]:
        names = {str(i): i for i in range(len(topology.joints))}
        return column.each(
            f"a joint of {topology.name}, by number from 0 to {len(topology.joints) - 1} or by name",
            lambda word: names.get(word.lstrip("0") or "0"),
        )
    names = {name: i for i, name in enumerate(topology.joints)}
    spelled = Counter(map(plain, names))
    alone = {plain(name): i for name, i in names.items() if spelled[plain(name)] == 1}
    known = ", ".join(topology.joints)
    expected = f"a joint of {topology.name} by number, or out of {known}"
    return column.each(expected, lambda word: names.get(word, alone.get(plain(word))))


def _integer(word: str) -> int | None:
    return int(word) if re.fullmatch(INTEGER, word) else None


def _numbers(column: _Column, what: str) -> np.ndarray:
    def number(word: str) -> float | None:
        if word.lower() in ("", "nan"):
            return math.nan
        try:
            value = float(word)
        except ValueError:
            return None
        # Python reads more than tables hold: digits of other scripts, 1_000, -nan.
        return None if not word.isascii() or "_" in word or math.isnan(value) else value

    form = "a number with a decimal point" if any("," in word for word in column.words) else "a number"
    return np.array(column.each(f"{what} as {form}, or nothing", number), np.float64)
