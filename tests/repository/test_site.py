"""`make docs`: the documents as a site."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

TARGET = re.compile(r'(?:href|src)="([^"]*)"')


@pytest.fixture(scope="module")
def site(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_every_document_is_a_page_and_every_link_leads_somewhere(site, project):
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html") if page.stem != "404"}
    names = {page.relative_to(site).as_posix() for page in pages}
    assert {f"{path.stem}.html" for path in project.glob("docs/*.md")} | {"index.html"} <= names
    anchors = {page: set(re.findall(r'id="([^"]*)"', text)) for page, text in pages.items()}
    bad = []
    for page, text in pages.items():
        for target in TARGET.findall(text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = unquote(target).partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and anchor not in anchors.get(file, {anchor})):
                bad.append((page.name, target))
    assert bad == []


@pytest.mark.slow
def test_a_page_loads_nothing_from_elsewhere(site):
    loaded = re.compile(r"<(?:script|link|img|iframe)[^>]*\b(?:src|href)=\"(?:https?:)?//[^\"]*\"")
    for page in site.rglob("*.html"):
        assert loaded.findall(page.read_text(encoding="utf-8")) == [], page
