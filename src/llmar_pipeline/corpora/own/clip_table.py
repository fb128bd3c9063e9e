"""A user's list of clips: the table `clips.csv`, or a pickle of the pyskl kind."""

from __future__ import annotations

import functools
import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from llmar_pipeline.corpora.formats.keypoint_files import INTEGER, SUFFIXES, columns_seen, read_columns
from llmar_pipeline.corpora.formats.pyskl import protocols_of, read_pyskl
from llmar_pipeline.corpora.formats.spelling import alike, plain
from llmar_pipeline.corpora.own.clip_rows import ClipRows
from llmar_pipeline.corpora.sources import Source, in_order, leaves
from llmar_pipeline.errors import UserError, escaped, is_safe
from llmar_pipeline.skeletons.sequence import SkeletonFileError

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

SPLITS = {"train": 0, "val": 1, "test": 2}
"""What the numbers of a split mean in an index; -1 stands for a clip of no part."""

GROUPS = ("subject", "camera", "setup")
_REQUIRED, _OPTIONAL = ("file", "action"), ("name", *GROUPS, "split")

Fault = tuple[str, str, int | None]
"""What is expected, what is seen, and the line."""


@dataclass(frozen=True)
class ClipTable:
    """A list of clips.

    Attributes:
        class_names: Name of each label.
        sources: All clips, by name.
        rows: By name, what the list says of each clip that is properly listed.
        faults: By `Source.member`, what is wrong with a clip that is not.
        numbers: For each grouping column, the number of each of its words.
        splits: Its own protocols: by name, the index column (of `SPLITS`) and whether it has a "val" part.
    """

    class_names: tuple[str, ...]
    sources: tuple[Source, ...]
    rows: ClipRows
    faults: dict[str, Fault]
    numbers: dict[str, dict[str, int]]
    splits: dict[str, tuple[str, bool]]


