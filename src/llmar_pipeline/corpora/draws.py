"""Units drawn away from the training clips, so that every class keeps some."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence


def spare(
    order: Iterable[Hashable], units: Sequence[Hashable], actions: Sequence[Hashable], count: int
) -> set[Hashable]:
    """Take units (subjects, as a rule) in a drawn order, but none that holds the last clips of a class.

    Args:
        order: All units, as they were drawn.
        units: That of each clip.
        actions: The class of each clip; none where classes do not matter.
        count: How many to take at most. Where every class keeps clips anyway, they are the first ones.

    Source: ours.
    """
    held: dict[Hashable, Counter[Hashable]] = defaultdict(Counter)
    for unit, action in zip(units, actions, strict=bool(actions)):
        held[unit][action] += 1
    left = Counter(actions)
    taken: set[Hashable] = set()
    for unit in order:
        if len(taken) < count and all(left[action] > clips for action, clips in held[unit].items()):
            taken.add(unit)
            left.subtract(held[unit])
    return taken
