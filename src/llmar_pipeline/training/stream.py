"""What a training reads at each step, as a pure function of the step."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from llmar_pipeline.errors import UserError


class SampleStream(Dataset[Any]):
    """An endless shuffled reading of `n_items` items, as a finite dataset of `n_samples` positions.

    What position i holds is a pure function of (seed, i): epoch after epoch, each a new permutation, with
    a random generator of its own for augmentation. So a resumed run reads exactly what the killed run would
    have read, whatever the data loader prefetched. Source: ours.
    """

    def __init__(
        self, n_items: int, n_samples: int, seed: int, read: Callable[[int, np.random.Generator], Any]
    ):
        if n_items <= 0:
            raise UserError(
                "training needs at least one clip in the train split, and there is none: "
                "look at splits.parquet and quarantine.parquet of this run"
            )
        self.n_items, self.n_samples, self.seed, self.read = n_items, n_samples, seed, read
        self._epoch = -1
        self._order = np.arange(0)

    def __len__(self) -> int:
        return self.n_samples

    def __getitem__(self, position: int) -> Any:
        """Item at a position of the stream, read with that position's own random generator."""
        epoch, within = divmod(position, self.n_items)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, 0, epoch]).permutation(self.n_items)
        return self.read(int(self._order[within]), np.random.default_rng([self.seed, 1, position]))
