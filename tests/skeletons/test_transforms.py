import numpy as np
import pytest

from llmar_pipeline.skeletons import transforms
from llmar_pipeline.skeletons.topology import KINECT20, NTU25

NAN = np.nan


def track(*values: float) -> np.ndarray:
    """One person, one joint, one coordinate over time."""
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def cloud(seed: int, persons: int = 2, frames: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(persons, frames, 25, 3)).astype(np.float32)


def test_center_subtracts_the_first_observed_root_of_person_1_from_everything() -> None:
    data = np.zeros((2, 3, 25, 3), np.float32)
    data[0, :, 1] = [[NAN] * 3, [1, 2, 3], [4, 5, 6]]
    data[1, 0, 7] = [10, 10, 10]
    centered = transforms.center(data, NTU25)
    assert np.isnan(centered[0, 0, 1]).all()
    np.testing.assert_array_equal(centered[0, 1, 1], [0, 0, 0])
    np.testing.assert_array_equal(centered[0, 2, 1], [3, 3, 3])
    np.testing.assert_array_equal(centered[1, 0, 7], [9, 8, 7])
    assert data[0, 2, 1, 0] == 4


def test_center_without_any_root_changes_nothing() -> None:
    data = cloud(0)
    data[0, :, 1] = NAN
    np.testing.assert_array_equal(transforms.center(data, NTU25), data)


def test_align_view_turns_the_shoulders_to_x_and_keeps_heights() -> None:
    data = np.zeros((1, 2, 20, 3), np.float32)
    left, right = KINECT20.shoulders
    data[0, 0, left] = [0, 1, 0]
    data[0, 0, right] = [0, 1.2, 2]  # the right shoulder is 2 m behind the left: a quarter turn
    data[0, 1, 3] = [3, 5, 4]
    aligned = transforms.align_view(data, KINECT20)
    np.testing.assert_allclose(aligned[0, 0, right], [2, 1.2, 0], atol=1e-6)
    np.testing.assert_allclose(aligned[0, 1, 3], [4, 5, -3], atol=1e-6)


def test_align_view_does_not_depend_on_where_the_person_faced() -> None:
    data = cloud(1)
    turned = transforms.rotate_y(data, 2.1)
    np.testing.assert_allclose(
        transforms.align_view(turned, NTU25), transforms.align_view(data, NTU25), atol=1e-5
    )


def test_align_view_takes_the_next_frame_then_the_hips_then_nothing() -> None:
    data = np.full((1, 2, 25, 3), NAN, np.float32)
    left, right = NTU25.shoulders
    data[0, 1, left], data[0, 1, right] = [0, 0, 1], [0, 0, 0]
    np.testing.assert_allclose(transforms.align_view(data, NTU25)[0, 1, left], [-1, 0, 0], atol=1e-6)
    data[0, 1, right] = [0, 5, 1]  # above the left one: no horizontal axis
    data[0, 0, NTU25.hips[0]], data[0, 0, NTU25.hips[1]] = [0, 0, 0], [-2, 0, 0]
    np.testing.assert_allclose(transforms.align_view(data, NTU25)[0, 1, left], [0, 0, -1], atol=1e-6)
    data[0, 0, NTU25.hips[1]] = NAN
    np.testing.assert_array_equal(transforms.align_view(data, NTU25), data)


def test_fill_gaps_is_linear_inside_and_nan_outside() -> None:
    filled = transforms.fill_gaps(track(NAN, 1, NAN, NAN, 7, NAN))
    np.testing.assert_allclose(filled.ravel(), [NAN, 1, 3, 5, 7, NAN])


def test_fill_gaps_holds_a_joint_within_its_persons_interval() -> None:
    data = np.full((2, 5, 3, 1), NAN, np.float32)
    data[0, 1:4, 0, 0] = [1, 2, 3]
    data[0, 2, 1, 0] = 9
    filled = transforms.fill_gaps(data)
    np.testing.assert_array_equal(filled[0, :, 0, 0], [NAN, 1, 2, 3, NAN])
    np.testing.assert_array_equal(filled[0, :, 1, 0], [NAN, 9, 9, 9, NAN])
    assert np.isnan(filled[0, :, 2]).all()
    assert np.isnan(filled[1]).all()


