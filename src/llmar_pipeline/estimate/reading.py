"""What a run will read, known before it reads it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.shots import ALL, ShotsConfig, take_shots
from llmar_pipeline.corpora.splits import split_run
from llmar_pipeline.corpora.unseen import UnseenConfig
from llmar_pipeline.demo.recordings import DemoConfig
from llmar_pipeline.errors import UserError
from llmar_pipeline.ingestion.survey import Survey, survey
from llmar_pipeline.records import check_recorded

FRAMES = 70.0  # of a clip, where none was looked at
A_READ_CLIP = 0.005  # seconds, where none was looked at


@dataclass(frozen=True)
class Recordings:
    """What a run reads.

    Attributes:
        splits: Columns split and action.
        frames: Of a clip, on average.
        read: Seconds that reading a clip takes one process.
        made_up: Clips that are made up first.
        known: Where this is known from.
    """

    splits: pd.DataFrame
    frames: float
    read: float
    made_up: int
    known: str

    def count(self, split: str) -> int:
        """Clips of a split."""
        return int((self.splits["split"] == split).sum())

    def classes(self, *splits: str) -> list[str]:
        """Names of the classes of some splits."""
        return sorted(self.splits.loc[self.splits["split"].isin(splits), "action"].unique())


def look(
    selection: Mapping[str, Any],
    parameters: Mapping[str, Any],
    found: Survey | None = None,
    officially: bool = False,
) -> Recordings:
    """What the run reads: from its own split where that lies there, else from the recordings.

    Args:
        selection: The configuration's globals.
        parameters: The merged parameters.
        found: What lies in the folder of recordings, if it was looked at already.
        officially: Whether official counts may stand for recordings that are not there.

    Raises:
        UserError: There are none.
    """
    protocol, unseen = selection["protocol"], UnseenConfig(**parameters["unseen"])
    shots = ShotsConfig(**parameters["shots"])
    split = Path(selection["data_dir"], "03_primary", selection["split_folder"], "splits.parquet")
    index = Path(selection["data_dir"], "02_intermediate", selection["recordings_folder"], "index.parquet")
    # Where one is gone or damaged, who needs it says so, or makes it again.
    with suppress(UserError, OSError, ValueError, KeyError):
        check_recorded(split, "")
        check_recorded(index, "")
        splits, frames = pd.read_parquet(split), pd.read_parquet(index, columns=["frames"])["frames"]
        return Recordings(splits, float(frames.mean()), A_READ_CLIP, 0, f"{len(splits):,} clips of {split}")
    corpus = CORPORA[selection["corpus"]]
    if parameters["demo_recordings"] is not None:
        clips = made_up_clips(corpus.name, parameters["demo_recordings"])
        facts, frames, read, made_up = CorpusFacts.of(corpus), FRAMES, A_READ_CLIP, len(clips)
        known = f"{made_up:,} clips to be made up"
    else:
        try:
            found = found or survey(corpus, Path(selection["raw_dir"]))
        except UserError:
            if not officially or corpus.clips is None:
                raise
            return _official(corpus, shots)
        facts, clips, frames, read, made_up = found.facts, found.clips, found.frames, found.seconds, 0
        known = f"{len(clips):,} clips in {selection['raw_dir']}, {found.sampled} of them looked at"
    val_share, fold = parameters["val_share"], parameters["fold"]
    splits, _ = split_run(clips, facts, protocol, val_share, fold, unseen, shots)
    return Recordings(splits, frames, read, made_up, known)


def made_up_clips(corpus: str, demo: Mapping[str, Any]) -> pd.DataFrame:
    """One row a clip that the generator will make: name, and what it says."""
    parse_name = CORPORA[corpus].parse_name
    return pd.DataFrame([{"name": name, **parse_name(name)} for name in DemoConfig(**demo).names])


def _official(corpus: Corpus, shots: ShotsConfig) -> Recordings:
    """As many clips as publications name, about two thirds of them to train, as in most protocols."""
    number, names = corpus.clips or 0, corpus.class_names
    pattern = ["train"] * 7 + ["val"] + ["test"] * 4
    rows = [(pattern[i % 12], names[i // 12 % len(names)]) for i in range(number)]
    splits = pd.DataFrame(rows, columns=["split", "action"])
    labelled = splits.assign(name=splits.index.astype(str), label=pd.factorize(splits["action"])[0])
    splits["split"] = take_shots(labelled, shots)
    share = "two thirds" if shots.clips == ALL else f"{shots.clips} a class"
    return Recordings(splits, FRAMES, A_READ_CLIP, 0, f"{number:,} clips officially, {share} to train")
