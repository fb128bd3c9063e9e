"""Which run a report is about."""

from pydantic import BaseModel, ConfigDict


class RunInfo(BaseModel):
    """Which run a report is about.

    Attributes:
        synthetic: The recordings are made up.
        revision: Of the code, as git calls it; empty where it is not known.
        date: Of the run, as it is to be printed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    protocol: str
    experiment: str
    size: str
    synthetic: bool
    revision: str = ""
    date: str = ""
