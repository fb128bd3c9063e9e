"""Which names of the class list still have to be read before a question about a clip is answered."""

from dataclasses import dataclass

import numpy as np

from llmar_pipeline.language.label_trie import LabelTrie


@dataclass(frozen=True)
class Ask:
    """What is asked of a clip.

    Attributes:
        top: So many of the likeliest names, in their order, exactly.
        tolerance: By how much the probability of any name may be wrong; 0: every name is read, 1: no
            probability is asked for.

    Source: ours.
    """

    top: int = 1
    tolerance: float = 1.0


ALL = Ask(tolerance=0.0)


class NameSearch:
    """Best-first search for the likeliest names of one clip in the tree of the class list.

    A name's log-likelihood is a sum of terms that are none above 0, so what is known of a beginning bounds
    all names that begin with it. What lies below tokens that nobody read has at most the probability of
    getting there. Where log-likelihoods are means over readings, each is bounded by the mean of the bounds,
    and all names below a token together by the geometric mean of the readings' bounds (Hoelder).

    Args:
        trie: The class list.
        ask: What is asked.
        by_length: Whether each score is the mean over the answer's tokens.

    Source: ours; best-first search with an admissible bound: Hart et al., A Formal Basis for the Heuristic
        Determination of Minimum Cost Paths, 1968.
    """

    def __init__(self, trie: LabelTrie, ask: Ask, by_length: bool = False) -> None:
        self._trie, self._ask, self._by_length = trie, ask, by_length
        self._edges = np.zeros(len(trie.edge_rows) + 1)  # the last one stands behind short answers
        self._read = np.zeros(len(trie.row_edges), bool)

    def tell(self, rows: list[int], edges: np.ndarray) -> None:
        """Add what was read.

        Args:
            rows: Rows of the tree; those above them have been told, or are among them.
            edges: Log-probability of every edge that leaves one of them, nats [edges]; the rest is not read.
        """
        self._read[rows] = True
        leaving = [edge for row in rows for edge in self._trie.row_edges[row]]
        self._edges[leaving] = edges[leaving]

    def next_rows(self, least: int = 0) -> list[int]:
        """The rows to read next, each behind those above it; none when the question is answered.

        Args:
            least: So many where they cost no more than fewer.
        """
        unread = ~self._read
        needed, others = self._needed()
        if not needed:
            return []
        chosen: dict[int, None] = {}
        for count, row in enumerate([*needed, *others]):
            if count >= len(needed) and len(chosen) >= least:
                break
            self._chain(row, chosen)
        if 2 * len(chosen) > unread.sum() or not self._ask.tolerance:
            return [int(row) for row in np.flatnonzero(unread)]  # rows stand behind those above them
        return list(chosen)

    def _chain(self, row: int, chosen: dict[int, None]) -> None:
        """Choose a row and those behind it up to where names part."""
        while row not in chosen:
            chosen[row] = None
            following = self._trie.next_rows[row]
            if len(self._trie.row_edges[row]) > 1 or not following:
                break
            row = following[0]

    def _needed(self) -> tuple[list[int], list[int]]:
        """Unread rows right behind what is read, best first: those that are needed, and the rest."""
        scores, first, weights = self._state()
        whole = first < 0
        if whole.all():
            return [], []
        unread, names = np.unique(first[~whole], return_inverse=True)
        highest = np.full(len(unread), -np.inf)  # of the names below each row
        np.fmax.at(highest, names, scores[~whole])
        mass = np.bincount(names, weights[~whole])
        rows = [int(row) for row in unread[np.argsort(-highest, kind="stable")]]
        best = dict(zip(unread.tolist(), highest.tolist(), strict=True))
        exact = np.sort(scores[whole])[::-1]
        top = min(self._ask.top, len(scores))
        worst = exact[top - 1] if len(exact) >= top else -np.inf
        open_rows = [row for row in rows if best[row] >= worst]
        certain = sum(exact > best[rows[0]])  # their places are settled
        needed = open_rows[: max(top - certain, 1)] if self._ask.tolerance else rows
        # The heaviest until what is left may be left.
        left, total = mass.sum(), weights.sum()
        for place in np.argsort(-mass, kind="stable"):
            if left <= self._ask.tolerance * total:
                break
            left -= mass[place]
            if (row := int(unread[place])) not in needed:
                needed.append(row)
        return needed, [row for row in rows if row not in needed]

    def _state(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each class [classes]: score or its bound, first unread row (-1: none), and weight."""
        trie = self._trie
        scores = self._edges[trie.path_edges].sum(axis=1)
        if self._by_length:
            scores /= [len(answer) for answer in trie.answers]
        unread = ~self._read[trie.path_rows]
        first = trie.path_rows[np.arange(len(scores)), unread.argmax(axis=1)]
        first[~unread.any(axis=1)] = -1
        weights = np.exp(scores - scores.max())
        if not self._by_length:
            # Together they have the probability of getting there, at most: names go on there differently.
            below = first >= 0
            _, which, counts = np.unique(first[below], return_inverse=True, return_counts=True)
            weights[below] /= counts[which]
        return scores, first, weights

    def chances(self) -> tuple[np.ndarray, float]:
        """What is known of the probabilities over the class list.

        Returns:
            Probabilities [classes], float64, which sum to 1, the likeliest names first in them in the order
            that was asked for; and by how much any of them may be wrong.

        Source: ours. With E the sum of the likelihoods that are known and M the most that the others can
            add, a known one e lies in [e / (E + M), e / E], and those others' probabilities have at most the
            sum M / (E + M).
        """
        _, first, weights = self._state()
        total = weights.sum()
        return weights / total, float(weights[first >= 0].sum() / total)

    def scores(self) -> np.ndarray:
        """Log-likelihood of each class, or the mean over its tokens, nats [classes]; a bound where unread."""
        return self._state()[0]
