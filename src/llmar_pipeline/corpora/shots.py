"""Few training clips: so many of each class, drawn, and the others left out."""

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator

from llmar_pipeline.errors import UserError

ALL = "all"


class ShotsConfig(BaseModel):
    """How many training clips of each class are kept.

    Attributes:
        clips: "all", or a number from 1 on.
        seed: Of the draw.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    clips: StrictInt | str = ALL
    seed: int = Field(default=0, ge=0)

    @field_validator("clips", mode="before")
    @classmethod
    def _number(cls, clips: object) -> object:
        """A number in quotes is a number."""
        return int(clips) if isinstance(clips, str) and clips.isdecimal() else clips

    def suffix(self) -> str:
        """What tells folders of runs of few clips apart; empty where all are kept.

        Raises:
            UserError: Neither "all" nor a number from 1 on.
        """
        if self.clips == ALL:
            return ""
        if not isinstance(self.clips, int) or self.clips < 1:
            raise UserError(
                f"shots={self.clips}: expected all, or a number of training clips a class from 1 on "
                "(--params=shots=)"
            )
        return f"-shots{self.clips}-seed{self.seed}"


def take_shots(splits: pd.DataFrame, shots: ShotsConfig) -> pd.Series:
    """Keep so many training clips of each class.

    Of one seed, those that fewer shots keep are among those that more of them keep. The order of the rows
    does not matter, nor which other classes there are. Validation and test clips stay.

    Args:
        splits: Columns name, split, label.
        shots: How many; a class that has fewer keeps all.

    Returns:
        The column `split`, in which the other training clips are "unused".

    Source: ours, as few-shot recognition draws its clips.
    """
    if shots.clips == ALL:
        return splits["split"]
    train = splits[splits["split"] == "train"].sort_values("name")
    kept: list[int] = []
    for label, clips in train.groupby("label"):
        rng = np.random.default_rng([shots.seed, int(str(label))])
        kept += [clips.index[place] for place in rng.permutation(len(clips))[: int(shots.clips)]]
    return splits["split"].mask((splits["split"] == "train") & ~splits.index.isin(kept), "unused")
