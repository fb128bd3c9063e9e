"""What lies in a folder of recordings, found out in seconds: by names, and by reading a few."""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.reader import Reader
from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.ingestion.completeness import compare
from llmar_pipeline.ingestion.ingest import QUARANTINE_COLUMNS, table_of
from llmar_pipeline.skeletons.sequence import Damaged, SkeletonFileError
from llmar_pipeline.skeletons.topology import Body


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        clips: One row a clip whose name is the corpus's, and what it says; unread but for the sample.
        quarantine: One row a file whose name is not, or that is not properly listed.
        body: What a store of them works on.
        gaps: How the clips differ from the official numbers, in words; empty where they do not.
        facts: Class names and protocols.
        raw_bytes: Size of the files.
        stored_bytes: Size of one store of them, estimated from the sample.
        sampled: Clips that were read.
        damaged: Those of them that could not be.
        frames: Mean number of frames of those that could.
        seconds: Median time that reading one of them took.
    """

    clips: pd.DataFrame
    quarantine: pd.DataFrame
    body: Body
    gaps: str
    facts: CorpusFacts
    raw_bytes: int
    stored_bytes: int
    sampled: int
    damaged: list[Damaged]
    frames: float
    seconds: float


def survey(corpus: Corpus, folder: Path, sample: int = 20) -> Survey:
    """Look at a folder before anything is run.

    Args:
        corpus: Whose recordings it should hold.
        folder: Where they lie.
        sample: How many to read, evenly spread over the names.

    Raises:
        UserError: No recordings there.

    Source: ours.
    """
    official, corpus = corpus, corpus.open(folder)
    sources = corpus.sources(folder)
    proper: list[Source] = []
    foreign: list[Source] = []

    def told() -> Iterator[dict[str, object]]:
        for source in sources:
            try:
                row = {"name": source.name, **corpus.parse_name(source.name)}
            except SkeletonFileError:
                foreign.append(source)
            else:
                proper.append(source)
                yield row

    clips = table_of(told())
    chosen = (
        [proper[i] for i in np.unique(np.linspace(0, len(proper) - 1, sample).astype(int))] if proper else []
    )
    with Reader(corpus, folder) as reader:
        items, clock = [], [time.perf_counter()]
        for item in reader.read(chosen):
            items.append(item)
            clock.append(time.perf_counter())
        refused = [asdict(item) for item in reader.read(foreign) if isinstance(item, Damaged)]
    sizes = [item.data.nbytes for item in items if not isinstance(item, Damaged)]
    quarantine = pd.DataFrame(refused, columns=QUARANTINE_COLUMNS)
    return Survey(
        clips=clips,
        quarantine=quarantine,
        body=Body(corpus.topology, corpus.persons),
        gaps=compare(clips, quarantine, official, corpus.class_names)[0],
        facts=CorpusFacts.of(corpus),
        raw_bytes=sum(map(_size, {source.at for source in sources})),
        stored_bytes=int(np.mean(sizes) * len(proper)) if sizes else 0,
        sampled=len(items),
        damaged=[item for item in items if isinstance(item, Damaged)],
        frames=float(np.mean([item.n_frames for item in items if not isinstance(item, Damaged)] or [0])),
        seconds=float(np.median(np.diff(clock))) if items else 0.0,
    )


def _size(file: str) -> int:
    """Bytes of a file; none where there is no such file."""
    try:
        return os.stat(file).st_size
    except (OSError, ValueError):
        return 0
