"""What a check found."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from llmar_pipeline.errors import UserError


@dataclass(frozen=True)
class Finding:
    """One line of what is known before a run.

    Attributes:
        state: "ok"; "note", with which the run goes on; or "missing", with which it does not.
        subject: What was looked at.
        text: What was seen, and what to do.
        refused_later: Whether the run itself says so, once all that is damaged is listed in a file.
    """

    state: Literal["ok", "note", "missing"]
    subject: str
    text: str
    refused_later: bool = False


def told(subject: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Findings of one subject; the error that ends them is one too.

    Args:
        subject: What is looked at.
        findings: May end with a `UserError`.
    """
    try:
        yield from findings
    except UserError as error:
        yield Finding("missing", subject, error.message)


def in_bytes(number: float) -> str:
    """A size with three digits: 4.8 KB, 16.6 MB."""
    for unit in ("B", "KB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"
