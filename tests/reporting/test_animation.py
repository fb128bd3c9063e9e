from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from llmar_pipeline.reporting.animation import LIMIT, animation
from llmar_pipeline.reporting.figures import BLUE, INK, VERMILLION, token_color

BONES = [(1, 0), (2, 1), (3, 1)]
MIRROR = [0, 1, 3, 2]


def walk(frames: int = 64) -> np.ndarray:
    """A figure of four joints that goes from left to right, [1, frame, 4, 3]."""
    joints = np.array([[0, 0, 0], [0, 1, 0], [-0.4, 1.5, 0], [0.4, 1.5, 0]], dtype=np.float32)
    steps = np.linspace(0, 2, frames, dtype=np.float32)
    return np.stack([joints + np.array([step, 0, 0], dtype=np.float32) for step in steps])[None]


def frames_of(gif: bytes) -> list[np.ndarray]:
    image = Image.open(BytesIO(gif))
    shown = []
    for frame in range(image.n_frames):
        image.seek(frame)
        shown.append(np.asarray(image.convert("RGB")).astype(int))
    return shown


def where(picture: np.ndarray, color: str, tolerance: int = 10) -> np.ndarray:
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return np.abs(picture - wanted).max(axis=2) <= tolerance


def test_a_small_gif_that_repeats_without_end():
    gif = animation(walk(), walk(), BONES, "walk", range(16), MIRROR)
    image = Image.open(BytesIO(gif))
    assert (image.format, image.n_frames, image.info["loop"], image.info["duration"]) == ("GIF", 64, 0, 60)
    assert image.width == 480
    assert 300 <= image.height <= 340
    assert len(gif) < 250_000
    assert gif == animation(walk(), walk(), BONES, "walk", range(16), MIRROR)


def test_at_most_64_frames_and_none_twice():
    assert len(frames_of(animation(walk(200), walk(200), BONES, ""))) == 64
    assert len(frames_of(animation(walk(5), walk(5), BONES, ""))) == 5
    still = np.repeat(walk(1), 30, axis=1)
    assert len(frames_of(animation(still, still, BONES, ""))) == 1


def test_both_sides_have_one_scale_and_one_window():
    for picture in frames_of(animation(walk(), walk(), BONES, "", mirror=MIRROR))[::21]:
        for color in (BLUE, VERMILLION):
            found = where(picture, color)
            left, right = found[:, :240], found[:, 240:]
            assert left.sum() > 50
            np.testing.assert_array_equal(left, right)


def test_the_window_stands_still_and_holds_the_reconstruction_too():
    def left_end(reconstruction: np.ndarray, frame: int) -> int:
        pictures = frames_of(animation(walk(), reconstruction, BONES, "", mirror=MIRROR))
        return int(np.flatnonzero(where(pictures[frame], BLUE)[:, :240].any(axis=0))[0])

    assert left_end(walk(), 63) > left_end(walk(), 0) + 90  # the figure crosses half of the panel
    far = walk() + np.array([6, 0, 0], dtype=np.float32)
    assert left_end(far, 63) < left_end(walk(), 63) - 90  # the same figure, seen from farther away
    last = frames_of(animation(walk(), far, BONES, "", mirror=MIRROR))[63]
    assert where(last, VERMILLION)[:, 240:].any()


def test_the_frame_of_the_current_tokens_moves_with_time():
    gif = animation(walk(), walk(), BONES, "", [5] * 8, MIRROR)

    def marked(picture: np.ndarray) -> float:
        strip = where(picture, INK, tolerance=30)[-40:].copy()
        columns = np.flatnonzero(strip.sum(axis=0) > 24)  # the box's upright lines
        return float(columns.mean() / 480)

    pictures = frames_of(gif)
    for frame in (0, 7, 8, 63):
        assert marked(pictures[frame]) == pytest.approx((frame // 8 + 0.5) / 8, abs=0.01)


def test_codes_of_one_time_step_stand_one_below_the_other():
    picture = frames_of(animation(walk(), walk(), BONES, "", [1, 40, 1, 40], MIRROR, books=2))[40]
    for code, top in ((1, True), (40, False)):
        rows = np.flatnonzero(where(picture, token_color(code), 4).any(axis=1))
        columns = where(picture, token_color(code), 4).any(axis=0)
        assert columns[:240].any()
        assert columns[240:].any()
        assert (rows.max() < picture.shape[0] - 20) == top


def test_what_the_original_lacks_is_not_drawn():
    holes = walk()
    holes[:, :, 2] = np.nan
    picture = frames_of(animation(holes, walk(), BONES, "", mirror=MIRROR))[10]
    assert not where(picture, BLUE).any()
    assert where(picture, VERMILLION)[:, :240].any()
    empty = np.full((2, 3, 4, 3), np.nan, dtype=np.float32)
    assert len(frames_of(animation(empty, empty, BONES, "empty", codes=[]))) == 1


def test_a_large_one_leaves_frames_out_and_lasts_as_long():
    chaos = np.random.default_rng(0).normal(size=(2, 64, 60, 3)).astype(np.float32)
    gif = animation(chaos, chaos, [(child, child - 1) for child in range(1, 60)], "chaos")
    image = Image.open(BytesIO(gif))
    assert len(gif) <= LIMIT
    assert image.n_frames < 64
    assert image.n_frames * image.info["duration"] == 64 * 60


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="equal shapes"):
        animation(walk(4), walk(5), BONES, "")
