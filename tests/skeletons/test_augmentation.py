from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons import transforms
from llmar_pipeline.skeletons.augmentation import Augmentation, AugmentationConfig, draw, plain

OFF = AugmentationConfig(min_crop=1, rotation=0, tilt=0, scale=0, noise=0, mirror=False)
ALL = AugmentationConfig(min_crop=0.5, rotation=0.4, tilt=0.2, scale=0.1, noise=0.01, mirror=True)
POINTS = np.random.default_rng(3).normal(size=(1, 1, 50, 3)).astype(np.float32)


def drawn(
    config: dict[str, float | bool | str], coordinates: int = 3, seed: int = 0, frames: int = 20
) -> Augmentation:
    rng = np.random.default_rng(seed)
    return draw(OFF.model_copy(update=config), np.ones(frames, bool), coordinates, rng)


def moved(augmentation: Augmentation) -> np.ndarray:
    return POINTS[..., : len(augmentation.matrix)] @ augmentation.matrix.T


def numbers(augmentation: Augmentation) -> list[complex]:
    a = augmentation
    later = [a.joint_dropout, a.sway, a.scattered, a.first]
    return [a.start, a.length, *a.matrix.ravel().tolist(), a.mirror, a.noise, a.seed, *later]


@pytest.mark.parametrize("coordinates", [2, 3])
def test_switched_off_it_is_the_plain_reading(coordinates: int) -> None:
    whole = [0, 20, *np.eye(coordinates).ravel(), False, 0, 0, 0, 0, False, 0]
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

    noisy, seed = drawn({"noise": 0.3}, seed=5), rng.integers(2**62)
    assert (noisy.noise, noisy.seed) == (0.3, seed)
    dropped = drawn({"joint_dropout": 0.1}, seed=5)
    assert (dropped.joint_dropout, dropped.seed) == (0.1, seed)
    random = drawn({"sampling": "random"}, seed=5)
    assert (random.scattered, random.seed) == (True, seed)

    drop, axis, wave, phase, first = rng.random(5)
    kept = np.ones(3, bool)
    kept[int(3 * axis)] = False
    for config in ({"axis_dropout": drop + 0.01}, {"axis_dropout": drop + 0.01, "noise": 0.3}):
        np.testing.assert_array_equal(drawn(config, seed=5).matrix, np.diag(kept))
    np.testing.assert_array_equal(drawn({"axis_dropout": drop - 0.01}, seed=5).matrix, np.eye(3))
    expected = 0.5 * wave * np.exp(2j * np.pi * phase)
    assert drawn({"speed": 0.5}, seed=5).sway == pytest.approx(expected)
    assert drawn({"swap_persons": True}, seed=5).first == first


@pytest.mark.parametrize("coordinates", [2, 3])
def test_with_the_later_changes_off_readings_are_what_they_were_before_these(coordinates: int) -> None:
    """Numbers of the version before them, the next one of the generator included."""
    rng = np.random.default_rng(1)
    reading = draw(ALL, np.ones(20, bool), coordinates, rng)
    assert (reading.start, reading.length, reading.mirror) == (5, 15, False)
    assert (reading.seed, rng.random()) == (1887097935946223282, 0.5495936876730595)
    before = {
        2: [[0.9219193458557129, -0.3458763062953949], [0.3458763062953949, 0.9219193458557129]],
        3: [
            [0.919309139251709, 0.02436874993145466, 0.3519127070903778],
            [-0.06932499259710312, 0.9756374955177307, 0.11353960633277893],
            [-0.3458763062953949, -0.13077981770038605, 0.9125962257385254],
        ],
    }
    np.testing.assert_array_equal(reading.matrix, np.float32(before[coordinates]))
    assert numbers(reading)[-5:] == [1887097935946223282, 0, 0, False, 0]


@pytest.mark.parametrize("angle", [1.5708, 3.2])
def test_turns_go_to_a_right_angle_and_beyond(angle: float) -> None:
    limits = {"rotation": angle, "tilt": angle, "roll": angle}
    config = AugmentationConfig.model_validate({**OFF.model_dump(), **limits})
    matrices = [draw(config, np.ones(2, bool), 3, np.random.default_rng(i)).matrix for i in range(100)]
    np.testing.assert_allclose([m @ m.T for m in matrices], [np.eye(3)] * 100, atol=1e-6)
    assert min(np.trace(m) for m in matrices) < -0.5


@pytest.mark.parametrize(
    "name", ["swipe left", "Turn RIGHT", "rear_left_turn", "draw circle counter-clockwise"]
)
def test_sides_are_not_mirrored_where_classes_name_them(name: str) -> None:
    OFF.check_names(["wave", name])
    with pytest.raises(UserError, match=f"saw '{name}'.*set augmentation.mirror=false"):
        ALL.check_names(["wave", name])
    ALL.check_names(["wave", "stand upright", "brightly", "leftover"])


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
    switched_on: dict[str, float | bool | str] = {"rotation": 1.0, "tilt": 1.0}
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
    "wrong",
    [
        *({"min_crop": 0}, {"rotation": -1}, {"tilt": -0.1}, {"scale": 1}, {"noise": -1}),
        *({"joint_dropout": 1}, {"axis_dropout": 1.1}, {"speed": 1}, {"sampling": "odd"}),
    ],
)
def test_impossible_strengths_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        AugmentationConfig.model_validate({**ALL.model_dump(), **wrong})


@pytest.mark.parametrize(
    ("new_cameras", "coordinates", "rotation", "tilt"),
    [(False, 3, 0.35, 0.09), (True, 3, np.pi / 2, np.pi / 4), (True, 2, 0.35, 0.09)],
)
def test_automatic_turns_reach_as_far_as_the_cameras_differ(new_cameras, coordinates, rotation, tilt) -> None:
    automatic = AugmentationConfig(**OFF.model_dump() | {"rotation": "auto", "tilt": "auto", "scale": 0.1})
    settled = automatic.settled(new_cameras, coordinates)
    assert settled.rotation == pytest.approx(rotation, abs=1e-4)
    assert settled.tilt == pytest.approx(tilt, abs=1e-4)
    assert settled.scale == 0.1
    assert ALL.settled(new_cameras, coordinates) == ALL
    with pytest.raises(ValidationError):
        AugmentationConfig(**OFF.model_dump() | {"rotation": "wide"})
