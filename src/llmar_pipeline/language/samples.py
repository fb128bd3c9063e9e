"""What each step of stage 2 reads: readings of a clip, mixtures of two, lists of classes, a batch."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch

from llmar_pipeline.training import processes

_AT_ONCE = 10_000  # rows
OTHER_CLASSES = 5  # beside the clip's own; a whole list of NTU RGB+D 120 would be ten times the clip's tokens


class RowsByClip:
    """Of each clip, in the order of their names, the places of its rows; item by item as arrays.

    Args:
        rows: A row a reading, with a column `name`.

    Source: ours.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        clips = pd.factorize(rows["name"], sort=True)[0]
        self._places = np.argsort(clips, kind="stable")  # an array a clip would take several times as much
        self._ends = np.cumsum(np.bincount(clips))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, clip: int | np.integer) -> np.ndarray:
        return self._places[self._ends[clip - 1] if clip else 0 : self._ends[clip]]

    def first(self) -> np.ndarray:
        """The place of the first row of each clip."""
        firsts: np.ndarray = self._places[np.concatenate([[0], self._ends[:-1]])]
        return firsts


def counts_by_class(sentences: pd.DataFrame, class_names: list[str], codes: int) -> np.ndarray:
    """How often each code stands in sentences of each class, `[codes, classes]`, float64.

    Args:
        sentences: Columns action, codes.
        class_names: The classes.
        codes: Their number.

    Source: ours.
    """
    labels = sentences["action"].map({name: index for index, name in enumerate(class_names)})
    of_rows, written = labels.to_numpy(), sentences["codes"].to_numpy()
    counts = np.zeros((codes, len(class_names)))
    for first in range(0, len(written), _AT_ONCE):  # all codes beside one another would be most of the memory
        some = written[first : first + _AT_ONCE]
        repeated = np.repeat(of_rows[first : first + _AT_ONCE], [len(sentence) for sentence in some])
        np.add.at(counts, (np.concatenate(some), repeated), 1)
    return counts


def naive_bayes(counts: np.ndarray) -> np.ndarray:
    """log p(code | class), each code counted once more than it was seen; of a sentence, the sum.

    Args:
        counts: As `counts_by_class` gives them, `[codes, classes]`.

    Returns:
        Nats, `[codes, classes]`, float32.

    Source: multinomial naive Bayes with Laplace's correction.
    """
    seen = counts + 1
    shares: np.ndarray = np.log(seen / seen.sum(axis=0)).astype(np.float32)
    return shares


def mixed(sentence: np.ndarray, other: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A sentence some of whose codes are those that another one has at the same places.

    What is taken from the other is a random share, uniform from 0 to twice the given one.

    Args:
        sentence: Codes [S], or features [S, du].
        other: The same of another clip, of any length.
        share: How much of it on average.
        rng: Drawn from in a fixed order.

    Source: ours, after CutMix (Yun et al. 2019), with the label of the sentence alone.
    """
    length = min(len(sentence), len(other))
    taken = rng.random(length) < 2 * share * rng.random()
    changed = sentence.copy()
    changed[:length][taken] = other[:length][taken]
    return changed


def drawn_list(label: int, names: int, rng: np.random.Generator) -> torch.Tensor:
    """The classes that a clip is to choose from: its own and some others, in any order.

    With one list all along, the model would learn the classes by heart and never read the list.

    Args:
        label: The clip's own.
        names: All that may be listed, by their number.
        rng: Of the clip's place in the training: so lists depend on no micro-batch and no process.

    Returns:
        Labels [names, or `OTHER_CLASSES` + 1 if that is less], int64.

    Source: ours; the paper does not say which list it trains with.
    """
    order = torch.from_numpy(rng.permutation(names))
    others = order != label
    return order[~others | (others.cumsum(0) <= OTHER_CLASSES)]


def longest_list(names: Iterable[str]) -> list[str]:
    """The longest list that the instruction of a training clip can have: what it costs at most.

    Args:
        names: All that may be listed.
    """
    return sorted(names, key=len)[-OTHER_CLASSES - 1 :]


def join_batch(batches: list[dict[str, torch.Tensor]]) -> None:
    """Tell the micro-batches of one step, in all processes, what they are parts of.

    Added is how many answer tokens they have on average, by which each divides its sum: the mean over
    micro-batches and processes is then that over all answer tokens of the batch, however it was divided. And
    the key of what all clips share, which is the sum of the clips' own.

    Args:
        batches: Arguments of `ActionLanguageModel.forward`; `answer_tokens` and `shared_key` are added.

    Source: Eq. 13 of the paper, over a batch; keys: ours.
    """
    tokens, keys = (torch.stack([b[name].sum() for b in batches]).sum() for name in ("answer_mask", "keys"))
    tokens, key = processes.total(torch.stack([tokens, keys]))
    for batch in batches:
        batch |= {"answer_tokens": tokens / (len(batches) * processes.count()), "shared_key": key}
