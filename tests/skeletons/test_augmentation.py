import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from llmar_pipeline.skeletons import transforms
from llmar_pipeline.skeletons.augmentation import Augmentation, AugmentationConfig, draw, plain

OFF = AugmentationConfig(min_crop=1, rotation=0, tilt=0, scale=0, noise=0, mirror=False)
ALL = AugmentationConfig(min_crop=0.5, rotation=0.4, tilt=0.2, scale=0.1, noise=0.01, mirror=True)
POINTS = np.random.default_rng(3).normal(size=(1, 1, 50, 3)).astype(np.float32)


def drawn(
    config: dict[str, float | bool], coordinates: int = 3, seed: int = 0, frames: int = 20
) -> Augmentation:
    rng = np.random.default_rng(seed)
    return draw(OFF.model_copy(update=config), np.ones(frames, bool), coordinates, rng)


def moved(augmentation: Augmentation) -> np.ndarray:
    return POINTS[..., : len(augmentation.matrix)] @ augmentation.matrix.T


def numbers(augmentation: Augmentation) -> list[float]:
    a = augmentation
    return [a.start, a.length, *a.matrix.ravel().tolist(), a.mirror, a.noise, a.seed]


@pytest.mark.parametrize("coordinates", [2, 3])
def test_switched_off_it_is_the_plain_reading(coordinates: int) -> None:
    whole = [0, 20, *np.eye(coordinates).ravel(), False, 0, 0]
    assert numbers(plain(20, coordinates)) == whole
    assert numbers(drawn({}, coordinates)) == whole


def test_every_draw_has_its_place_whatever_is_switched_on() -> None:
    rng = np.random.default_rng(5)
    share, start, x, y, z, size, flip = rng.random(7)

    length = round((0.5 + 0.5 * share) * 20)
    crop = drawn({"min_crop": 0.5}, seed=5)
    assert (crop.start, crop.length) == (int(start * (20 - length + 1)), length)

    turned = transforms.rotate(POINTS, (0.2 * (2 * x - 1), 0.4 * (2 * y - 1), 0.2 * (2 * z - 1)))
    np.testing.assert_allclose(moved(drawn({"rotation": 0.4, "tilt": 0.2}, seed=5)), turned, atol=1e-6)

    np.testing.assert_allclose(moved(drawn({"scale": 0.1}, seed=5)), POINTS * (0.9 + 0.2 * size), rtol=1e-6)

    expected = np.array([-1, 1, 1] if flip < 0.5 else [1, 1, 1]) * POINTS
    np.testing.assert_array_equal(moved(drawn({"mirror": True}, seed=5)), expected)
    assert drawn({"mirror": True}, seed=5).mirror == (flip < 0.5)

    noisy = drawn({"noise": 0.3}, seed=5)
    assert (noisy.noise, noisy.seed) == (0.3, rng.integers(2**62))


def test_equal_generators_give_equal_readings() -> None:
    seen = np.ones(20, bool)
    first, again, other = (numbers(draw(ALL, seen, 3, np.random.default_rng(seed))) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_rotation_alone_is_about_the_vertical_and_tilt_alone_is_not() -> None:
    turned, tilted = moved(drawn({"rotation": 1.0})), moved(drawn({"tilt": 1.0}))
    np.testing.assert_array_equal(turned[..., 1], POINTS[..., 1])
    assert np.abs(turned - POINTS).max() > 0.1
    assert np.abs(tilted - POINTS)[..., 1].max() > 0.1


def test_in_2d_rotation_turns_the_image_and_tilt_does_nothing() -> None:
    _, _, _, y, *_ = np.random.default_rng(7).random(5)
    np.testing.assert_array_equal(drawn({"tilt": 1.0}, 2).matrix, np.eye(2))
    expected = transforms.rotate_2d(POINTS[..., :2], 0.4 * (2 * y - 1))
    np.testing.assert_allclose(moved(drawn({"rotation": 0.4}, 2, seed=7)), expected, atol=1e-6)


def test_the_mirror_comes_after_the_rotation() -> None:
    seed = next(seed for seed in range(100) if np.random.default_rng(seed).random(7)[6] < 0.5)
    switched_on: dict[str, float | bool] = {"rotation": 1.0, "tilt": 1.0}
    turned = moved(drawn(switched_on, seed=seed))
    both = moved(drawn({**switched_on, "mirror": True}, seed=seed))
    np.testing.assert_array_equal(both, turned * np.float32([-1, 1, 1]))


def test_half_of_the_readings_are_mirrored() -> None:
    flipped = sum(drawn({"mirror": True}, seed=seed).mirror for seed in range(100))
    assert 30 < flipped < 70


def test_a_crop_that_would_show_nobody_is_not_made() -> None:
    seen = np.zeros(40, bool)
    seen[[0, 39]] = True  # somebody in the first and in the last frame alone
    config = OFF.model_copy(update={"min_crop": 0.1})
    readings = [draw(config, seen, 2, np.random.default_rng(seed)) for seed in range(50)]
    assert all(seen[r.start : r.start + r.length].any() for r in readings)
    assert any(r.length < 40 for r in readings)
    assert any(r.length == 40 for r in readings)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([2, 3]), st.integers(1, 12))
def test_any_reading_lies_within_the_clip_and_keeps_its_shape(seed, coordinates, frames) -> None:
    reading = draw(ALL, np.ones(frames, bool), coordinates, np.random.default_rng(seed))
    assert max(1, round(0.5 * frames)) <= reading.length <= frames
    assert 0 <= reading.start <= frames - reading.length
    assert reading.matrix.dtype == np.float32
    scale = abs(np.linalg.det(reading.matrix)) ** (1 / coordinates)
    assert 0.9 - 1e-6 <= scale <= 1.1 + 1e-6
    rotation = reading.matrix / scale
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(coordinates), atol=1e-6)
    assert (np.linalg.det(rotation) < 0) == reading.mirror
    assert 0 <= reading.seed < 2**62


@pytest.mark.parametrize(
    "wrong", [{"min_crop": 0}, {"rotation": -1}, {"tilt": -0.1}, {"scale": 1}, {"noise": -1}]
)
def test_impossible_strengths_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        AugmentationConfig.model_validate({**ALL.model_dump(), **wrong})
