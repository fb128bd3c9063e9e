"""What later stages need to know of a corpus once its recordings are read."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.protocol import Protocol


class CorpusFacts(BaseModel):
    """The part of a `Corpus` that fits into a JSON file: a user's own is known only from their folder.

    Attributes:
        name: Short name.
        class_names: Name of each label, in label order.
        protocols: Protocols by name, the default first.
        units: Of the coordinates: "metres" or "pixels".
        vertical: Where y points in keypoint files.
        metric: The number that publications report: "accuracy" or "mean_class_accuracy".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    class_names: tuple[str, ...]
    protocols: dict[str, Protocol]
    units: Literal["metres", "pixels"]
    vertical: Literal["up", "down"]
    metric: Literal["accuracy", "mean_class_accuracy"]

    @classmethod
    def of(cls, corpus: Corpus) -> Self:
        """The facts of a corpus."""
        return cls(
            name=corpus.name,
            class_names=corpus.class_names,
            protocols=corpus.protocols,
            units=corpus.units,
            vertical=corpus.vertical,
            metric=corpus.metric,
        )
