"""Users' own recordings: a folder with `corpus.yml`, and `clips.csv` beside keypoint files, or one pickle."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from llmar_pipeline.corpora.corpus import PICKLE, Corpus
from llmar_pipeline.corpora.draws import spare
from llmar_pipeline.corpora.formats.keypoint_files import INTEGER, read_keypoints
from llmar_pipeline.corpora.formats.keypoints import to_sequence
from llmar_pipeline.corpora.formats.pyskl import load_clip
from llmar_pipeline.corpora.own.clip_rows import ClipRows
from llmar_pipeline.corpora.own.clip_table import (
    GROUPS,
    SPLITS,
    ClipTable,
    Fault,
    read_clip_pickle,
    read_clip_table,
)
from llmar_pipeline.corpora.own.corpus_file import CorpusFile
from llmar_pipeline.corpora.own.layout import find_layout
from llmar_pipeline.corpora.own.yaml_file import read_yaml
from llmar_pipeline.corpora.protocol import FOLDED, Protocol
from llmar_pipeline.corpora.sources import Source, leaves
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import NTU25

logger = logging.getLogger(__name__)

_TEST_SHARE = 0.2
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class CustomCorpus(Corpus):
    """Recordings whose facts are known once their folder is opened.

    Attributes:
        listed: All clips, by name.
        faults: By `Source.member`, what is wrong with a clip that is not properly listed.
    """

    listed: tuple[Source, ...] = field(default=(), repr=False)
    faults: dict[str, Fault] = field(default_factory=dict, repr=False)

    def open(self, folder: Path) -> "CustomCorpus":
        """The corpus that lies in a folder.

        Raises:
            UserError: If `corpus.yml`, the layout or the list of clips is missing or wrong.
        """
        folder = Path(folder)
        file = folder / "corpus.yml"
        if not file.is_file():
            seen = "none in it" if folder.is_dir() else "no such folder"
            raise UserError(f"{folder}: expected a folder with corpus.yml, saw {seen}. {self.download}")
        facts = read_yaml(file, CorpusFile)
        topology, vertical = find_layout(facts.layout, folder)
        if facts.pickle is None:
            table = read_clip_table(folder, facts.classes)
        else:
            if leaves(folder / facts.pickle, folder) or not (folder / facts.pickle).is_file():
                seen = f"{facts.pickle!r:.80}"
                raise UserError(f"{file}, pickle: expected a file in this folder, saw {seen}; move it there.")
            table = read_clip_pickle(folder / facts.pickle, facts.classes or ())
        rows = table.rows
        protocols = _own_protocols(facts, table, file)
        if not protocols:
            rows, protocols = _seeded_protocol(rows)
        one_subject = len(set(table.numbers.get("subject", {}).values())) < 2
        protocols = {**protocols, **_folded_protocols(rows, one_subject), **protocols}  # own ones win
        if one_subject and all(protocol.by != "subject" for protocol in protocols.values()):
            # A validation part is whole subjects: where that cannot be, each clip stands for its own.
            rows = rows.with_column("subject", range(len(rows)))
        return replace(
            self,
            topology=replace(topology, coordinates=facts.coordinates or topology.coordinates),
            class_names=table.class_names,
            parse_name=partial(_look_up, rows),
            protocols=protocols,
            persons=facts.persons,
            units=facts.units,
            vertical=facts.vertical or vertical or ("down" if facts.units == "pixels" else "up"),
            listed=table.sources,
            faults=table.faults,
        )

    def for_a_process(self) -> "CustomCorpus":
        """Of files that hold a clip each, the names are not looked up."""
        if any(source.at.lower().endswith(PICKLE) for source in self.listed):
            return self
        return replace(self, listed=(), parse_name=partial(_look_up, {}))

    def sources(self, folder: Path) -> list[Source]:
        """Every clip that the table or the pickle lists, also those that cannot be read."""
        return list(self.listed or self.open(folder).listed)

    def _load(self, source: Source, named: bool, everyone: bool) -> Sequence:
        if source.member in self.faults:
            raise SkeletonFileError(*self.faults[source.member])
        persons = None if everyone else self.persons
        if source.member:
            action = self.parse_name(source.name)["action"] if named else None
            place = int(source.member)
            return load_clip(source.path, place, action, self.topology, persons, self.vertical, ranked=True)
        keypoints, scores = read_keypoints(source.path, self.topology)
        return to_sequence(source.name, keypoints, scores, self.topology, persons, self.vertical)


def _look_up(rows: Mapping[str, dict[str, int]], name: str) -> dict[str, int]:
    try:
        return rows[name]
    except KeyError:
        raise SkeletonFileError("the name of a clip that corpus.yml's list has", repr(name)[:80]) from None


def _own_protocols(facts: CorpusFile, table: ClipTable, file: Path) -> dict[str, Protocol]:
    protocols = {
        name: Protocol(
            name,
            by=column,
            train=frozenset({SPLITS["train"]}),
            test=frozenset({SPLITS["test"]}),
            val=frozenset({SPLITS["val"]}) if has_val else None,
        )
        for name, (column, has_val) in table.splits.items()
    }
    for name, own in facts.protocols.items():
        if own.by not in table.numbers:
            columns = ", ".join(group for group in GROUPS if group in table.numbers) or "none of them"
            raise UserError(
                f"{file}, protocols.{name}.by: expected a column of clips.csv ({columns}), saw {own.by!r}; "
                "add the column or choose another."
            )
        coded: dict[str, frozenset[int] | None] = {}
        numbers = table.numbers[own.by]
        for part in ("train", "test", "val"):
            values = getattr(own, part)
            for value in values or ():
                if _spelled(value, numbers) not in numbers:
                    known = ", ".join(table.numbers[own.by])[:100]
                    raise UserError(
                        f"{file}, protocols.{name}.{part}: expected values of column {own.by} of clips.csv "
                        f"({known}), saw {value!r}; correct the list or the table."
                    )
            coded[part] = (
                None if values is None else frozenset(numbers[_spelled(value, numbers)] for value in values)
            )
        train = coded["train"] or frozenset()
        protocols[name] = Protocol(name, by=own.by, train=train, test=coded["test"], val=coded["val"])
    return protocols


def _spelled(value: int | str, numbers: dict[str, int]) -> str:
    """A value as its column has it: 08 is 8 where all of them are numbers."""
    word = str(value).strip()
    return str(int(word)) if word not in numbers and re.fullmatch(INTEGER, word) else word


def _seeded_protocol(rows: ClipRows) -> tuple[ClipRows, dict[str, Protocol]]:
    """Marks a fifth of the subjects, or of each class where there are no two subjects, as test clips.

    Subjects without whom a class would lose its training clips are passed over, if there are others.
    """
    rng = np.random.default_rng(_SEED)
    actions, of_each = rows.columns["action"], rows.columns.get("subject", ())
    subjects = sorted(set(of_each))
    if len(subjects) > 1:
        whose = "subjects"
        drawn = [subjects[i] for i in rng.permutation(len(subjects))]
        number = _share(len(subjects))
        chosen = spare(drawn, of_each, actions, number) or set(drawn[:number])
        tested = [subject in chosen for subject in of_each]
    else:
        whose = "clips of each class"
        clips: dict[int, list[str]] = {}
        for name, action in sorted(zip(rows, actions, strict=True)):
            clips.setdefault(action, []).append(name)
        test = set().union(*(_draw(names, rng) for _, names in sorted(clips.items())))
        tested = [name in test for name in rows]
    logger.warning("no split column and no protocols: a fifth of the %s is drawn as the test part", whose)
    split = [SPLITS["test" if test else "train"] for test in tested]
    train, test_part = frozenset({SPLITS["train"]}), frozenset({SPLITS["test"]})
    return rows.with_column("split", split), {
        "split": Protocol("split", by="split", train=train, test=test_part)
    }


def _folded_protocols(rows: ClipRows, one_subject: bool) -> dict[str, Protocol]:
    """All clips train: which of them test, a fold says (see `corpora.folds`)."""
    labels = frozenset(rows.columns["action"])
    names = FOLDED[1:] if one_subject else FOLDED
    return {
        name: Protocol(name, by="action", train=labels, test=frozenset(), val=frozenset()) for name in names
    }


def _draw(items: list[Any], rng: np.random.Generator) -> set[Any]:
    return {items[i] for i in rng.permutation(len(items))[: _share(len(items))]}


def _share(number: int) -> int:
    return max(1, round(_TEST_SHARE * number)) if number > 1 else 0


def _parse(name: str, content: bytes) -> Sequence:
    raise SkeletonFileError("a clip of an opened folder", f"the content of {name} alone")


CUSTOM = CustomCorpus(
    name="custom",
    topology=NTU25,
    class_names=(),
    suffix=".npz",
    parse_name=partial(_look_up, {}),
    parse=_parse,
    protocols={},
    persons=2,
    download="Describe your recordings in corpus.yml and clips.csv as docs/data.md says, in this folder.",
    citation="Recordings of the user's own.",
)
"""What a user's corpus is before its folder is opened: `open` gives the joints, classes and protocols."""
