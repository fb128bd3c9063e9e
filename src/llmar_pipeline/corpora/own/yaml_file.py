"""A user's YAML file, checked against a model, with one clear line for what is wrong."""

import reprlib
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from llmar_pipeline.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path, model: type[Model]) -> Model:
    """Reads a file that the user wrote.

    Raises:
        UserError: If it is missing, no YAML, or does not fit the model; it names the file, the key or line,
            what is expected and what is seen.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: expected a readable file, saw {error.strerror or 'none'}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        seen = getattr(error, "problem", None) or " ".join(str(error).split())[:100]
        raise UserError(f"{path}{line}: expected YAML, saw: {seen}; correct it.") from error
    try:
        return model.model_validate({} if content is None else content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole file"
        known = f" (its keys: {', '.join(model.model_fields)})" if first["type"] == "extra_forbidden" else ""
        seen = "nothing" if first["type"] == "missing" else reprlib.repr(first["input"])[:80]
        expected = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}, {key}: {expected}{known}; saw {seen}; see docs/data.md.") from error
