import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from llmar_pipeline.skeletons import transforms
from llmar_pipeline.skeletons.augmentation import AugmentationConfig, augment
from llmar_pipeline.skeletons.topology import COCO17, KINECT20, Topology

OFF = AugmentationConfig(min_crop=1, rotation=0, tilt=0, scale=0, noise=0, mirror=False)
ALL = AugmentationConfig(min_crop=0.5, rotation=0.4, tilt=0.2, scale=0.1, noise=0.01, mirror=True)


def recording(topology: Topology, frames: int = 20, persons: int = 2) -> np.ndarray:
    shape = (persons, frames, len(topology.joints), topology.coordinates)
    data = np.random.default_rng(frames).normal(size=shape).astype(np.float32)
    data[0, :2, 3] = np.nan
    return data


def changed(config: dict[str, float | bool], topology: Topology = KINECT20, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return augment(recording(topology), topology, OFF.model_copy(update=config), rng)


@pytest.mark.parametrize("topology", [KINECT20, COCO17])
def test_switched_off_it_changes_nothing(topology: Topology) -> None:
    np.testing.assert_array_equal(changed({}, topology), recording(topology))


def test_every_draw_has_its_place_whatever_is_switched_on() -> None:
    share, start, x, y, z, size, flip = np.random.default_rng(5).random(7)
    data = recording(KINECT20)

    length = round((0.5 + 0.5 * share) * 20)
    first = int(start * (20 - length + 1))
    np.testing.assert_array_equal(changed({"min_crop": 0.5}, seed=5), data[:, first : first + length])

    turned = transforms.rotate(data, (0.2 * (2 * x - 1), 0.4 * (2 * y - 1), 0.2 * (2 * z - 1)))
    np.testing.assert_allclose(changed({"rotation": 0.4, "tilt": 0.2}, seed=5), turned, atol=1e-6)

    np.testing.assert_allclose(changed({"scale": 0.1}, seed=5), data * (0.9 + 0.2 * size), rtol=1e-6)

    expected = transforms.mirror(data, KINECT20) if flip < 0.5 else data
    np.testing.assert_array_equal(changed({"mirror": True}, seed=5), expected)


def test_equal_generators_give_equal_readings() -> None:
    data = recording(KINECT20)
    first, again, other = (augment(data, KINECT20, ALL, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other, equal_nan=True)


def test_rotation_alone_is_about_the_vertical_and_tilt_alone_is_not() -> None:
    data = recording(KINECT20)
    turned, tilted = changed({"rotation": 1.0}), changed({"tilt": 1.0})
    np.testing.assert_allclose(turned[..., 1], data[..., 1], atol=1e-6)
    assert np.nanmax(np.abs(turned - data)) > 0.1
    assert np.nanmax(np.abs(tilted[..., 1] - data[..., 1])) > 0.1


def test_in_2d_rotation_turns_the_image_and_tilt_does_nothing() -> None:
    data = recording(COCO17)
    np.testing.assert_array_equal(changed({"tilt": 1.0}, COCO17), data)
    _, _, _, y, *_ = np.random.default_rng(7).random(5)
    np.testing.assert_allclose(
        changed({"rotation": 0.4}, COCO17, seed=7), transforms.rotate_2d(data, 0.4 * (2 * y - 1)), atol=1e-6
    )


def test_half_of_the_readings_are_mirrored() -> None:
    data = recording(COCO17)
    mirrored = transforms.mirror(data, COCO17)
    readings = [changed({"mirror": True}, COCO17, seed) for seed in range(100)]
    flipped = sum(np.array_equal(reading, mirrored, equal_nan=True) for reading in readings)
    assert flipped + sum(np.array_equal(reading, data, equal_nan=True) for reading in readings) == 100
    assert 30 < flipped < 70


def test_noise_has_its_standard_deviation_in_the_datas_unit() -> None:
    noise = changed({"noise": 3.0}, COCO17) - recording(COCO17)
    assert np.nanstd(noise) == pytest.approx(3, rel=0.1)


def test_a_crop_that_would_show_nobody_is_not_made() -> None:
    data = recording(COCO17, frames=40)
    data[:, 1:39] = np.nan  # somebody in the first and in the last frame alone
    config = OFF.model_copy(update={"min_crop": 0.1})
    readings = [augment(data, COCO17, config, np.random.default_rng(seed)) for seed in range(50)]
    assert not any(np.isnan(reading).all() for reading in readings)
    assert any(reading.shape[1] < 40 for reading in readings)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([KINECT20, COCO17]), st.integers(1, 12), st.integers(1, 3))
def test_any_reading_is_a_finite_part_of_the_clip(seed, topology, frames, persons) -> None:
    data = recording(topology, frames, persons)
    before = data.copy()
    reading = augment(data, topology, ALL, np.random.default_rng(seed))
    assert reading.dtype == np.float32
    assert reading.shape[0] == persons
    assert reading.shape[2:] == data.shape[2:]
    assert max(1, round(0.5 * frames)) <= reading.shape[1] <= frames
    assert not np.isinf(reading).any()
    assert np.isnan(reading).any(axis=-1).sum() <= min(2, frames)  # no more than the clip lacks
    reading[...] = 0
    np.testing.assert_array_equal(data, before)


@pytest.mark.parametrize(
    "wrong", [{"min_crop": 0}, {"rotation": -1}, {"tilt": -0.1}, {"scale": 1}, {"noise": -1}]
)
def test_impossible_strengths_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        AugmentationConfig.model_validate({**ALL.model_dump(), **wrong})
