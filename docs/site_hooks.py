"""What the site (mkdocs.yml) has beside docs/: the README as its first page, and other documents."""

import os.path
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

BESIDE = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("data/README.md", "notebooks/README.md", "benchmarks/results/*.md"),
]
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def page_of(path: str) -> str:
    """Where a file of the repository stands on the site."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def rewritten(markdown: str, source: str, pages: set[str]) -> str:
    """A document with its links as they are on the site; what is not on it keeps its text without a link.

    Args:
        markdown: The document.
        source: Its path in the repository.
        pages: All paths of the site.
    """

    def link(found: re.Match[str]) -> str:
        picture, text, target, anchor = found.groups(default="")
        if re.match(r"[a-z]+:", target):
            return found[0]
        there = page_of(os.path.normpath(os.path.join(os.path.dirname(source), target)))
        if there not in pages:
            return text
        return f"{picture}[{text}]({os.path.relpath(there, os.path.dirname(page_of(source)) or '.')}{anchor})"

    blocks = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(block if block.startswith("```") else LINK.sub(link, block) for block in blocks)


def on_files(files: Any, config: Any) -> Any:
    """Add the documents that lie outside of docs/."""
    root = Path(config.config_file_path).parent
    for source in _beside(root):
        text = (root / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page_of(source), content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead the links of every page to where its targets stand on the site."""
    place = page.file.src_uri
    beside = {page_of(path): path for path in _beside(Path(config.config_file_path).parent)}
    return rewritten(markdown, beside.get(place, f"docs/{place}"), set(files.src_uris))


def _beside(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for pattern in BESIDE for path in root.glob(pattern)]
