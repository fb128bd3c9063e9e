"""From a file of any format to a recording of the body that a model works on, and to the people in it."""

from dataclasses import replace
from itertools import combinations

import numpy as np

from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.recordings import corpus_of_clip
from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.mapping import mapped
from llmar_pipeline.skeletons.normalization import NormalizationConfig
from llmar_pipeline.skeletons.sequence import Sequence


def read_clip(
    clip: Source, own: Corpus, steps: NormalizationConfig, form: str | None = None, everyone: bool = False
) -> Sequence:
    """Read one clip for a model, with its joints where they are others.

    Args:
        clip: Where it lies.
        own: The corpus of the model's training, with its body, units and axes.
        steps: What the model's normalisation takes out of a recording.
        form: One of `corpora.recordings.FORMATS`; by default the content says what it is.
        everyone: Whether all people are kept, with `Sequence.bodies` in their order; else as many as the
            model was trained on, as the clip's own corpus chooses them.

    Returns:
        `[person, frame, joint, coordinate]` in the model's joints, y up, NaN where one is unseen; the remark
        says what was mapped or left out.

    Raises:
        UserError: It is damaged or no recording, or its joints or units cannot be those of the model.

    Source: ours.
    """
    corpus = corpus_of_clip(clip, own, form)
    sequence = corpus.load(clip, named=False, everyone=everyone)
    remarks = [sequence.remark]
    if corpus.topology != own.topology:
        if not steps.center:
            raise UserError(
                f"{clip.at}: expected joints of {own.topology.name}, saw {corpus.topology.name}, whose "
                "origin may be another one, and the model does not centre (normalization.center)"
            )
        try:
            sequence = replace(sequence, data=mapped(sequence.data, corpus.topology, own.topology))
        except UserError as error:
            raise UserError(f"{clip.at}: {error.message}") from error
        remarks.append(f"joints of {corpus.topology.name} taken for those of {own.topology.name}")
    if corpus.units != own.units and not steps.scale_to_body:
        raise UserError(
            f"{clip.at}: expected coordinates in {own.units}, saw {corpus.units}, and the model does not "
            "scale bodies (normalization.scale_to_body); take a model that was trained on such recordings"
        )
    if not everyone and sequence.n_persons > own.persons:
        remarks.append(f"{own.persons} of {sequence.n_persons} people are read")
        sequence = replace(sequence, data=sequence.data[: own.persons])
    return replace(sequence, remark="; ".join(filter(None, remarks)))


def people_of(sequence: Sequence, pairs: bool) -> dict[tuple[str, ...], Sequence]:
    """A recording of each person, and of each two who are seen together.

    Args:
        sequence: With everyone in it, as `read_clip` reads it.
        pairs: Whether two make a recording.

    Returns:
        By the names that the file has for them (ids of a Kinect's bodies, else numbers from 1 on), the
        recordings, `bodies` those in it.

    Source: ours.
    """
    bodies = sequence.bodies
    names = [body.body for body in bodies] or [str(number + 1) for number in range(sequence.n_persons)]
    seen = ~np.isnan(sequence.data).all(axis=(2, 3))
    rows: list[tuple[int, ...]] = [(person,) for person in range(len(names))]
    if pairs:
        rows += [pair for pair in combinations(range(len(names)), 2) if seen[list(pair)].all(axis=0).any()]
    return {
        tuple(names[person] for person in who): replace(
            sequence,
            name=f"{sequence.name}, {' and '.join(names[person] for person in who)}",
            data=sequence.data[list(who)],
            bodies=tuple(bodies[person] for person in who) if bodies else (),
        )
        for who in rows
    }
