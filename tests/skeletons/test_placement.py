from dataclasses import replace

import numpy as np
import pytest

from llmar_pipeline.skeletons.placement import body_size, facing_angle, lean_angle, origin
from llmar_pipeline.skeletons.topology import KINECT20

NAN = np.nan
FLAT = replace(KINECT20, coordinates=2)
(LEFT, RIGHT), (LEFT_HIP, RIGHT_HIP) = KINECT20.shoulders, KINECT20.hips


def unseen(frames: int, coordinates: int = 3, persons: int = 1) -> np.ndarray:
    return np.full((persons, frames, 20, coordinates), NAN, np.float32)


def torso(data: np.ndarray, frame: int, hips: list[float], shoulders: list[float]) -> None:
    """Hips and shoulders of person 1, 20 wide, around the given middles; 2D."""
    for joint, middle, side in (
        (LEFT_HIP, hips, -10),
        (RIGHT_HIP, hips, 10),
        (LEFT, shoulders, -10),
        (RIGHT, shoulders, 10),
    ):
        data[0, frame, joint] = [middle[0] + side, middle[1]]


def test_origin_is_the_first_observed_root() -> None:
    data = unseen(3)
    data[0, 0, 7] = [9, 9, 9]
    data[0, 1, 1] = [1, 2, NAN]  # a joint that lacks a coordinate is missing
    data[0, 2, 1] = [1, 2, 3]
    np.testing.assert_array_equal(origin(data, KINECT20), [1, 2, 3])


def test_origin_without_a_root_is_the_middle_of_the_first_frame_that_shows_a_joint() -> None:
    data = unseen(3, persons=2)
    data[1] = 5
    np.testing.assert_array_equal(origin(data, KINECT20), [0, 0, 0])
    data[0, 1, [3, 4]] = [[1, 2, 3], [3, 4, 7]]
    data[0, 2, 3] = [100, 100, 100]
    np.testing.assert_array_equal(origin(data, KINECT20), [2, 3, 5])


def test_facing_angle_is_a_quarter_turn_where_the_right_shoulder_is_behind_the_left() -> None:
    data = unseen(1)
    data[0, 0, LEFT], data[0, 0, RIGHT] = [0, 1, 0], [0, 1.2, 2]
    assert facing_angle(data, KINECT20) == pytest.approx(np.pi / 2)


def test_facing_angle_takes_the_next_frame_then_the_hips_then_none() -> None:
    data = unseen(2)
    data[0, 1, LEFT], data[0, 1, RIGHT] = [0, 0, 1], [0, 0, 0]
    assert facing_angle(data, KINECT20) == pytest.approx(-np.pi / 2)
    data[0, 1, RIGHT] = [0, 5, 1]  # above the left one: no horizontal axis
    data[0, 0, LEFT_HIP], data[0, 0, RIGHT_HIP] = [0, 0, 0], [-2, 0, 0]
    assert facing_angle(data, KINECT20) == pytest.approx(np.pi)
    data[0, 0, RIGHT_HIP] = NAN
    assert facing_angle(data, KINECT20) == 0


def test_lean_angle_is_what_the_torso_lacks_to_upright() -> None:
    data = unseen(3, coordinates=2)
    assert lean_angle(data, FLAT) == 0
    data[0, 0, LEFT_HIP] = [7, 7]  # the other three are missing: the next frame counts
    torso(data, 1, hips=[100, 100], shoulders=[150, 150])  # leans to the right by an eighth turn
    torso(data, 2, hips=[0, 0], shoulders=[-40, 0])
    assert lean_angle(data, FLAT) == pytest.approx(np.pi / 4)
    assert lean_angle(data[:, 2:], FLAT) == pytest.approx(-np.pi / 2)


def test_body_size_takes_half_a_metre_for_the_median_torso() -> None:
    data = unseen(4, coordinates=2)
    for frame, length in enumerate([100, 110, 900]):  # one bad frame, one without a torso
        torso(data, frame, hips=[50, 0], shoulders=[50, length])
    assert body_size(data, FLAT) == pytest.approx(220)


def test_body_size_of_a_hidden_or_foreshortened_torso_comes_from_the_bodys_extent() -> None:
    data = unseen(3, coordinates=2)
    data[0, :2, 3], data[0, :2, 15] = [0, 340], [100, 0]  # head and foot
    assert body_size(data, FLAT) == pytest.approx(200)
    torso(data, 0, hips=[50, 150], shoulders=[50, 183])  # a little less than a tenth of 340
    assert body_size(data, FLAT) == pytest.approx(200)
    torso(data, 0, hips=[50, 150], shoulders=[50, 185])
    assert body_size(data, FLAT) == pytest.approx(70)


def test_body_size_of_what_has_no_size_is_1() -> None:
    data = unseen(2, persons=2)
    data[1] = np.random.default_rng(0).normal(size=data[1].shape)
    assert body_size(data, KINECT20) == 1
    data[0, 0, 3] = [4, 5, 6]
    assert body_size(data, KINECT20) == 1
