"""Reading a folder of recordings once, into one store; what cannot be read is listed, not lost."""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import asdict
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from llmar_pipeline.code_digest import CODE, code_of
from llmar_pipeline.corpora.corpus import PICKLE, Corpus
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.formats.pyskl import forget
from llmar_pipeline.corpora.reader import Reader
from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.files import json_checksum, write_json
from llmar_pipeline.progress import Progress
from llmar_pipeline.skeletons.sequence import Damaged, SkeletonFileError
from llmar_pipeline.skeletons.store_writer import CLIPS_PER_SHARD, Shard, StoreWriter, by_shard

logger = logging.getLogger(__name__)

QUARANTINE_COLUMNS = ["name", "file", "line", "expected", "seen"]
BODY_COLUMNS = ["name", "body", "frames", "motion", "decision"]
REMARK_COLUMNS = ["name", "problem"]
_COLUMNS = {"damaged": QUARANTINE_COLUMNS, "bodies": BODY_COLUMNS, "remarks": REMARK_COLUMNS}
_LISTING = "listing.json"
_ROWS_AT_ONCE = 10_000


class IngestionConfig(BaseModel):
    """How to read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(gt=0)  # processes that parse; results do not depend on it
    max_quarantined_share: float = Field(ge=0, le=1)  # of all clips; above it the run refuses to go on


class Ingested(NamedTuple):
    """What a folder of recordings holds.

    Attributes:
        index: One row a readable clip: name, frames, persons, and what its name says: action, subject,
            camera, ...
        quarantine: One row a clip left out: name, file, line, expected, seen.
        bodies: One row a body of a recording that shows several: name, body, frames, motion, decision.
        remarks: One row a clip that was not taken as it stands: name, problem.
        facts: Class names and protocols.
    """

    index: pd.DataFrame
    quarantine: pd.DataFrame
    bodies: pd.DataFrame
    remarks: pd.DataFrame
    facts: CorpusFacts


def ingest(corpus: Corpus, raw: Path, target: Path, config: IngestionConfig) -> Ingested:
    """Read every recording of a folder into a store; a killed reading continues where it stopped.

    Args:
        corpus: who knows the format.
        raw: folder of recordings.
        target: folder of the store; what an earlier reading left there is reused where it came from the
            same files (names, sizes and times of change).
        config: speed and limits.

    Raises:
        UserError: no recordings there.
    """
    corpus = corpus.open(raw)
    sources = corpus.sources(raw)
    pickled = any(source.at.endswith(PICKLE) for source in sources)
    workers = 1 if pickled else config.workers  # each process would hold a copy of the whole pickle
    progress = Progress(total=len(sources), title=f"reading {corpus.name}")
    notes: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _COLUMNS}
    code = code_of(__name__, *corpus.modules)
    with (
        progress,
        StoreWriter(target, corpus.persons, corpus.topology) as writer,
        Reader(corpus, raw, workers) as reader,
    ):
        for numbers in by_shard([source.name for source in sources], CLIPS_PER_SHARD):
            batch = [sources[number] for number in numbers]
            made_from = _made_from(corpus, batch, raw, code)
            noted = writer.reuse(made_from)
            if noted is None:
                with writer.shard(made_from) as shard:
                    _read_shard(reader, batch, shard, progress)
                noted = shard.notes
            else:
                progress.update(len(batch))
            for kind, rows in notes.items():
                rows += noted[kind]
        forget()
        clips = pd.DataFrame({key: writer.column(key) for key in ("names", "frames", "persons")})
        clips = clips.rename(columns={"names": "name"}).sort_values("name", ignore_index=True)
        told = table_of(map(corpus.parse_name, clips["name"]))
        _list_clips(target, pd.concat([clips, told], axis=1), notes, corpus)
    logger.info("%d recordings read from %s", len(clips), raw)
    read = read_listing(target)
    for name, problem in read.remarks.head(1).itertuples(index=False):
        number, first = len(read.remarks), f"{name}: {problem}"
        logger.warning("%d of them not as they stand, such as %s (clips_amiss.parquet)", number, first)
    return read


def table_of(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """A table of rows that are made as they are needed: as mappings, those of all clips take much memory."""
    waiting, parts = iter(rows), []
    while some := list(islice(waiting, _ROWS_AT_ONCE)):
        parts.append(pd.DataFrame(some))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _list_clips(
    store: Path, clips: pd.DataFrame, notes: dict[str, list[dict[str, Any]]], corpus: Corpus
) -> None:
    """Write what was read, by name and in columns, for `read_listing`."""
    listing: dict[str, Any] = {"clips": clips.to_dict("list")}
    for kind, columns in _COLUMNS.items():
        rows = sorted(notes[kind], key=itemgetter("name"))
        listing[kind] = {column: [row[column] for row in rows] for column in columns}
    facts = CorpusFacts.of(corpus).model_dump(mode="json")
    write_json(store / _LISTING, {**listing, "facts": facts}, indent=None)


def read_listing(store: Path) -> Ingested:
    """What `ingest` has read into a store."""
    listing = json.loads((store / _LISTING).read_text(encoding="utf-8"))
    quarantine, bodies, remarks = (
        pd.DataFrame(list(zip(*listing[kind].values(), strict=True)), columns=columns)
        for kind, columns in _COLUMNS.items()
    )
    quarantine["line"] = quarantine["line"].astype("Int64")
    facts = CorpusFacts.model_validate(listing["facts"])
    remarks = remarks.astype("str")
    return Ingested(pd.DataFrame(listing["clips"]), quarantine, bodies, remarks, facts)


def _read_shard(reader: Reader, sources: list[Source], shard: Shard, progress: Progress) -> None:
    damaged: list[dict[str, object]] = []
    bodies: list[dict[str, object]] = []
    remarks: list[dict[str, object]] = []
    for item in reader.read(sources):
        progress.update()
        if isinstance(item, Damaged):
            damaged.append(asdict(item))
            continue
        shard.append(item)
        bodies += [{"name": item.name, **asdict(body)} for body in item.bodies]
        remarks += [{"name": item.name, "problem": item.remark}] if item.remark else []
    shard.notes |= {"damaged": damaged, "bodies": bodies, "remarks": remarks}


def _made_from(
    corpus: Corpus, sources: SequenceOf[Source], raw: Path, code: dict[str, list[str]]
) -> dict[str, Any]:
    """What a shard depends on: its files (size, time of change), what is listed of them, and the reader."""
    files: list[object] = []
    for source in sources:
        files += [source.name, source.file(raw), source.member]
        try:
            stat = os.stat(source.at)
            files += [stat.st_size, stat.st_mtime_ns]
            files.append(corpus.parse_name(source.name))
        except (OSError, SkeletonFileError) as error:
            files.append(str(error))
    return {
        "corpus": corpus.name,
        "persons": corpus.persons,
        "vertical": corpus.vertical,
        "topology": json_checksum(asdict(corpus.topology)),
        "files": json_checksum(files),
        CODE: code,
    }
