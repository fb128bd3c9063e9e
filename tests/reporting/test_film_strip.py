import struct
from io import BytesIO

import matplotlib.image
import numpy as np
import pytest

from llmar_pipeline.reporting.figures import token_color
from llmar_pipeline.reporting.film_strip import film_strips

BONES = [(1, 0), (2, 1), (3, 1)]


def film_strip(original, reconstruction, bones, title, codes=None, **settings):
    """One clip."""
    return film_strips({title: (original, reconstruction, codes)}, bones, **settings)


def sequence(persons: int = 1, frames: int = 12) -> np.ndarray:
    """A figure of four joints, one more to the right for each person."""
    joints = np.array([[0, 0, 0], [0, 1, 0], [-0.4, 1.5, 0], [0.4, 1.5, 0]], dtype=np.float32)
    return np.stack(
        [np.stack([joints + np.array([person, 0, 0])] * frames) for person in range(persons)]
    ).astype(np.float32)


def pixels(png: bytes) -> np.ndarray:
    return matplotlib.image.imread(BytesIO(png))[..., :3]


def _is(png: bytes, color: str) -> np.ndarray:
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.abs(pixels(png) - wanted).max(axis=2) < 0.01


def count(png: bytes, color: str) -> int:
    return int(_is(png, color).sum())


def test_it_is_a_png_1600_pixels_wide_and_the_same_each_time():
    png = film_strip(sequence(2), sequence(2), BONES, "two", codes=range(16))
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", png[16:20])[0] == 1600
    assert png == film_strip(sequence(2), sequence(2), BONES, "two", codes=range(16))


def test_the_two_sides_differ_in_colour():
    png = film_strip(sequence(), sequence(), BONES, "", mirror=[0, 1, 3, 2])
    blue, vermillion = count(png, "#0072b2"), count(png, "#d55e00")
    assert blue > 500
    assert vermillion == pytest.approx(blue, rel=0.05)
    assert count(film_strip(sequence(), sequence(), BONES, ""), "#0072b2") == 0


def test_missing_joints_are_missing_in_both_rows():
    holes = sequence()
    holes[:, :, 2] = np.nan
    png = film_strip(holes, sequence(), BONES, "", mirror=[0, 1, 3, 2])
    assert count(png, "#0072b2") == 0
    assert count(png, "#d55e00") > 500


@pytest.mark.parametrize("frames", [1, 3])
def test_short_or_empty_sequences_are_drawn(frames):
    assert film_strip(sequence(frames=frames), sequence(frames=frames), BONES, "short")
    empty = np.full((2, frames, 4, 3), np.nan, dtype=np.float32)
    assert film_strip(empty, empty, BONES, "empty", codes=[])


def test_clips_lie_one_below_the_other():
    one = pixels(film_strip(sequence(), sequence(), BONES, "first", codes=[1, 2]))
    two = pixels(film_strip(sequence(2), sequence(2), BONES, "second"))
    both = pixels(
        film_strips(
            {"first": (sequence(), sequence(), [1, 2]), "second": (sequence(2), sequence(2), None)}, BONES
        )
    )
    np.testing.assert_array_equal(both, np.concatenate([one, two[1:]]))
    assert pixels(film_strips({}, BONES)).shape == (1, 1600, 3)


def test_codes_of_one_time_step_stand_one_below_the_other():
    png = film_strip(sequence(), sequence(), BONES, "", codes=[1, 40, 2, 41], books=2)
    boxes = {code: _is(png, token_color(code)) for code in (1, 40, 2, 41)}
    rows, columns = (
        {code: np.flatnonzero(box.sum(axis=axis) > 20) for code, box in boxes.items()} for axis in (1, 0)
    )
    assert rows[1].max() < rows[40].min()
    assert rows[1].tolist() == rows[2].tolist()
    assert columns[1].max() < columns[2].min()
    assert columns[1].mean() == pytest.approx(columns[40].mean(), abs=3)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="equal shapes"):
        film_strip(sequence(1), sequence(2), BONES, "")
