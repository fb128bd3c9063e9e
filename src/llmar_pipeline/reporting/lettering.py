"""Names of any script in pictures: fonts that have their glyphs, and no sign that is taken for markup."""

import importlib.util
import unicodedata
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font, ttfFontProperty
from matplotlib.text import Text

FIRST = "DejaVu Sans"
"""Comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew and many signs."""
PACKAGES = {
    "paperang_p2_fonts_cjk": "fonts/wqy-microhei.ttc",  # Chinese, Japanese, Korean
    "manimgx_fonts": "Noto*.ttf",  # emoji, and the scripts of South Asia and others
}
"""Package -> the font files in it; no font of the system is needed."""


def write_name(figure: Figure, x: float, y: float, name: str, **settings: Any) -> Text:
    """Write a name into a figure.

    Arabic and other joined scripts are shaped, and run from right to left, as matplotlib does since 3.11.

    Args:
        figure: Where to write.
        x: Share of its width.
        y: Share of its height.
        name: Any text; see `drawable` for what is written of it.
        **settings: Of `Figure.text`.

    Source: ours.
    """
    text = drawable(name)
    return figure.text(x, y, text, family=families(text), parse_math=False, **settings)


def drawable(name: str) -> str:
    """What can be written of a name: one line, and a code point such as [U+13000] where no font has a glyph.

    Signs that only say how others look (variation selectors, marks of direction) are left out then.

    Source: ours.
    """
    written = []
    for sign in " ".join(name.split()):
        if any(sign in glyphs for glyphs in _all_glyphs(sign.isascii())):
            written.append(sign)
        elif not _is_invisible(sign):
            written.append(f"[U+{ord(sign):04X}]")
    return "".join(written)


def families(text: str) -> list[str]:
    """The fonts that a text needs, for matplotlib to look up in this order.

    Source: ours.
    """
    needed, lacking = [FIRST], set(text) - _first_glyphs()
    for family, glyphs in _more_fonts() if lacking else ():
        if lacking & glyphs:
            needed.append(family)
            lacking -= glyphs
    return needed


def _is_invisible(sign: str) -> bool:
    selector = "\ufe00" <= sign <= "\ufe0f" or "\U000e0100" <= sign <= "\U000e01ef"
    return selector or unicodedata.category(sign) in {"Cf", "Cc"}


def _all_glyphs(first_alone: bool) -> list[frozenset[str]]:
    return [_first_glyphs(), *(() if first_alone else (glyphs for _, glyphs in _more_fonts()))]


@cache
def _first_glyphs() -> frozenset[str]:
    # In bold, as titles are written: it has a little less than the regular one.
    return _glyphs(findfont(FontProperties(family=FIRST, weight="bold")))


@cache
def _more_fonts() -> tuple[tuple[str, frozenset[str]], ...]:
    """Family and glyphs of the packages' fonts, which matplotlib knows afterwards."""
    fonts = []
    for package, pattern in PACKAGES.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for file in sorted(Path(folder).glob(pattern)):
                font = ttfFontProperty(get_font(str(file)))
                # They have one weight, and stand for the others too: matplotlib would warn of each.
                fontManager.ttflist += [replace(font, weight=weight) for weight in (400, 700)]
                fonts.append((font.name, _glyphs(str(file))))
    return tuple(fonts)


def _glyphs(file: str) -> frozenset[str]:
    return frozenset(map(chr, get_font(file).get_charmap()))
