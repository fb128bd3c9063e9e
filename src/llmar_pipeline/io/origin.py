"""Where a run comes from: the revision of its code, who started it, when, and by which command."""

import functools
import getpass
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_DECIDES = (".", ":/conf", ":/pyproject.toml", ":/constraints.txt")
"""Paths that decide what comes out. Results lie beside them in a checkout, and a run may replace those."""


@functools.cache
def now() -> str:
    """The date and time at which this process first asked: one for all of a run."""
    return datetime.now().strftime("%Y-%m-%d %H:%M")


@functools.cache
def git_revision() -> str:
    """The commit of the code that runs, marked where files differ from it; empty outside a checkout.

    Files are those of the package, of the configuration and of what is installed.
    """
    return revision(_PACKAGE)


def revision(package: Path) -> str:
    """What `git_revision` says of the code in a folder.

    Args:
        package: Of the package.
    """
    described = _git(package, "describe", "--always", "--abbrev=10")
    changed = described and _git(package, "diff", "--name-only", "HEAD", "--", *_DECIDES)
    return f"{described}-dirty" if changed else described


def standard_tags() -> dict[str, str]:
    """MLflow's own tags of a run, which its pages know, and `command`: what was typed.

    Source: https://mlflow.org/docs/latest/ml/tracking/tracking-api/#system-tags
    """
    command, commit = sys.argv[1:], _git(_PACKAGE, "rev-parse", "HEAD")
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = "unknown"
    return {
        "mlflow.user": user,
        "mlflow.source.name": " ".join(["kedro", *command[:1]]),
        "mlflow.source.type": "LOCAL",
        **({"mlflow.source.git.commit": commit} if commit else {}),
        "command": shlex.join(["kedro", *command]),
    }


def _git(folder: Path, *command: str) -> str:
    """What git prints; nothing where it or a checkout is missing."""
    try:
        done = subprocess.run(
            ["git", *command], capture_output=True, encoding="utf-8", cwd=folder, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip()
