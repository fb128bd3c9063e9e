"""A report for everyone: what can be told without a browser, and what axe says where there is one."""

import os
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from test_report import full, parse, without_plotly

from llmar_pipeline.reporting import figures
from llmar_pipeline.reporting.report import render_report

TEMPLATE = Path(figures.__file__).with_name("report.html").read_text(encoding="utf-8")
COLOURS = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", TEMPLATE))
WHITE = "#ffffff"


class Elements(HTMLParser):
    """Every element with its attributes, and the text of headings in their order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag in tags]


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(full())


@pytest.fixture(scope="module")
def elements(page) -> Elements:
    return Elements(without_plotly(page))


def luminance(colour: str) -> float:
    levels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    return sum(weight * level for weight, level in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(colour: str, background: str) -> float:
    """Of WCAG 2: from 1, the same, to 21, black on white."""
    lighter, darker = sorted((luminance(colour), luminance(background)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_computed_as_wcag_defines_it():
    assert contrast("#000000", WHITE) == pytest.approx(21)
    assert contrast("#777777", WHITE) == pytest.approx(4.48, abs=0.005)  # of the literature: just too little


def test_text_has_the_contrast_that_wcag_asks_for():
    texts = {name: COLOURS[name] for name in ("ink", "muted", "blue", "wrong")}
    texts["validation"] = figures.DARK_VERMILLION
    for name, colour in texts.items():
        for background in (WHITE, COLOURS["soft"], "#fff7e6"):
            assert contrast(colour, background) >= 4.5, (name, background)
    assert min(contrast(figures.INK, figures.token_color(code)) for code in range(2048)) >= 4.5
    assert tuple(COLOURS[n] for n in ("ink", "muted", "blue")) == (figures.INK, figures.MUTED, figures.BLUE)


def test_lines_have_the_contrast_that_wcag_asks_for():
    for colour in (COLOURS["blue"], COLOURS["orange"], COLOURS["ink"], figures.GREEN):
        assert contrast(colour, WHITE) >= 3
    for colour in (COLOURS["blue"], COLOURS["orange"], COLOURS["ink"]):
        assert contrast(colour, COLOURS["soft"]) >= 3


def test_the_page_says_its_language_its_title_and_its_width(elements, page):
    assert elements.all("html") == [{"lang": "en"}]
    assert "<title>LLM-AR report: ntu60, xsub</title>" in page
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in elements.all("meta")
    assert len(elements.all("main")) == 1


def test_every_picture_figure_and_scrolling_box_has_a_name(elements):
    images = elements.all("img")
    assert images
    assert all(image["alt"] for image in images)
    assert all(drawn.get("role") == "img" and drawn.get("aria-label") for drawn in elements.all("svg"))
    boxes = [box for box in elements.all("div") if "scroll" in (box.get("class") or "").split()]
    assert len(boxes) > 5
    for box in boxes:
        assert (box.get("tabindex"), box.get("role")) == ("0", "group"), box
        assert box.get("aria-label"), box


def test_every_head_of_a_column_says_so(page, elements):
    assert all(head.get("scope") == "col" for head in elements.all("th"))
    assert not re.search(r"<th[^>]*>\s*</th>", without_plotly(page))


def test_headings_come_in_order(page):
    levels = [int(level) for level in re.findall(r"<h([1-6])>", without_plotly(page))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(parse(page).headings) == len(levels)


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_axe_finds_nothing_and_nothing_scrolls_sideways_on_a_phone(page, benchmarks, tmp_path, broken):
    accessibility = benchmarks("accessibility")
    axe, program = os.environ.get("LLMAR_AXE", ""), accessibility.browser()
    if program is None or not Path(axe).is_file():
        pytest.skip("needs chromium on the PATH, and in LLMAR_AXE the file axe.min.js of axe-core")
    if broken:
        page = page.replace("</main>", '<img src="data:,"><div style="width: 900px">wide</div></main>')
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    found = accessibility.examine(tmp_path / "report.html", Path(axe), program, 390)
    assert found["passes"] > 20
    rules = [violation["id"] for violation in found["violations"]]
    assert ("image-alt" in rules) if broken else rules == []
    assert (found["across"] > 390) == broken
