"""What a training reads at each step, as a pure function of the step."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from llmar_pipeline.errors import UserError


class SampleStream(Dataset[Any]):
    """An endless shuffled reading of `n_items` items, as a finite dataset of `n_samples` positions.

    What position i holds is a pure function of (seed, i): epoch after epoch, each a new permutation, with
    a random generator of its own for augmentation. So a resumed run reads exactly what the killed run would
    have read, whatever the data loader prefetched.

    Where the items' classes are given, an epoch draws every class equally often: as often as the largest has
    items, so that items of the others come again, each of them as often as its class's others or once more.

    Source: ours.
    """

    def __init__(
        self,
        n_items: int,
        n_samples: int,
        seed: int,
        read: Callable[[int, np.random.Generator], Any],
        classes: Sequence[int] | None = None,
    ):
        if n_items <= 0:
            raise UserError(
                "training needs at least one clip in the train split, and there is none: "
                "look at splits.parquet and quarantine.parquet of this run"
            )
        self.n_items, self.n_samples, self.seed, self.read = n_items, n_samples, seed, read
        kinds, labels = np.unique([] if classes is None else classes, return_inverse=True)
        self._members = [np.flatnonzero(labels == kind) for kind in range(len(kinds))]
        self._largest = max(map(len, self._members), default=0)
        self._epoch_length = len(kinds) * self._largest or n_items
        self._epoch = -1
        self._order = np.arange(0)

    def __len__(self) -> int:
        return self.n_samples

    def __getitem__(self, position: int) -> Any:
        """Item at a position of the stream, read with that position's own random generator."""
        epoch, within = divmod(position, self._epoch_length)
        if epoch != self._epoch:
            self._epoch = epoch
            rng = np.random.default_rng([self.seed, 0, epoch])
            evenly = [np.resize(rng.permutation(items), self._largest) for items in self._members]
            self._order = rng.permutation(np.concatenate(evenly) if evenly else self.n_items)
        return self.read(int(self._order[within]), np.random.default_rng([self.seed, 1, position]))
