"""Values of the selectors as they must be: folders and booleans, from people who write them in many ways."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from llmar_pipeline.errors import UserError

FOLDERS = ("raw_dir", "data_dir")


def settle(selected: Mapping[str, Any]) -> dict[str, Any]:
    """Selected values with folders and booleans as such; what is null is left to the default.

    Args:
        selected: Selectors by name.

    Raises:
        UserError: a value that is none of the kind.

    Source: ours.
    """
    settled = {name: value for name, value in selected.items() if value is not None}
    for name in FOLDERS:
        if name in settled:
            settled[name] = folder(settled[name], name)
    if "allow_incomplete" in settled:
        settled["allow_incomplete"] = _boolean(settled["allow_incomplete"], "allow_incomplete")
    return settled


def folder(value: Any, name: str) -> str:
    """A folder, with the home folder for `~` and the environment's values for `$NAME`.

    Args:
        value: As it is written.
        name: Of the parameter, for the message.

    Raises:
        UserError: it is no text, or names a user or a variable that there is not.
    """
    if not isinstance(value, str | os.PathLike) or not str(value).strip():
        raise UserError(f"{name}: expected a folder, saw {value!r}; put its name in quotes")
    path = os.path.expanduser(os.path.expandvars(os.fspath(value)))
    if path.startswith("~") and not Path(path).exists():
        raise UserError(f"{name}={value}: expected a home folder for ~, saw none; write the folder in full")
    if "$" in path and not Path(path).exists():
        raise UserError(
            f"{name}={value}: expected a variable of the environment behind $, saw one that is not set; set "
            "it, or write the folder in full"
        )
    return path


def _boolean(value: Any, name: str) -> bool:
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{name}={value}: expected true or false, saw {value!r}") from error
