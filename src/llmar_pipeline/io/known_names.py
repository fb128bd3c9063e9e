"""Names that must exist: a typo must not pass for an experiment."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig

from llmar_pipeline.errors import UserError


def check_choice(kind: str, seen: Any, choices: Iterable[str], flag: str) -> None:
    """Refuse a name that is none of the choices.

    Args:
        kind: What is chosen.
        seen: The name.
        choices: Those that there are.
        flag: What to type before a better one.

    Raises:
        UserError: it is none of them.

    Source: ours.
    """
    choices = list(choices)
    if str(seen) not in choices:
        raise UserError(f"unknown {kind} '{seen}': choose one of {', '.join(choices)} ({flag}<{kind}>)")


def check_parameters(
    values: Mapping[str, Any],
    parameters: Any,
    where: str = "",
    others: Iterable[str] = (),
    prefix: str = "",
) -> None:
    """Refuse values of parameters that do not exist.

    Args:
        values: Nested values.
        parameters: Those that there are, with the values they have.
        where: File that the values stand in, for the message.
        others: Names that may stand beside the parameters, for the message.
        prefix: Dotted path of the mapping that is looked at.

    Raises:
        UserError: one does not exist.

    Source: ours.
    """
    for key, value in values.items():
        choices = list(parameters) if isinstance(parameters, DictConfig) else []
        if key not in choices:
            known = [*others, *choices]
            whose = f"'{prefix[:-1]}' has" if prefix else "there are"
            raise UserError(
                f"unknown parameter '{prefix}{key}'{where}: {nearest(key, known, prefix)}{whose} "
                f"{', '.join(map(str, known))}"
            )
        if isinstance(value, Mapping) and isinstance(parameters[key], DictConfig):
            check_parameters(value, parameters[key], where, prefix=f"{prefix}{key}.")


def check_read(parameters: Iterable[str], inputs: Iterable[str]) -> None:
    """Refuse parameters that nothing reads.

    Args:
        parameters: Their names.
        inputs: Of all pipelines, as the catalog calls them.

    Raises:
        UserError: no pipeline reads one.

    Source: ours.
    """
    read = sorted({name.removeprefix("params:").partition(".")[0] for name in inputs if ":" in name})
    for name in parameters:
        if name not in read:
            raise UserError(
                f"unknown parameter '{name}' in conf/base/parameters, which nothing reads: "
                f"{nearest(name, read)}there are {', '.join(read)}"
            )


def nearest(key: Any, known: Iterable[Any], prefix: str = "") -> str:
    """A question whether the nearest known name was meant; empty where none is near."""
    near = get_close_matches(str(key), list(map(str, known)), n=1)
    return f"did you mean '{prefix}{near[0]}'? " if near else ""
