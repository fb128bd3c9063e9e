"""Names that people write in more than one way."""

import unicodedata
from collections.abc import Iterable


def plain(name: str) -> str:
    """A name without what differs from hand to hand: case, accents, blanks, underscores, hyphens."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter) and letter not in " _-")


def alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that are plainly the same."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(plain(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]
