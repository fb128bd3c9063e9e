"""The settings of the evaluation."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class EvaluationConfig(BaseModel):
    """How test clips are scored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(gt=0)  # clips in one forward pass
    seed: int  # of the shuffled control, the content-free sentences and the bootstrap
    length_correction: Literal["none", "mean"] = "none"
    prior_correction: Literal["none", "unseen", "always"] = "unseen"  # by content-free sentences
    generate: bool = False  # answer by free generation too
    table_rows: int = Field(gt=0)  # clips printed in the terminal
    film_strips: int = Field(ge=0)  # clips drawn beside their reconstruction


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
