"""A user's YAML file, checked against a model, with one clear line for what is wrong."""

import re
import reprlib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from llmar_pipeline.errors import UserError

Model = TypeVar("Model", bound=BaseModel)
_LARGEST = 2**18  # bytes; the parser takes seconds for as many


class _Loader(yaml.SafeLoader):
    """YAML as its readers expect it: on, no, 010 and 08 are words, keys occur once, and nothing is merged.

    Source: words and numbers as in YAML 1.2's core schema, but for numbers that begin with 0.
    """

    def flatten_mapping(self, node: Any) -> None:
        """Nothing: a mapping of a few lines that merges itself goes on for ever."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} again: keep one", key.start_mark
                )
            keys.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _form, _first in (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", "[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_form})$"), list(_first))


def read_yaml(path: Path, model: type[Model]) -> Model:
    """Reads a file that the user wrote.

    Raises:
        UserError: If it is missing, no YAML, or does not fit the model; it names the file, the key or line,
            what is expected and what is seen.
    """
    try:
        if (size := path.stat().st_size) > _LARGEST:
            raise UserError(f"{path}: expected a file of at most {_LARGEST} bytes, saw {size}; shorten it.")
        content = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)  # a SafeLoader
    except OSError as error:
        raise UserError(f"{path}: expected a readable file, saw {error.strerror or 'none'}.") from error
    except UserError:
        raise
    except Exception as error:  # constructors of the package raise many kinds
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
        if first["type"] in ("string_type", "int_type") and isinstance(first["input"], bool | int | float):
            expected += ': put it in quotes, as "1"'
        raise UserError(f"{path}, {key}: {expected}{known}; saw {seen}; see docs/data.md.") from error
