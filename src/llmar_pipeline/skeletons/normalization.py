"""From recorded coordinates to the form every later stage reads."""

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from llmar_pipeline.code_digest import CODE, code_of
from llmar_pipeline.files import json_checksum
from llmar_pipeline.progress import Progress
from llmar_pipeline.skeletons import transforms
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import Topology

logger = logging.getLogger(__name__)


class NormalizationConfig(BaseModel):
    """Which steps are taken, in the order of the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fill_gaps: bool  # interpolate joints over frames in which they are missing
    center: bool  # the first actor's root joint of the first frame becomes the origin
    align_view: bool  # 3D: turn about the vertical until the first actor faces the sensor; 2D: upright
    scale_to_body: bool  # the first actor's body, not the sensor, gives the unit; needed for pixels


def normalize(data: np.ndarray, topology: Topology, config: NormalizationConfig) -> np.ndarray:
    """Normalised copy of one sequence, without the empty frames at both ends; missing persons stay.

    Args:
        data: [person, frame, joint, coordinate], metres or pixels in the sensor's frame, y up, NaN where
            missing.
        topology: the body it is of.
        config: which steps.

    Returns:
        As many frames or fewer, float32, in the first actor's frame; near metres where scaled, else in the
        same unit.

    Source: centring as the field's reference preprocessing; the rest are its common alternatives.
    """
    data = transforms.trim(data)
    if config.fill_gaps:
        data = transforms.fill_gaps(data)
    if config.center:
        data = transforms.center(data, topology)
    if config.align_view:
        data = transforms.align_view(data, topology)
    if config.scale_to_body:
        data = transforms.scale_to_body(data, topology)
    return data


def normalize_store(source: Path, target: Path, config: NormalizationConfig) -> Path:
    """Normalise every sequence of a store into another, one at a time; a killed run continues.

    Args:
        source: folder of recorded sequences.
        target: folder of normalised sequences, in the same shards; those made from the same by an earlier run
            are kept.
        config: which steps.

    Returns:
        `target`.
    """
    recorded = SequenceStore.open(source)
    topology = recorded.body.topology
    made_from = {
        "topology": json_checksum(asdict(topology)),
        "normalization": config.model_dump(),
        CODE: code_of(__name__),
    }
    missing = np.zeros(2)  # and all, joints of people who are there
    progress = Progress(total=len(recorded), title="normalising")
    with progress, StoreWriter(target, recorded.body.persons, topology) as writer:
        for clips in recorded.shards:
            these = {**made_from, "recordings": recorded.digest_of(clips)}
            if writer.reuse(these) is not None:
                progress.update(len(clips))
                continue
            with writer.shard(these) as shard:
                for clip in clips:
                    sequence = recorded[clip]
                    data = without_absent(sequence.data)
                    missing += _missing(data)
                    shard.append(Sequence(sequence.name, normalize(data, topology, config)))
                    progress.update()
    if missing.all():
        logger.info("missing joints of people who are there: %.2g %%", 100 * missing[0] / missing[1])
    return target


def _missing(data: np.ndarray) -> np.ndarray:
    """How many joints of people are missing in frames in which they are seen, of how many."""
    seen = ~np.isnan(data).any(axis=-1)
    people = seen[seen.any(axis=-1)]
    return np.array([(~people).sum(), people.size])


def without_absent(data: np.ndarray) -> np.ndarray:
    """A recording without the absent persons at its end: a store pads every clip with them.

    Args:
        data: `[person, frame, joint, coordinate]`, NaN where missing.

    Returns:
        As many persons or fewer, one at least.
    """
    present = np.flatnonzero(~np.isnan(data).all(axis=(1, 2, 3)))
    return data[: 1 + int(present.max(initial=0))]
