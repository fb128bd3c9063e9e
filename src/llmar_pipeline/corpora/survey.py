"""What lies in a folder of recordings, found out in seconds: by names, and by reading a few."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from llmar_pipeline.corpora.completeness import compare
from llmar_pipeline.corpora.corpus import Corpus, Reader
from llmar_pipeline.corpora.ingestion import QUARANTINE_COLUMNS
from llmar_pipeline.skeletons.sequence import Damaged, SkeletonFileError


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        clips: Clips by name.
        raw_bytes: Size of their files.
        stored_bytes: Size of one store of them, estimated from the sample.
        gaps: How they differ from the official numbers, in words; empty where they do not.
        foreign: Files whose names are none of the corpus's.
        sampled: Clips that were read.
        damaged: Those of them that could not be read.
    """

    clips: int
    raw_bytes: int
    stored_bytes: int
    gaps: str
    foreign: list[str]
    sampled: int
    damaged: list[Damaged]


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
    corpus = corpus.open(folder)
    sources = corpus.sources(folder)
    rows, foreign = [], []
    for source in sources:
        try:
            rows.append({"name": source.name, **corpus.parse_name(source.name)})
        except SkeletonFileError:
            foreign.append(source.path.name)
    chosen = [sources[i] for i in np.unique(np.linspace(0, len(sources) - 1, sample).astype(int))]
    with Reader(corpus, folder) as reader:
        items = list(reader.read(chosen))
    damaged = [item for item in items if isinstance(item, Damaged)]
    sizes = [item.data.nbytes for item in items if not isinstance(item, Damaged)]
    gaps = compare(pd.DataFrame(rows), pd.DataFrame(columns=QUARANTINE_COLUMNS), corpus)[0] if rows else ""
    return Survey(
        clips=len(rows),
        raw_bytes=sum(path.stat().st_size for path in {s.path for s in sources} if path.exists()),
        stored_bytes=int(np.mean(sizes) * len(rows)) if sizes else 0,
        gaps=gaps,
        foreign=foreign,
        sampled=len(items),
        damaged=damaged,
    )
