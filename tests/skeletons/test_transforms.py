from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmar_pipeline.skeletons import transforms
from llmar_pipeline.skeletons.placement import body_size, facing_angle, lean_angle, origin
from llmar_pipeline.skeletons.topology import COCO17, KINECT20, NTU25, Topology

NAN = np.nan
FLAT20 = replace(KINECT20, coordinates=2)
few = settings(max_examples=50, deadline=None)


def track(*values: float) -> np.ndarray:
    """One person, one joint, one coordinate over time."""
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def cloud(seed: int, persons: int = 2, frames: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(persons, frames, 25, 3)).astype(np.float32)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[np.ndarray, Topology]:
    """Bodies in 2D or 3D, in metres or pixels, with anything from no joint to every joint missing."""
    topology = draw(st.sampled_from([KINECT20, FLAT20, COCO17]))
    persons, frames = draw(st.integers(1, 2)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (persons, frames, len(topology.joints), topology.coordinates)
    unit = draw(st.sampled_from([1.0, 200.0]))
    data = (rng.normal(size=shape) * unit).astype(np.float32)
    data[rng.random(shape[:3]) < draw(st.sampled_from([0, 0.3, 0.9, 1]))] = NAN
    data[:, : draw(st.integers(0, frames))][-1:] = NAN  # the last person may come late or never
    return data, topology


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for rounding at the size of the recording, and missing in the same places."""
    size = np.nanmax(np.abs(expected), initial=1e-3, where=~np.isnan(expected))
    np.testing.assert_allclose(actual, expected, atol=5e-6 * size)


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


def test_center_without_person_1_changes_nothing() -> None:
    data = cloud(0)
    data[0] = NAN
    np.testing.assert_array_equal(transforms.center(data, NTU25), data)


@few
@given(recordings(), st.floats(-500, 500))
def test_center_does_not_depend_on_where_the_person_was_and_can_be_undone(recording, shift) -> None:
    data, topology = recording
    centered = transforms.center(data, topology)
    assert_close(transforms.translate(centered, origin(data, topology)), data)
    assert_close(transforms.center(centered, topology), centered)
    if not np.isnan(data[0]).all():
        moved = transforms.translate(data, np.full(topology.coordinates, shift, np.float32))
        np.testing.assert_allclose(transforms.center(moved, topology), centered, atol=2e-3)


def test_align_view_turns_the_shoulders_to_x_and_keeps_heights() -> None:
    data = np.zeros((1, 2, 20, 3), np.float32)
    left, right = KINECT20.shoulders
    data[0, 0, left] = [0, 1, 0]
    data[0, 0, right] = [0, 1.2, 2]  # the right shoulder is 2 m behind the left: a quarter turn
    data[0, 1, 3] = [3, 5, 4]
    aligned = transforms.align_view(data, KINECT20)
    np.testing.assert_allclose(aligned[0, 0, right], [2, 1.2, 0], atol=1e-6)
    np.testing.assert_allclose(aligned[0, 1, 3], [4, 5, -3], atol=1e-6)


def test_align_view_in_the_image_turns_the_torso_upright() -> None:
    data = np.full((1, 1, 17, 2), NAN, np.float32)
    data[0, 0, [5, 6]], data[0, 0, [11, 12]] = [30, 0], [0, 0]  # lies on the back, head to the right
    data[0, 0, 15] = [-40, 5]
    aligned = transforms.align_view(data, COCO17)
    np.testing.assert_allclose(aligned[0, 0, [5, 6]], [[0, 30], [0, 30]], atol=1e-5)
    np.testing.assert_allclose(aligned[0, 0, 15], [-5, -40], atol=1e-5)


@few
@given(recordings(), st.floats(-3, 3))
def test_align_view_does_not_depend_on_the_view_and_can_be_undone(recording, angle) -> None:
    data, topology = recording
    flat = topology.coordinates == 2
    turn = transforms.rotate_2d if flat else transforms.rotate_y
    removed = lean_angle(data, topology) if flat else facing_angle(data, topology)
    aligned = transforms.align_view(data, topology)
    assert_close(turn(aligned, -removed), data)
    if removed:
        assert_close(transforms.align_view(turn(data, angle), topology), aligned)


def test_align_view_without_shoulders_and_hips_changes_nothing() -> None:
    for topology in (KINECT20, FLAT20):
        data = np.random.default_rng(0).normal(size=(1, 3, 20, topology.coordinates)).astype(np.float32)
        data[:, :, [*topology.shoulders, *topology.hips]] = NAN
        np.testing.assert_array_equal(transforms.align_view(data, topology), data)


def test_scale_to_body_makes_a_torso_half_a_metre_long() -> None:
    data = np.full((2, 1, 17, 2), NAN, np.float32)
    data[0, 0, [5, 6]], data[0, 0, [11, 12]] = [10, 80], [10, 0]
    data[1, 0, 0] = [320, -160]
    scaled = transforms.scale_to_body(data, COCO17)
    np.testing.assert_allclose(scaled[0, 0, [5, 11]], [[0.0625, 0.5], [0.0625, 0]], rtol=1e-6)
    np.testing.assert_allclose(scaled[1, 0, 0], [2, -1], rtol=1e-6)


@few
@given(recordings(), st.sampled_from([0.01, 3.0, 250.0]))
def test_scale_to_body_does_not_depend_on_the_unit_and_can_be_undone(recording, unit) -> None:
    data, topology = recording
    scaled = transforms.scale_to_body(data, topology)
    assert_close(transforms.scale(scaled, body_size(data, topology)), data)
    if body_size(data, topology) != 1:
        assert_close(transforms.scale_to_body(transforms.scale(data, unit), topology), scaled)


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


def test_fill_gaps_counts_a_joint_that_lacks_a_coordinate_as_missing() -> None:
    data = np.array([[0, 0], [NAN, 9], [2, 4]], np.float32).reshape(1, 3, 1, 2)
    np.testing.assert_array_equal(transforms.fill_gaps(data)[0, :, 0], [[0, 0], [1, 2], [2, 4]])
    np.testing.assert_array_equal(transforms.fill_gaps(data[:, :2])[0, :, 0], [[0, 0], [NAN, NAN]])


def test_fill_gaps_of_one_frame_has_nothing_to_fill_from() -> None:
    data = cloud(5, frames=1)
    data[0, 0, 3] = NAN
    np.testing.assert_array_equal(transforms.fill_gaps(data), data)


@few
@given(recordings())
def test_fill_gaps_keeps_what_is_observed_and_fills_the_same_once(recording) -> None:
    data, _ = recording
    filled = transforms.fill_gaps(data)
    seen = ~np.isnan(data)
    np.testing.assert_array_equal(filled[seen], data[seen])
    np.testing.assert_array_equal(transforms.fill_gaps(filled), filled)
    absent = np.isnan(data).all(axis=(1, 3), keepdims=True)  # joints never observed
    assert np.isnan(filled[np.broadcast_to(absent, data.shape)]).all()
    first_to_last = [np.flatnonzero(~np.isnan(person).all(axis=(1, 2))) for person in data]
    for person, frames in zip(filled, first_to_last, strict=True):
        inside = np.zeros(len(person), bool)
        inside[slice(frames[0], frames[-1] + 1) if frames.size else slice(0)] = True
        assert np.isnan(person[~inside]).all()
        known = ~np.isnan(person).all(axis=(0, 2))
        assert not np.isnan(person[inside][:, known]).any()


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


def test_resample_repeats_a_single_frame_and_lets_a_person_come_late() -> None:
    single = np.random.default_rng(0).normal(size=(2, 1, 17, 2)).astype(np.float32)
    single[1, 0, 4] = NAN
    np.testing.assert_array_equal(transforms.resample(single, 3), np.repeat(single, 3, axis=1))
    late = np.stack([track(0, 1, 2, 3, 4)[0], track(NAN, NAN, NAN, 6, 8)[0]])
    np.testing.assert_allclose(
        transforms.resample(late, 9)[..., 0, 0],
        [[0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4], [NAN, NAN, NAN, NAN, NAN, 6, 6, 7, 8]],
    )


@few
@given(recordings())
def test_resample_to_its_own_length_changes_nothing(recording) -> None:
    data, _ = recording
    np.testing.assert_array_equal(transforms.resample(data, data.shape[1]), data)


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


def test_rotate_2d_goes_from_x_to_y() -> None:
    point = np.array([2, 1], np.float32).reshape(1, 1, 1, 2)
    np.testing.assert_allclose(transforms.rotate_2d(point, np.pi / 2).ravel(), [-1, 2], atol=1e-6)
    np.testing.assert_allclose(transforms.rotate_2d(point, np.pi / 6).ravel(), [1.2320508, 1.8660254])


def test_rotations_refuse_the_other_number_of_coordinates() -> None:
    with pytest.raises(ValueError, match="expected 3 coordinates a joint, saw 2"):
        transforms.rotate_y(np.zeros((1, 1, 17, 2), np.float32), 1.0)
    with pytest.raises(ValueError, match="expected 2 coordinates a joint, saw 3"):
        transforms.rotate_2d(np.zeros((1, 1, 17, 3), np.float32), 1.0)


def test_translate() -> None:
    np.testing.assert_array_equal(
        transforms.translate(track(1, NAN, 3), np.array([2.0])).ravel(), [3, NAN, 5]
    )


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
        transforms.scale(data, 1.5),
        transforms.scale_to_body(data, NTU25),
        transforms.translate(data, np.ones(3)),
    ):
        assert changed.dtype == np.float32
        changed[...] = 0
        np.testing.assert_array_equal(data, before)


def test_trim_cuts_empty_frames_at_both_ends_only() -> None:
    data = np.full((2, 6, 1, 2), np.nan, np.float32)
    data[0, 1], data[1, 4] = 1, 2
    trimmed = transforms.trim(data)
    np.testing.assert_array_equal(trimmed, data[:, 1:5])
    nobody = np.full((1, 3, 1, 2), np.nan, np.float32)
    np.testing.assert_array_equal(transforms.trim(nobody), nobody)
