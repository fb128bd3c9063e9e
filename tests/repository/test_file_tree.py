"""The file tree in docs/architecture.md is the folder."""

import re
from pathlib import Path

import pytest

START = "src/llmar_pipeline/"


def tree(text: str) -> dict[str, str]:
    """Path -> phrase of every file and folder that the tree names, below `src/llmar_pipeline/`.

    A line is `name  phrase`, or `name, name  phrase`; two spaces of indentation are one folder deeper.
    """
    section = re.search(r"^## File tree$.*?^```\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert section, "no section 'File tree' with a block"
    lines = section[1].splitlines()
    named: dict[str, str] = {}
    folders: list[str] = []
    for line in lines[lines.index(START) + 1 :]:
        names, _, phrase = line.strip().partition("  ")
        depth = (len(line) - len(line.lstrip())) // 2
        assert depth <= len(folders) + 1, line
        for name in names.split(", "):
            path = "".join(folders[: depth - 1]) + name
            assert path not in named, f"{path} is named twice"
            named[path] = phrase.strip()
        if names.endswith("/"):
            folders[depth - 1 :] = [names]
    return named


@pytest.fixture(scope="module")
def named(project: Path) -> dict[str, str]:
    return tree((project / "docs/architecture.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def files(project: Path) -> set[str]:
    """Files of the package, without the `__init__.py` of its folders."""
    package = project / START
    paths = [path.relative_to(package) for path in package.rglob("*") if path.is_file()]
    return {
        path.as_posix()
        for path in paths
        if "__pycache__" not in path.parts and (path.name != "__init__.py" or len(path.parts) == 1)
    }


def test_every_file_is_named(named, files):
    assert sorted(files - set(named)) == []


def test_every_name_is_a_file(named, files):
    assert sorted(name for name in named if not name.endswith("/") and name not in files) == []


def test_every_folder_has_files_below_it(named, files):
    for folder in (name for name in named if name.endswith("/")):
        assert any(name.startswith(folder) for name in files), folder


def test_every_file_has_its_phrase(named):
    assert [name for name, phrase in named.items() if not phrase and not name.endswith("/")] == []


def test_the_tree_is_read_as_written():
    text = (
        "## File tree\n\n```\ndocs/   what\nsrc/llmar_pipeline/\n  a.py    one\n  b/      many\n"
        "    c.py, d.py  two\n    e/\n      f.py  three\n  g.py   four\n```\n"
    )
    assert tree(text) == {
        "a.py": "one",
        "b/": "many",
        **{"b/c.py": "two", "b/d.py": "two", "b/e/": "", "b/e/f.py": "three"},
        "g.py": "four",
    }
