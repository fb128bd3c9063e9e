"""Errors have one form: what was expected, what was seen, where, and what to do."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
CHOICES = ("unknown ", "there is no ")
"""How messages begin that name what exists in place of what was expected."""


def text_of(node: ast.expr) -> str:
    """A message as far as it is written out; `{}` for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) for value in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return str(node.value) if isinstance(node, ast.Constant) else "{}"


def messages() -> Iterator[tuple[str, str]]:
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "UserError":
                yield f"{file.name}:{node.lineno}", text_of(node.args[0])


def test_what_is_expected_is_followed_by_what_was_seen() -> None:
    found = dict(messages())
    assert len(found) > 80
    for place, message in found.items():
        assert not re.search(r"\bExpected\b|\bSeen\b|, seen\b|but got\b", message), place
        if "expected" in message and not message.startswith(CHOICES):
            seen = r"\bsaw\b|, which is not installed|^\S+=\{\}(,\S+=\{\})?: expected|^\{\}: expected \{\}; "
            assert re.search(seen, message), f"{place}: {message}"
