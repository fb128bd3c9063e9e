"""What a list says of its clips, kept in columns: lists of millions of clips are common."""

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as SequenceOf


class ClipRows(Mapping[str, dict[str, int]]):
    """By name, what a list says of a clip.

    Args:
        names: Of the clips, each once.
        columns: What is said of them, in the same order: numbers of actions, subjects, parts, ...
    """

    def __init__(self, names: SequenceOf[str], columns: Mapping[str, SequenceOf[int]]) -> None:
        self.columns = dict(columns)
        self._place = {name: place for place, name in enumerate(names)}

    def __getitem__(self, name: str) -> dict[str, int]:
        place = self._place[name]
        return {column: values[place] for column, values in self.columns.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)

    def with_column(self, column: str, values: SequenceOf[int]) -> "ClipRows":
        """The same clips, of which one thing more is said."""
        return ClipRows(list(self), {**self.columns, column: values})
