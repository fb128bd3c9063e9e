"""What every skeleton dataset has: a reader, class names, protocols."""

import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Damaged, Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import Topology

_FILES_PER_TASK = 32


@dataclass(frozen=True)
class Protocol:
    """A rule from the index of a corpus to training, validation and test clips.

    The validation part is whole training subjects: no person is in both, and test clips are never touched.

    Attributes:
        name: Short name, as on the command line.
        by: The index column that decides.
        train: Its values that train.
        test: Its values that test; None stands for all others.
        excluded: Names of clips that the corpus's authors ask everyone to leave out.
    """

    name: str
    by: str
    train: frozenset[int]
    test: frozenset[int] | None = None
    excluded: frozenset[str] = field(default=frozenset(), repr=False)

    def __call__(self, index: pd.DataFrame, val_share: float = 0.1, seed: int = 0) -> pd.Series:
        """Splits an index.

        Args:
            index: One row a clip: `name`, `subject` and the deciding column, as `Corpus.parse_name`
                gives them.
            val_share: Share of the training subjects that validate instead: at least one, unless the share
                is 0 or there is only one. 0 gives the official split.
            seed: Picks the subjects; the order of the rows does not matter.

        Returns:
            "train", "val", "test" or "unused" for each row, indexed like `index`.

        Raises:
            UserError: If a column is missing.
        """
        lacking = {"name", "subject", self.by} - set(index.columns)
        if lacking:
            raise UserError(
                f"Protocol {self.name!r}: expected the index columns name, subject, {self.by}; saw no "
                f"{', '.join(sorted(lacking))}; make the index with Corpus.parse_name."
            )
        usable = index[self.by].notna() & ~index["name"].isin(self.excluded)
        train = usable & index[self.by].isin(self.train)
        test = usable & (
            ~index[self.by].isin(self.train) if self.test is None else index[self.by].isin(self.test)
        )
        subjects = np.array(sorted(index.loc[train.to_numpy(), "subject"].unique()))
        n_val = max(1, round(val_share * len(subjects))) if val_share > 0 and len(subjects) > 1 else 0
        validating = np.random.default_rng(seed).permutation(subjects)[:n_val]
        val = train & index["subject"].isin(validating)
        split = np.select([val, train, test], ["val", "train", "test"], "unused")
        return pd.Series(split, index=index.index, name="split", dtype="str")


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
        download: Where to get the data and how to lay it out, in one sentence.
        citation: The publication to cite.
        metric: The number that its publications report: "accuracy" or "mean_class_accuracy".
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
    download: str
    citation: str
    metric: str = "accuracy"
    excluded: frozenset[str] = field(default=frozenset(), repr=False)

    def load(self, path: Path) -> Sequence:
        """Reads one file.

        Raises:
            SkeletonFileError: If it cannot be read, or is damaged, or does not bear a name of this corpus.
        """
        path = Path(path)
        try:
            self.parse_name(path.name)
            content = path.read_bytes()
            if not content.strip():
                raise SkeletonFileError("a skeleton recording", "an empty file")
            return self.parse(path.stem, content)
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

    def read(self, folder: Path, workers: int = 1) -> Iterator[Sequence | Damaged]:
        """Reads every file of a folder and its subfolders, in the order of their paths.

        Args:
            folder: Where the recordings lie.
            workers: Processes that parse; what is yielded, and in which order, does not depend on it.

        Returns:
            A sequence, or the reason why there is none, for each file with the corpus's suffix, except
            those on the list of `excluded` names.

        Raises:
            UserError: If the folder does not exist or holds no such file.
        """
        folder = Path(folder)
        # Links are followed: data often lie on another disk.
        found = (Path(at, file) for at, _, files in os.walk(folder, followlinks=True) for file in files)
        paths = sorted(path for path in found if path.suffix == self.suffix)
        if not paths:
            seen = "none" if folder.is_dir() else "no such folder"
            raise UserError(
                f"{folder}: expected {self.name} files (*{self.suffix}), saw {seen}. {self.download} "
                "Recordings that lie elsewhere are named by --params=raw_dir=<folder>."
            )
        return self._read([path for path in paths if path.stem not in self.excluded], folder, workers)

    def _read(self, paths: list[Path], folder: Path, workers: int) -> Iterator[Sequence | Damaged]:
        read_one = partial(_read_one, self.load, folder)
        first: dict[str, Path] = {}
        for path, item in zip(paths, _map(read_one, paths, workers), strict=True):
            if path.stem in first:
                at, other = (
                    path.relative_to(folder).as_posix(),
                    first[path.stem].relative_to(folder).as_posix(),
                )
                yield Damaged(path.stem, at, None, "a name that occurs once", f"the name of {other}")
            else:
                first[path.stem] = path
                yield item


def _read_one(load: Callable[[Path], Sequence], folder: Path, path: Path) -> Sequence | Damaged:
    try:
        return load(path)
    except SkeletonFileError as error:
        file = path.relative_to(folder).as_posix()
        return Damaged(path.stem, file, error.line, error.expected, error.seen)


def _map(
    read_one: Callable[[Path], Sequence | Damaged], paths: list[Path], workers: int
) -> Iterator[Sequence | Damaged]:
    """Like `map`, over processes, with no more than a few tasks' results waiting in memory."""
    if workers <= 1:
        yield from map(read_one, paths)
        return
    # Spawned, not forked: the calling process may hold threads (PyTorch's) that do not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = iter(paths)
        while batch := list(itertools.islice(waiting, 4 * workers * _FILES_PER_TASK)):
            yield from pool.map(read_one, batch, chunksize=_FILES_PER_TASK)
