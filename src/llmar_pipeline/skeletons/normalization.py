"""From recorded coordinates to the form every later stage reads."""

from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from llmar_pipeline.skeletons import transforms
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import SequenceStore, StoreWriter
from llmar_pipeline.skeletons.topology import Topology


class NormalizationConfig(BaseModel):
    """Which steps are taken, in the order of the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fill_gaps: bool  # interpolate joints over frames in which they are missing
    center: bool  # the first actor's root joint of the first frame becomes the origin
    align_view: bool  # turn about the vertical until the first actor faces the sensor


def normalize(data: np.ndarray, topology: Topology, config: NormalizationConfig) -> np.ndarray:
    """Normalised copy of one sequence; shape and missing persons stay as they are.

    Args:
        data: [person, frame, joint, coordinate], metres in the sensor's frame, NaN where missing.
        topology: the body it is of.
        config: which steps.

    Returns:
        Same shape, float32, metres in the first actor's frame.

    Source: centring as the field's reference preprocessing; the rest are its common alternatives.
    """
    if config.fill_gaps:
        data = transforms.fill_gaps(data)
    if config.center:
        data = transforms.center(data, topology)
    if config.align_view and topology.coordinates == 3:
        data = transforms.align_view(data, topology)
    return data


def normalize_store(source: Path, target: Path, topology: Topology, config: NormalizationConfig) -> Path:
    """Normalise every sequence of a store into another, one at a time.

    Args:
        source: folder of recorded sequences.
        target: folder of normalised sequences; replaced.
        topology: the body they are of.
        config: which steps.

    Returns:
        `target`.
    """
    recorded = SequenceStore.open(source)
    with StoreWriter(target, recorded.persons, len(topology.joints), topology.coordinates) as writer:
        for sequence in recorded:
            writer.append(Sequence(sequence.name, normalize(sequence.data, topology, config)))
    return target
