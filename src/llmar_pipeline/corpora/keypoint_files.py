"""Keypoints of one clip in an npz, csv or json file, read within a fixed bound of memory."""

import csv
import io
import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from llmar_pipeline.skeletons.sequence import SkeletonFileError
from llmar_pipeline.skeletons.topology import Topology

LARGEST = 128 * 2**20
"""Bytes of a clip's keypoints, and of an npz file: 47 minutes of one person with 33 joints in 3D at 30 frames
a second, as float64."""

LARGEST_TEXT = 16 * 2**20
"""Bytes of a csv or json file."""

SUFFIXES = (".csv", ".json", ".npz")

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
    size, largest = path.stat().st_size, LARGEST if path.suffix == ".npz" else LARGEST_TEXT
    if size > largest:
        raise SkeletonFileError(f"a {path.suffix} file of at most {largest} bytes", f"{size} bytes")
    if path.suffix == ".npz":
        return _read_npz(path)
    text = path.read_bytes().decode("utf-8-sig")
    if not text.strip():
        raise SkeletonFileError("keypoints", "an empty file")
    return _parse_csv(text, topology) if path.suffix == ".csv" else _parse_json(text)


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
        keypoints = np.array(recording["keypoints"], np.float64)
        scores = recording.get("scores")
        return keypoints, None if scores is None else np.array(scores, np.float64)
    except json.JSONDecodeError as error:
        raise SkeletonFileError("JSON", error.msg, error.lineno) from error
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError, AttributeError) as error:
        seen = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        raise SkeletonFileError(
            "an object with keypoints [person][frame][joint][coordinate], or without person, numbers or null",
            seen,
        ) from error


def read_table(text: str) -> pd.DataFrame:
    """A csv table of text, blanks around fields and blank lines left out; the index is the line in the file.

    Raises:
        SkeletonFileError: If a row is not as long as the first line, or a column's name occurs twice.
    """
    rows: dict[int, list[str]] = {}
    # The newline argument keeps what csv itself takes for a line's end; strict refuses an open quote.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        for row in reader:
            if any(fields := [field.strip() for field in row]):
                rows[reader.line_num] = fields
                if len(row) != len(columns):
                    expected = f"{len(columns)} fields, as in line 1"
                    raise SkeletonFileError(expected, str(len(row)), reader.line_num)
    except csv.Error as error:
        raise SkeletonFileError("a csv table", str(error), max(reader.line_num, 1)) from error
    if len(set(columns)) < len(columns):
        raise SkeletonFileError("columns with different names", ", ".join(columns)[:100], line=1)
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype="str")


def _parse_csv(text: str, topology: Topology) -> Keypoints:
    axes = ["x", "y", "z"][: topology.coordinates]
    table = read_table(text)
    required, optional = ["frame", "joint", *axes], ["person", "score"]
    if not set(required) <= set(table.columns) <= {*required, *optional}:
        seen = ", ".join(table.columns)[:100]
        expected = f"the columns {', '.join(required)}, and if need be {', '.join(optional)}"
        raise SkeletonFileError(expected, seen, line=1)
    if table.empty:
        raise SkeletonFileError("a row for each joint", "none", line=2)
    frame = _integers(table["frame"], "the number of a frame")
    frame -= frame.min()
    joint = _joints(table["joint"], topology)
    person = np.zeros(len(table), np.int64)
    if "person" in table:
        person = pd.factorize(number_words(table["person"]), sort=True)[0]
    shape = (int(person.max()) + 1, int(frame.max()) + 1, len(topology.joints))
    if math.prod(shape) * len(axes) * 8 > LARGEST:
        raise SkeletonFileError(f"keypoints of at most {LARGEST} bytes", f"persons, frames, joints {shape}")
    place = np.ravel_multi_index((person, frame, joint), shape)
    if (twice := pd.Series(place, table.index).duplicated()).any():
        line = int(twice.index[twice][0])
        raise SkeletonFileError("one row for each person, frame and joint", "a second one", line)
    keypoints = np.full((math.prod(shape), len(axes)), np.nan)
    keypoints[place] = np.stack([_numbers(table[axis], axis) for axis in axes], axis=-1)
    scores: np.ndarray | None = None
    if "score" in table:
        scores = np.zeros(math.prod(shape))
        scores[place] = _numbers(table["score"], "score")
        scores = scores.reshape(shape)
    return keypoints.reshape(*shape, len(axes)), scores


def number_words(words: pd.Series) -> pd.Series:
    """Integers as they are; if any is none, all words by their place in sorted order, from 0."""
    if words.str.fullmatch(r"-?[0-9]{1,15}").all():
        return words.astype("int64")
    return pd.Series(pd.factorize(words, sort=True)[0], words.index)


def _joints(words: pd.Series, topology: Topology) -> np.ndarray:
    names = {name: i for i, name in enumerate(topology.joints)}
    if words.str.fullmatch("[0-9]{1,9}").all():
        names = {word: int(word) for word in words.unique() if int(word) < len(topology.joints)}
    found = words.map(names)
    if found.isna().any():
        line = int(found.index[found.isna()][0])
        expected = f"a joint of {topology.name}, by number from 0 to {len(topology.joints) - 1} or by name"
        raise SkeletonFileError(expected, repr(words[line])[:60], line)
    return found.to_numpy(np.int64)


def _integers(words: pd.Series, what: str) -> np.ndarray:
    proper = words.str.fullmatch(r"-?[0-9]{1,15}")
    if not proper.all():
        line = int(proper.index[~proper][0])
        raise SkeletonFileError(what, repr(words[line])[:60], line)
    return words.to_numpy(np.int64)


def _numbers(words: pd.Series, what: str) -> np.ndarray:
    numbers = pd.to_numeric(words, errors="coerce")
    wrong = numbers.isna() & ~words.str.lower().isin(["", "nan"])
    if wrong.any():
        line = int(wrong.index[wrong][0])
        raise SkeletonFileError(f"{what} as a number, or nothing", repr(words[line])[:60], line)
    return numbers.to_numpy(np.float64)