def read_clip_table(folder: Path, classes: SequenceOf[str] | None) -> ClipTable:
    """Reads `clips.csv`.

    Args:
        folder: The user's folder; the files lie in it or below.
        classes: Class names in label order; None stands for those in the table, sorted.

    Raises:
        UserError: If there is no such table, or it has no rows or other columns. What is wrong with a
            single row becomes a fault of its clip.
    """
    path = folder / "clips.csv"
    try:
        table = read_table(path.read_text(encoding="utf-8-sig"))
    except SkeletonFileError as error:
        raise SkeletonFileError(error.expected, error.seen, error.line, file=str(path)) from error
    except OSError as error:
        raise UserError(
            f"{path}: expected a table of clips, saw {error.strerror}; see docs/data.md."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected text in UTF-8, saw another encoding; save it as UTF-8.") from error
    if not set(_REQUIRED) <= set(table.columns) <= {*_REQUIRED, *_OPTIONAL}:
        raise UserError(
            f"{path}, line 1: expected the columns {', '.join(_REQUIRED)} and, if need be, "
            f"{', '.join(_OPTIONAL)}, set apart by commas, saw {columns_seen(table.columns)}; correct it."
        )
    if table.empty:
        raise UserError(f"{path}: expected a row for each clip, saw none; see docs/data.md.")
    class_names = tuple(classes or sorted(filter(is_safe, set(table["action"]) - {""})))
    labels = {name: label for label, name in enumerate(class_names)}
    groups = [group for group in GROUPS if group in table]
    coded = {group: number_words(table[group][table[group] != ""]) for group in groups}
    numbers = {"action": table["action"].map(labels).fillna(-1).astype("int64")}
    numbers |= {group: coded[group].reindex(table.index, fill_value=-1) for group in groups}
    numbers |= {"split": table["split"].map(SPLITS).fillna(-1).astype("int64")} if "split" in table else {}
    columns = {column: table[column].tolist() for column in table}
    right = _plainly_right(columns, folder, labels, groups)
    sources: list[Source] = []
    place: dict[int, int] = {}  # row of each source that is properly listed
    faults: dict[str, Fault] = {}
    listed = {path.name}
    names = columns.get("name", [""] * len(table))
    for number, (line, written, name) in enumerate(zip(table.index, columns["file"], names, strict=True)):
        if right[number]:
            at, fault = f"{folder}{os.sep}{written}", None
            name = name or os.path.splitext(written)[0]
            listed.add(written)
        else:
            inside = PurePosixPath(written.replace("\\", "/"))
            name = name or (str(inside.parent / inside.stem) if written else f"line {line}")
            row = {column: words[number] for column, words in columns.items()}
            file, fault = folder / inside, _fault(row, inside, folder, labels, groups)
            at = str(file)
            listed |= {file.relative_to(folder).as_posix()} if file.is_relative_to(folder) else set()
        name = escaped(name.replace("/", "__"))
        if fault is not None:
            faults[str(line)] = (*fault, int(line))
            sources.append(Source(name, str(path), str(line)))
        else:
            sources.append(Source(name, at))
            place[id(sources[-1])] = number
    ordered = tuple(in_order(sources))
    proper = [source for source in ordered if id(source) in place]
    rows = [place[id(source)] for source in proper]
    told = {column: values.iloc[rows].tolist() for column, values in numbers.items()}
    _tell_of_alike(path, {"action": class_names, **{group: table[group].unique() for group in groups}})
    if "split" in table:
        parts = table["file"].groupby(table["split"]).agg(list).to_dict()
        _tell_of_parts(path, "file", parts, columns["file"])
    _tell_of_unlisted(path, listed)
    return ClipTable(
        class_names=class_names,
        sources=ordered,
        rows=ClipRows([source.name for source in proper], told),
        faults=faults,
        numbers={group: _by_word(table[group], coded[group]) for group in groups},
        splits={"split": ("split", "val" in set(table["split"]))} if "split" in table else {},
    )


def _plainly_right(
    columns: Mapping[str, list[str]], folder: Path, labels: Mapping[str, int], groups: list[str]
) -> list[bool]:
    """Which rows are right and name their file in the plainest way, found out by columns and folders.

    Of the others `_fault` says what is wrong, or that nothing is.
    """
    known = {"action": labels, "split": SPLITS}
    right = [True] * len(columns["file"])
    for column, words in columns.items():
        if not is_safe("".join(words)):
            right = [so_far and is_safe(word) for so_far, word in zip(right, words, strict=True)]
        if column in groups:
            right = [so_far and word != "" for so_far, word in zip(right, words, strict=True)]
        if column in known:
            fine = known[column]
            right = [so_far and word in fine for so_far, word in zip(right, words, strict=True)]
    there: dict[str, set[str]] = {}
    for number, file in enumerate(columns["file"]):
        parent, _, name = file.rpartition("/")
        if right[number] and parent not in there:
            there[parent] = _plain_files(folder, parent)
        right[number] = right[number] and name in there[parent] and not file.startswith("/")
    return right


def _plain_files(folder: Path, below: str) -> set[str]:
    """Names of keypoint files, without links, in a folder below another; none where it is oddly spelt."""
    odd = "\\" in below or {".", "..", ""} & set(below.split("/") if below else ())
    if odd or leaves(folder / below, folder):
        return set()
    try:
        with os.scandir(folder / below) as entries:
            return {
                entry.name
                for entry in entries
                if os.path.splitext(entry.name)[1].lower() in SUFFIXES
                and "\\" not in entry.name
                and entry.is_file(follow_symlinks=False)
            }
    except (OSError, ValueError):
        return set()


def _fault(
    row: dict[str, str], file: PurePosixPath, folder: Path, labels: dict[str, int], groups: list[str]
) -> tuple[str, str] | None:
    for column, word in row.items():
        if not is_safe(word):
            return f"a {column} without control characters and marks of direction", repr(word)[:80]
    if ".." in file.parts or not (folder / file).is_relative_to(folder) or leaves(folder / file, folder):
        return "a file in the folder of clips.csv, named from there", repr(row["file"])[:80]
    if file.suffix.lower() not in SUFFIXES:
        seen = f"{row['file']!r:.80}{_there_is(folder / file)}" if row["file"] else "none"
        return f"a file that ends in {', '.join(SUFFIXES)}", seen
    if row["action"] not in labels:
        expected = "an action out of classes in corpus.yml" if row["action"] else "an action"
        return expected, repr(row["action"])[:80]
    for group in groups:
        if not row[group]:
            return f"a {group} in each row, since there is such a column", "none"
    if row.get("split", "train") not in SPLITS:
        return f"a split out of {', '.join(SPLITS)} (leave the row out for none)", repr(row["split"])[:80]
    if not os.path.isfile(folder / file):  # False, not an error, where no file can have such a name
        return "the name of a file", f"no such file as {str(file)[:80]!r}{_there_is(folder / file)}"
    return None


def _there_is(path: Path) -> str:
    """What a file that is not there may be called, in brackets."""
    try:
        names = _names(path.parent, path.parent.stat().st_mtime_ns)
    except (OSError, ValueError):
        return ""
    name = names.get(plain(path.name)) or names.get(plain(path.stem))
    return f" (there is {name!r:.80})" if name else ""


@functools.lru_cache(maxsize=8)
def _names(folder: Path, _changed: int) -> dict[str, str]:
    """Files of a folder by their plain names, with and without suffix."""
    names = sorted(os.listdir(folder), reverse=True)
    return {plain(Path(name).stem): name for name in names} | {plain(name): name for name in names}


@functools.cache
def _tell(message: str) -> None:
    """Once a process: a folder is opened by whoever looks at it."""
    logger.warning("%s", escaped(message))


def _tell_of_alike(path: Path, words: Mapping[str, Iterable[str]]) -> None:
    for column, listed in words.items():
        for group in alike(listed):
            names = " and ".join(map(repr, group))
            _tell(f"{path}, {column}: {names} count as {len(group)}, though they differ in spelling alone")


def _tell_of_parts(
    path: Path, what: str, parts: Mapping[str, Collection[str]], known: Collection[str]
) -> None:
    """Clips in more than one part, names in no list of clips, and clips in no part."""
    found = []
    times = Counter(name for part in sorted(parts) for name in set(parts[part]))
    if both := sorted(name for name, n in times.items() if n > 1):
        found.append(f"{len(both)} are in more than one part, such as {both[0]}")
    if foreign := sorted(set(times) - set(known)):
        stems = {plain(name): name for name in known} | {plain(Path(name).stem): name for name in known}
        other = stems.get(plain(foreign[0])) or stems.get(plain(Path(foreign[0]).stem))
        there_is = f" (there is {other})" if other else ""
        found.append(f"{len(foreign)} names of its lists are no {what}, such as {foreign[0]}{there_is}")
    if rest := sorted(set(known) - set(times)):
        found.append(f"{len(rest)} of {len(set(known))} are in no part and not used, such as {rest[0]}")
    if found:
        _tell(f"{path}: {'; '.join(found)}")


def _tell_of_unlisted(path: Path, listed: set[str]) -> None:
    rest: list[str] = []
    for at, folders, files in os.walk(path.parent):
        below = "" if at == str(path.parent) else f"{Path(at).relative_to(path.parent).as_posix()}/"
        keypoints = (name for name in (*folders, *files) if os.path.splitext(name)[1].lower() in SUFFIXES)
        rest += [name for name in keypoints if f"{below}{name}" not in listed and not name.startswith("._")]
    if rest:
        _tell(f"{path}: {len(rest)} keypoint files of the folder are in no row, such as {min(rest)}")


def read_table(text: str) -> pd.DataFrame:
    """A csv table of text; the index is the line in the file. See `read_columns`."""
    import pandas as pd

    columns, lines = read_columns(text)
    return pd.DataFrame(columns, index=lines, dtype="str")


def number_words(words: pd.Series) -> pd.Series:
    """Integers as they are; if any is none, all words by their place in sorted order, from 0."""
    import pandas as pd

    if words.str.fullmatch(INTEGER).all():
        return words.astype("int64")
    return pd.Series(pd.factorize(words, sort=True)[0], words.index)


def _by_word(words: pd.Series, coded: pd.Series) -> dict[str, int]:
    """Integers by their plain form (1 for 01), other words as they stand."""
    spelled = dict(zip(words[coded.index].tolist(), coded.tolist(), strict=True))
    integers = all(word.lstrip("-").isdecimal() for word in spelled)
    return {str(number) if integers else word: number for word, number in spelled.items()}


def read_clip_pickle(path: Path, classes: SequenceOf[str]) -> ClipTable:
    """Lists the annotations of a pickle of the pyskl kind; its parts become protocols.

    Args:
        path: The file.
        classes: Class names; the labels are places in it.

    Raises:
        UserError: If it is another kind of file, or its labels begin at 1.
    """
    pickled = read_pyskl(path)
    numbers = [clip["label"] for clip in pickled.annotations if isinstance(clip, dict) and "label" in clip]
    labels = {number for number in numbers if isinstance(number, int)}
    if labels and min(labels) > 0 and max(labels) == len(classes):
        raise UserError(
            f"{path}: expected labels from 0 to {len(classes) - 1}, as corpus.yml has {len(classes)} "
            f"classes, saw {min(labels)} to {max(labels)}: they begin at 1; take 1 off each"
        )
    sources = [Source(name, str(path), str(position)) for position, name in enumerate(pickled.names)]
    protocols = protocols_of(pickled.split)
    columns = {name: "split" if name == "split" else f"split_{name}" for name in protocols}
    members = {
        columns[name]: {clip: SPLITS[part] for part in SPLITS for clip in protocol.get(part, ())}
        for name, protocol in protocols.items()
    }
    for name, protocol in protocols.items():
        _tell_of_parts(path, f"frame_dir ({name})", protocol, pickled.names)
    _tell_of_alike(path.with_name("corpus.yml"), {"classes": classes})
    label_of: dict[int, int] = {}  # of each source that is properly listed
    faults: dict[str, Fault] = {}
    for source, annotation in zip(sources, pickled.annotations, strict=True):
        label = annotation.get("label") if isinstance(annotation, dict) else None
        if isinstance(label, int) and 0 <= label < len(classes):
            label_of[id(source)] = label
        else:
            seen = repr(label) if isinstance(label, int) else f"a {type(label).__name__}"
            expected = f"a label from 0 to {len(classes) - 1}, as corpus.yml has {len(classes)} classes"
            faults[source.member] = (expected, seen, None)
    ordered = tuple(in_order(sources))
    proper = [source for source in ordered if id(source) in label_of]
    told = {column: [codes.get(source.name, -1) for source in proper] for column, codes in members.items()}
    told = {"action": [label_of[id(source)] for source in proper], **told}
    return ClipTable(
        class_names=tuple(classes),
        sources=ordered,
        rows=ClipRows([source.name for source in proper], told),
        faults=faults,
        numbers={},
        splits={name: (columns[name], "val" in protocol) for name, protocol in protocols.items()},
    )
