"""Links between the documents, and from them to files and headings, lead somewhere."""

import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "notebooks/*.md", "data/*.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
)
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)


def links(text: str) -> list[str]:
    """Targets of a Markdown text's links and pictures; what is code is no link."""
    return [inline or reference for inline, reference in LINK.findall(CODE.sub("", text))]


def anchors(text: str) -> set[str]:
    """The names that headings get, as on GitHub and on the site."""
    found: set[str] = set()
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, flags=re.MULTILINE):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        kept = [c for c in plain if c in " -_" or unicodedata.category(c)[0] in "LN"]
        name = "".join(kept).replace(" ", "-")
        found.add(name if name not in found else f"{name}-1")
    return found


def broken(document: Path, root: Path) -> list[str]:
    """Links of a document that lead to no file, to no heading, or out of the repository."""
    bad = []
    for target in links(document.read_text(encoding="utf-8")):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):  # another place: nothing is fetched here
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (document.parent / path).resolve() if path else document
        inside = file.is_relative_to(root.resolve()) and file.exists()
        if not inside or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            bad.append(target)
    return bad


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document):
    assert broken(ROOT / document, ROOT) == []


def test_the_documents_are_linked_from_the_readme():
    """A document that nobody links is one that nobody finds."""
    linked = {
        (ROOT / target.partition("#")[0]).resolve()
        for target in links((ROOT / "README.md").read_text(encoding="utf-8"))
        if not target.startswith("http")
    }
    missing = [name for name in DOCUMENTS if name.startswith("docs/") and ROOT / name not in linked]
    assert missing == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "a.md").write_text("# One `two`, three!\n## Again\n```\n# no [x](nowhere.md)\n```\n")
    (tmp_path / "b.md").write_text(
        "[ok](a.md) [ok](a.md#one-two-three) [ok](#here) [ok](https://example.org/x.md) `[no](link.md)`\n"
        "# Here\n[bad](c.md) ![bad](c.png) [bad](a.md#no) [bad](#there) [bad](../outside.md)\n[ref]: d.md\n"
    )
    expected = ["c.md", "c.png", "a.md#no", "#there", "../outside.md", "d.md"]
    assert broken(tmp_path / "b.md", tmp_path) == expected
    assert broken(tmp_path / "a.md", tmp_path) == []
