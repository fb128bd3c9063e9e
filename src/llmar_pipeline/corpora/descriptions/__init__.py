"""What a body does in each class of a corpus, in our words: a YAML file a corpus, `<class>: <sentence>`."""

from pathlib import Path

import yaml

_FOLDER = Path(__file__).parent
DESCRIBED = tuple(sorted(file.stem for file in _FOLDER.glob("*.yml")))
"""Keys of CORPORA whose classes are described."""


def descriptions(corpus: str) -> dict[str, str]:
    """Class name -> description; empty for a corpus that nobody has described.

    Args:
        corpus: Key of CORPORA.

    Source: ours.
    """
    if corpus not in DESCRIBED:
        return {}
    made: dict[str, str] = yaml.safe_load((_FOLDER / f"{corpus}.yml").read_text(encoding="utf-8"))
    return made
