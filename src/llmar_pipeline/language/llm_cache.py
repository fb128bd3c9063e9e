"""Where converted language models lie: once a machine, not once a project."""

import logging
import os
from functools import cache
from pathlib import Path

import platformdirs

logger = logging.getLogger(__name__)

APPLICATION = "llmar-pipeline"
MANIFEST = "converted.json"
"""Written last into the folder of a converted model."""


def llm_cache(data_dir: str | Path) -> Path:
    """Folder of converted language models: the user's cache of this machine.

    That is `~/.cache/llmar-pipeline/llm` on Linux, below `XDG_CACHE_HOME` where it is set.

    Args:
        data_dir: Folder of all that a run writes, used where the cache can be neither written nor read.

    Returns:
        The folder; it need not exist.

    Source: ours.
    """
    folder = Path(platformdirs.user_cache_dir(APPLICATION, appauthor=False), "llm")
    if _can_be_made(folder) or any(folder.glob(f"*/{MANIFEST}")):
        return folder
    instead = Path(data_dir, "06_models", "llm")
    _say(folder, instead)
    return instead


@cache
def _say(folder: Path, instead: Path) -> None:
    logger.warning(
        "cannot write %s: converted language models go to %s; name another cache by XDG_CACHE_HOME=<folder>",
        folder,
        instead,
    )


def _can_be_made(folder: Path) -> bool:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
