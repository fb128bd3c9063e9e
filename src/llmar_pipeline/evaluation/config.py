"""The settings of the evaluation."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_FITTED = 20_000
"""Training sentences to which the bag of codes is fitted at most; of more, so many are drawn."""


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
