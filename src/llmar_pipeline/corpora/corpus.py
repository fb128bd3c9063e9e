"""What every skeleton dataset has: a reader, class names, protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llmar_pipeline.corpora.formats.pyskl import load_clip, read_pyskl
from llmar_pipeline.corpora.plausible import check_reach
from llmar_pipeline.corpora.protocol import Protocol
from llmar_pipeline.corpora.reader import read_all
from llmar_pipeline.corpora.sources import Source, files_below, in_order
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Damaged, Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import Topology

if TYPE_CHECKING:
    import pandas as pd

LARGEST_FILE = 64 * 2**20  # bytes; a recording of an hour
_SHOWN = 100  # characters of an unforeseen error
PICKLE = ".pkl"
_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A skeleton dataset: its facts and how to read it.

    Attributes:
        name: Short name, as on the command line.
        topology: Its joints.
        class_names: Name of each label, in label order.
        suffix: How its files end, dot included.
        parse_name: File name to `action` (0-based label), `subject`, and `camera`, `setup`, `replication`
            where they exist (as the name has them); raises SkeletonFileError for a foreign name.
        parse: Name and content of a file to its sequence; raises SkeletonFileError where it is damaged.
        protocols: Protocols by name, the default first.
        persons: Most persons that a sequence of it has.
        parse_everyone: As `parse`, with everyone whom a file shows, `Sequence.bodies` in their order; None
            where clips show one person.
        download: Where to get the data and how to lay it out, in one sentence.
        citation: The publication to cite.
        units: Of the coordinates: "metres" or "pixels".
        vertical: Where y points in keypoint files made of it; what is read always has y up.
        metric: The number that its publications report: "accuracy" or "mean_class_accuracy".
        clips: Official number of clips, excluded ones not counted; None where it is unknown.
        class_clips: The same of each class, in label order; 0 where it has none.
        clip_frames: Mean frames of a clip, those of two persons counted twice; None where it is unknown.
        frame_rate: Frames a second of its recordings; None where it is unknown.
        captured: From an index, the names of all clips that the recording sessions in it must have, as far as
            the corpus's plan tells; None where it followed no plan.
        excluded: Names that `read` passes over: the authors ask everyone to leave them out.
    """

    name: str
    topology: Topology
    class_names: tuple[str, ...]
    suffix: str
    parse_name: Callable[[str], dict[str, int]]
    parse: Callable[[str, bytes], Sequence]
    protocols: dict[str, Protocol]
    persons: int
    parse_everyone: Callable[[str, bytes], Sequence] | None = None
    download: str
    citation: str
    units: Literal["metres", "pixels"] = "metres"
    vertical: Literal["up", "down"] = "up"
    metric: Literal["accuracy", "mean_class_accuracy"] = "accuracy"
    clips: int | None = None
    class_clips: tuple[int, ...] | None = None
    clip_frames: float | None = None
    frame_rate: float | None = None
    captured: Callable[[pd.DataFrame], set[str]] | None = None
    excluded: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def modules(self) -> list[str]:
        """Modules of this package that its reader is written in, as `code_of` takes them."""
        parts = (type(self), *(getattr(part, "func", part) for part in (self.parse, self.parse_name)))
        return sorted({part.__module__ for part in parts if part.__module__.startswith(f"{_PACKAGE}.")})

    @property
    def stored_bytes(self) -> int | None:
        """Size of one store of all official clips, about; None where too little is known."""
        if self.clips is None or self.clip_frames is None:
            return None
        numbers = len(self.topology.joints) * self.topology.coordinates
        return round(self.clips * self.clip_frames * numbers * 4)

    def open(self, folder: Path) -> Corpus:
        """The corpus as it lies in a folder: itself, unless the folder says what it is (`custom`)."""
        return self

    def for_a_process(self) -> Corpus:
        """What a process needs of it that reads clips out of files: no lists of them, which may be long."""
        return self

    def sources(self, folder: Path) -> list[Source]:
        """Every clip of a folder and its subfolders, by name, without the `excluded` ones.

        Where there is no file of the corpus but one pickle in pyskl's layout, they are those of the pickle.

        Args:
            folder: Where the recordings lie; or the pickle itself.

        Raises:
            UserError: If the folder does not exist or holds no file of the corpus.
        """
        folder = Path(folder)
        found = [folder] if folder.is_file() else list(files_below(folder))
        sources = [Source(path.stem, str(path)) for path in found if path.suffix.lower() == self.suffix]
        pickles = [path for path in found if path.suffix.lower() == PICKLE]
        if not sources and len(pickles) == 1:
            names = read_pyskl(pickles[0]).names
            sources = [Source(name, str(pickles[0]), str(place)) for place, name in enumerate(names)]
        if not sources:
            seen = f"{len(pickles)} pickles" if pickles else "none" if folder.exists() else "no such folder"
            raise UserError(
                f"{folder}: expected {self.name} files (*{self.suffix}) or one pickle of pyskl (*{PICKLE}), "
                f"saw {seen}. {self.download} "
                "Recordings that lie elsewhere are named by --params=raw_dir=<folder>."
            )
        return in_order(source for source in sources if source.name not in self.excluded)

    def load(self, source: Source | Path, named: bool = True, everyone: bool = False) -> Sequence:
        """Reads one clip.

        Args:
            source: Where it lies.
            named: Whether it must bear a name of this corpus, which says its class.
            everyone: Whether all people whom the file shows are kept, however many; `bodies` of the sequence
                then are in their order.

        Raises:
            SkeletonFileError: If it cannot be read, or is damaged, or does not bear such a name.
        """
        source = source if isinstance(source, Source) else Source(Path(source).stem, str(source))
        path = source.path
        try:
            sequence = self._load(source, named, everyone)
            check_reach(sequence, self.topology, self.units)
            return sequence
        except SkeletonFileError as error:
            raise SkeletonFileError(error.expected, error.seen, error.line, file=str(path)) from error
        except OSError as error:
            raise SkeletonFileError(
                "a readable file", error.strerror or repr(error), file=str(path)
            ) from error
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            seen = f"byte 0x{error.object[error.start]:02x}"
            raise SkeletonFileError("text in UTF-8", seen, line, file=str(path)) from error
        except UserError:
            raise
        except Exception as error:  # damage is endless, and one file must not end the reading of all others
            seen = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]
            raise SkeletonFileError("a file that its reader can read", seen, file=str(path)) from error

    def _load(self, source: Source, named: bool, everyone: bool) -> Sequence:
        if source.member:
            action = self.parse_name(source.name)["action"] if named else None
            place, persons = int(source.member), None if everyone else self.persons
            return load_clip(source.path, place, action, self.topology, persons, self.vertical)
        if named:
            self.parse_name(source.name)
        if not source.path.is_file() and source.path.exists():
            raise SkeletonFileError("a file", "something else")
        if (size := source.path.stat().st_size) > LARGEST_FILE:
            raise SkeletonFileError(f"at most {LARGEST_FILE >> 20} MiB", f"{size >> 20} MiB")
        content = source.path.read_bytes()
        if not content.strip():
            raise SkeletonFileError("a skeleton recording", "an empty file")
        parse = self.parse_everyone if everyone and self.parse_everyone else self.parse
        return parse(source.path.stem, content)

    def read(self, folder: Path, workers: int = 1) -> Iterator[Sequence | Damaged]:
        """Reads every clip of a folder and its subfolders, by name.

        Args:
            folder: Where the recordings lie.
            workers: Processes that parse; what is yielded, and in which order, does not depend on it.

        Returns:
            A sequence, or the reason why there is none, for each source.

        Raises:
            UserError: If the folder does not exist or holds no such file.
        """
        corpus = self.open(folder)
        return read_all(corpus, folder, corpus.sources(folder), workers)
