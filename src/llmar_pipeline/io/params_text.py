"""What follows `--params=`: read, and written."""

import json
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from llmar_pipeline.errors import UserError
from llmar_pipeline.io.run_names import leaves

TEXTS = (
    *("protocol", "size", "experiment", "raw_dir", "data_dir", "fold"),
    *("llm.model", "llm.revision", "init_from"),
)
"""Parameters that are text whatever they look like: a folder may be called 2024, a commit 12345678."""
_ABOUT_COMMAS = "a value with a comma stands in quotes, as in --params=\"raw_dir='/data/a,b'\""
_CLOSING = {"'": "'", '"': '"', "[": "]", "{": "}"}


def read_params(text: str) -> dict[str, Any]:
    """Nested parameters from `name=value,name=value`.

    A value with commas stands in quotes, or is a list in brackets. Values are read as in YAML.

    Args:
        text: With dots in names where they are nested.

    Raises:
        UserError: it is not written so; a name without a value, or with two.

    Source: ours.
    """
    chosen: dict[str, Any] = {}
    for item in _items(text):
        name, _, value = (part.strip() for part in item.partition("="))
        if "=" not in item or not name:
            raise UserError(f"--params: expected name=value, saw '{item.strip()}'; {_ABOUT_COMMAS}")
        if not value:
            raise UserError(
                f"--params: expected a value behind '{name}=', saw none; leave it out for the default"
            )
        *parents, last = name.split(".")
        level: Any = chosen
        for parent in parents:
            level = level.setdefault(parent, {}) if isinstance(level, dict) else None
        if not isinstance(level, dict) or last in level:
            raise UserError(f"--params: expected {name} once, saw it twice; keep one")
        level[last] = _value(name, value)
    return chosen


def write_params(params: Mapping[str, Any]) -> str:
    """What `read_params` reads as these parameters, nested or dotted."""
    return ",".join(f"{name}={_spelled(name, value)}" for name, value in leaves(params).items())


def _items(text: str) -> list[str]:
    """The text cut at its commas, but for those in brackets or quotes."""
    items, open_item = [], ""
    for piece in text.split(","):
        item = f"{open_item},{piece}" if open_item else piece
        value = item.partition("=")[2].strip()
        open_item = "" if _is_closed(value) else item
        if not open_item and item.strip():
            items.append(item)
    if open_item:
        name, _, value = open_item.partition("=")
        raise UserError(
            f"--params, {name.strip()}: expected {_CLOSING[value.strip()[0]]} at the end of {value.strip()}, "
            "saw none; a list is written [a,b]"
        )
    return items


def _is_closed(value: str) -> bool:
    opening = value[:1]
    if opening in ("[", "{"):
        return value.count(opening) <= value.count(_CLOSING[opening])
    return opening not in _CLOSING or (len(value) > 1 and value.endswith(opening))


def _value(name: str, text: str) -> Any:
    if name in TEXTS and text[0] not in "'\"":
        return None if text == "null" else text
    try:
        read = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))
    except YAMLError as error:
        seen = getattr(error, "problem", None) or "none"
        raise UserError(
            f"--params, {name}: expected a value as in YAML, saw {text} ({seen}); put it in quotes"
        ) from error
    return read["value"]  # type: ignore[index, call-overload]


def _spelled(name: str, value: Any) -> str:
    if value is None:
        return "null"
    plain = json.dumps(value) if isinstance(value, list) else str(value)
    try:
        read = leaves(read_params(f"{name}={plain}"))
        if list(read) == [name] and (name not in TEXTS or read[name] == plain):
            return plain
    except UserError:
        pass
    return "'" + plain.replace("'", "''") + "'"
