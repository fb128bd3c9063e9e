"""The file in which users say what their recordings are: `corpus.yml`."""

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    model_validator,
)

from llmar_pipeline.corpora.corpus import PICKLE
from llmar_pipeline.errors import is_safe


def _safe(name: str) -> str:
    if not is_safe(name):
        raise ValueError("expected a name without control characters and marks of direction, saw one")
    return name


ClassName = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True), AfterValidator(_safe)]
Values = list[StrictInt | str]
ProtocolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")]


class OwnProtocol(BaseModel):
    """Which values of a column of `clips.csv` train, test and validate.

    Attributes:
        by: The column.
        train: Its values that train.
        test: Its values that test; None stands for all others.
        val: Its values that validate; None takes a tenth of the training subjects.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["subject", "camera", "setup"]
    train: Values = Field(min_length=1)
    test: Values | None = None
    val: Values | None = None

    @model_validator(mode="after")
    def _is_disjoint(self) -> Self:
        values = [str(value) for part in (self.train, self.test, self.val) for value in part or ()]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise ValueError(f"expected each value in one of train, test, val, saw {', '.join(twice)} again")
        return self


class CorpusFile(BaseModel):
    """The content of `corpus.yml`.

    Attributes:
        layout: Name of a ready-made layout, or path of a YAML file in the folder.
        units: Of the coordinates.
        coordinates: 2 or 3; None takes the layout's.
        vertical: The way y grows in the files; None takes the layout's, or down for pixels and up for metres.
        persons: Most persons of a clip.
        classes: Class names in label order; None stands for those in the table, sorted.
        protocols: Protocols by name.
        pickle: A pickle of the pyskl kind, which takes the place of `clips.csv`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: str
    units: Literal["metres", "pixels"]
    coordinates: Literal[2, 3] | None = None
    vertical: Literal["up", "down"] | None = None
    persons: int = Field(default=2, ge=1, le=16)
    classes: list[ClassName] | None = Field(default=None, min_length=1)
    protocols: dict[ProtocolName, OwnProtocol] = {}
    pickle: str | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("expected classes with different names, saw one twice")
        if self.pickle is not None and not self.pickle.lower().endswith(PICKLE):
            raise ValueError(f"expected a pickle whose name ends in {PICKLE}, saw {self.pickle!r}: rename it")
        if self.pickle is not None and self.classes is None:
            raise ValueError("expected classes beside pickle, whose labels are numbers, saw none")
        if self.pickle is not None and self.protocols:
            raise ValueError("expected no protocols beside pickle, which has its own, saw some")
        return self
