"""The settings of the evaluation."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_FITTED = 20_000
"""Training sentences to which the bag of codes is fitted at most; of more, so many are drawn."""


_AUTO = 128  # more clips are no faster on a GPU, and so many are lost where a run is killed


class EvaluationConfig(BaseModel):
    """How test clips are scored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: Annotated[int, Field(gt=0)] | Literal["auto"]  # clips in one forward pass at most
    seed: int  # of the shuffled control, the content-free sentences and the bootstrap
    length_correction: Literal["none", "mean"] = "none"
    prior_correction: Literal["none", "unseen", "always"] = "none"  # by content-free sentences
    generate: bool = False  # answer by free generation too
    table_rows: int = Field(gt=0)  # clips printed in the terminal
    film_strips: int = Field(ge=0)  # clips drawn beside their reconstruction

    def corrects(self, trained: bool) -> bool:
        """Whether scores are corrected for the prior, which takes those of all names.

        Args:
            trained: The names are the classes of the training.
        """
        return self.prior_correction == "always" or (self.prior_correction == "unseen" and not trained)

    @property
    def clips_at_once(self) -> int:
        """Clips in one forward pass at most, whose results are kept together."""
        return _AUTO if self.batch_size == "auto" else self.batch_size
