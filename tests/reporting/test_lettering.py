import logging
import sys
import warnings
from io import BytesIO
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont

from llmar_pipeline.reporting.animation import animation
from llmar_pipeline.reporting.film_strip import film_strips
from llmar_pipeline.reporting.lettering import drawable, families, write_name

NAMES = [
    "喝水 (S001C001P003R001A008)",
    "شرب الماء",
    "wave 👋🏽 🏃‍♀️ 🥤 ✋️",
    "물 마시기 / 水を飲む / пить / ดื่มน้ำ / पानी पीना / שתייה",
    r"$x_1 \alpha$ _a_ \frac{ $ ^{",
    "two\nlines\tand \x00 more",
    "hieroglyph 𓀀",
    "",
]


def drawn(text: str, **settings: object) -> np.ndarray:
    figure = Figure(figsize=(6, 0.5), dpi=100)
    write_name(figure, 0.01, 0.3, text, size=12, weight="bold", **settings)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., 0] < 128


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_drawn_without_a_word_of_matplotlib(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = np.random.default_rng(0).normal(size=(1, 4, 3, 3)).astype(np.float32)
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        png = film_strips({name: (data, data, range(4))}, [(1, 0), (2, 1)])
        assert animation(data, data, [(1, 0), (2, 1)], name, range(4))[:3] == b"GIF"
    assert not caplog.records
    height, width, _ = matplotlib.image.imread(BytesIO(png)).shape
    assert width == 1600  # a line break would have no effect on the size, but markup might
    assert height < 1600


@pytest.mark.parametrize(
    ("text", "fonts"),
    [
        ("drink water", 1),
        ("شرب", 1),
        ("喝水", 2),
        ("물", 2),
        ("👋 喝水", 3),
    ],
)
def test_glyphs_come_from_packages(text: str, fonts: int) -> None:
    chosen = families(text)
    assert len(chosen) == fonts
    for family in chosen[1:]:
        file = Path(findfont(FontProperties(family=family, weight="bold"), fallback_to_default=False))
        assert file.is_relative_to(Path(sys.prefix))


def test_different_signs_look_different() -> None:
    pictures = [drawn(sign) for sign in "喝水饮帽👋🥤ดป"]
    for i, picture in enumerate(pictures):
        assert picture.any()
        assert all((picture != other).any() for other in pictures[:i])


def test_arabic_is_shaped_and_runs_from_right_to_left() -> None:
    joined = np.flatnonzero(drawn("بب").any(axis=0))
    apart = np.flatnonzero(drawn("ب\u200cب").any(axis=0))  # a zero-width non-joiner between them
    assert np.ptp(joined) < np.ptp(apart)
    first = drawn("الالالا")
    top = np.flatnonzero(first.any(axis=1)).min()  # alif stands tall, beh does not
    written = drawn("الالالا ببببببب")
    tall = np.flatnonzero(written[top : top + 2].any(axis=0))
    assert tall.min() > np.flatnonzero(written.any(axis=0)).min() + 10


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a\n b\t c\x00", "a b c"),
        ("𓀀 walks", "[U+13000] walks"),
        ("a\U000e0101", "a"),
        ("$a_1$ \\n", "$a_1$ \\n"),
        ("\ud800", "[U+D800]"),
    ],
)
def test_what_is_written_of_a_name(name: str, written: str) -> None:
    assert drawable(name) == written


def test_a_dollar_is_a_dollar() -> None:
    assert np.ptp(np.flatnonzero(drawn("$x$").any(axis=0))) > np.ptp(np.flatnonzero(drawn("x").any(axis=0)))