def test_fill_gaps_agrees_with_interpolation_track_by_track() -> None:
    rng = np.random.default_rng(2)
    data = cloud(2, frames=30)
    data[rng.random((2, 30, 25)) < 0.4] = NAN
    data[:, [0, -1], 0] = 0  # joint 0 spans the whole interval of both persons
    filled = transforms.fill_gaps(data)
    frames = np.arange(30)
    for person in range(2):
        for joint in range(25):
            seen = ~np.isnan(data[person, :, joint, 0])
            for k in range(3):
                expected = np.interp(frames, frames[seen], data[person, seen, joint, k])
                np.testing.assert_allclose(filled[person, :, joint, k], expected, atol=1e-5)


def test_resample_up_down_and_from_one_frame() -> None:
    np.testing.assert_allclose(transforms.resample(track(0, 2, 4), 5).ravel(), [0, 1, 2, 3, 4])
    np.testing.assert_allclose(transforms.resample(track(0, 1, 2, 3, 10), 2).ravel(), [0, 10])
    np.testing.assert_allclose(transforms.resample(track(6), 3).ravel(), [6, 6, 6])
    np.testing.assert_allclose(transforms.resample(track(1, 2), 1).ravel(), [1])


def test_resample_takes_the_observed_neighbour_and_keeps_whole_gaps() -> None:
    resampled = transforms.resample(track(0, NAN, NAN, 8), 7)  # at 0, 0.5, 1, 1.5, 2, 2.5, 3
    np.testing.assert_allclose(resampled.ravel(), [0, 0, NAN, NAN, NAN, 8, 8])


def test_temporal_crop() -> None:
    np.testing.assert_array_equal(transforms.temporal_crop(track(0, 1, 2, 3), 1, 2).ravel(), [1, 2])
    for start, length in [(-1, 2), (3, 2), (0, 0)]:
        with pytest.raises(ValueError, match="within 4 frames"):
            transforms.temporal_crop(track(0, 1, 2, 3), start, length)


def test_rotate_a_quarter_turn_about_each_axis() -> None:
    quarter = np.pi / 2
    point = np.array([1, 2, 3], np.float32).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(transforms.rotate(point, (quarter, 0, 0)).ravel(), [1, -3, 2], atol=1e-6)
    np.testing.assert_allclose(transforms.rotate(point, (0, quarter, 0)).ravel(), [3, 2, -1], atol=1e-6)
    np.testing.assert_allclose(transforms.rotate(point, (0, 0, quarter)).ravel(), [-2, 1, 3], atol=1e-6)
    # x first: [1, -3, 2]; then z: [3, 1, 2]
    np.testing.assert_allclose(transforms.rotate(point, (quarter, 0, quarter)).ravel(), [3, 1, 2], atol=1e-6)


def test_rotation_needs_three_coordinates() -> None:
    with pytest.raises(ValueError, match="saw 2 coordinates"):
        transforms.rotate_y(np.zeros((1, 1, 17, 2), np.float32), 1.0)


def test_mirror_swaps_partners_negates_x_and_undoes_itself() -> None:
    data = cloud(3)
    data[1, 2, 4] = NAN
    mirrored = transforms.mirror(data, NTU25)
    np.testing.assert_array_equal(mirrored[:, :, 8], data[:, :, 4] * np.float32([-1, 1, 1]))
    np.testing.assert_array_equal(mirrored[:, :, 3], data[:, :, 3] * np.float32([-1, 1, 1]))
    np.testing.assert_array_equal(transforms.mirror(mirrored, NTU25), data)


def test_scale() -> None:
    np.testing.assert_array_equal(transforms.scale(track(1, NAN, 3), 2.0).ravel(), [2, NAN, 6])


def test_types_stay_and_arguments_are_not_changed() -> None:
    data = cloud(4)
    data[0, 1] = NAN
    before = data.copy()
    for changed in (
        transforms.center(data, NTU25),
        transforms.align_view(data, NTU25),
        transforms.fill_gaps(data),
        transforms.resample(data, 9),
        transforms.temporal_crop(data, 0, 2),
        transforms.rotate(data, (0.1, 0.2, 0.3)),
        transforms.mirror(data, NTU25),
        transforms.scale(data, 1.5),
    ):
        assert changed.dtype == np.float32
        changed[...] = 0
        np.testing.assert_array_equal(data, before)
