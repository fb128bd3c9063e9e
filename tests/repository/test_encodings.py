"""Text is UTF-8 on every machine: files, and what processes say, are read and written with an encoding."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def is_text_without_encoding(call: ast.Call) -> bool:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in given:
        return False
    if getattr(call.func, "attr", "") in ("run", "Popen", "check_output") and "text" in given:
        return True
    if isinstance(call.func, ast.Name) and call.func.id == "open":
        mode = given.get("mode") or next(iter(call.args[1:]), ast.Constant("r"))
    elif isinstance(call.func, ast.Attribute) and call.func.attr == "open":
        mode = given.get("mode") or next(iter(call.args), ast.Constant("r"))  # a path's
    else:
        return isinstance(call.func, ast.Attribute) and call.func.attr in ("read_text", "write_text")
    return isinstance(mode, ast.Constant) and "b" not in str(mode.value)


def without_encoding(text: str) -> list[int]:
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if is_text_without_encoding(call)]


def test_such_calls_are_found() -> None:
    text = 'path.open()\npath.open("w")\npath.read_text()\nopen(x)\nsubprocess.run(x, text=True)'
    assert without_encoding(text) == [1, 2, 3, 4, 5]
    assert not without_encoding('path.open("rb")\npath.read_text(encoding="utf-8")\nopen(x, "wb")')


def test_the_source_has_none() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    found = {
        file.name: lines for file in files if (lines := without_encoding(file.read_text(encoding="utf-8")))
    }
    assert len(files) > 100
    assert not found
