import numpy as np
import pytest

from llmar_pipeline.corpora.detections import Track, follow, keep_two, spread


def person(x: float, joints: int = 2) -> np.ndarray:
    return np.float32([[x + 0.1 * joint, 0.0] for joint in range(joints)])


def frame(*places: float) -> np.ndarray:
    return np.stack([person(x) for x in places]) if places else np.empty((0, 2, 2), np.float32)


def paths(frames: list[np.ndarray]) -> list[dict[int, float]]:
    """Frame to x of the first joint, for each track."""
    return [
        {int(at): round(float(body[0, 0]), 3) for at, body in zip(track.frames, track.joints, strict=True)}
        for track in follow(frames)
    ]


def test_order_in_a_frame_is_no_identity() -> None:
    assert paths([frame(0, 5), frame(5.1, 0.1), frame(0.2, 5.2)]) == [
        {0: 0, 1: 0.1, 2: 0.2},
        {0: 5, 1: 5.1, 2: 5.2},
    ]


def test_the_closest_pair_is_matched_first() -> None:
    # The first in the list is 2 from track 1, the second only 1: the second gets it.
    assert paths([frame(0, 10), frame(2, 1)]) == [{0: 0, 1: 1}, {0: 10, 1: 2}]


def test_who_is_lost_and_found_stays_the_same() -> None:
    assert paths([frame(0), frame(), frame(), frame(3)]) == [{0: 0, 3: 3}]
    assert paths([frame(0, 9), frame(9), frame(8), frame(1, 8)]) == [
        {0: 0, 3: 1},
        {0: 9, 1: 9, 2: 8, 3: 8},
    ]


def test_a_track_is_opened_only_when_all_others_are_taken() -> None:
    assert paths([frame(0), frame(9), frame(9, 0)]) == [{0: 0, 1: 9, 2: 9}, {2: 0}]
    assert paths([frame(), frame()]) == []


def test_spread_by_hand() -> None:
    # x is 0, 3, 0, 3 (standard deviation 1.5), y is 0, 0, 4, 4 (2); the missing joint does not count.
    joints = np.float32([[[0, 0], [3, 0], [np.nan, np.nan]], [[0, 4], [3, 4], [np.nan, np.nan]]])
    assert spread(Track("1", np.arange(2), joints)) == pytest.approx(3.5)
    assert spread(Track("1", np.arange(1), joints[:1, 2:])) == 0


def test_two_are_kept_and_the_rest_is_reported() -> None:
    tracks = [
        Track(name, np.array(at), np.stack([person(x) for x in places]))
        for name, at, places in [
            ("still", [0, 1, 2], [0, 0, 0]),
            ("brief", [2], [7]),
            ("far", [0, 2], [0, 8]),
            ("near", [0, 1], [0, 4]),
        ]
    ]
    data, report = keep_two(tracks, 4, spread, "two others move more")
    assert data.shape == (2, 4, 2, 2)
    assert data.dtype == np.float32
    np.testing.assert_array_equal(data[0, [0, 2]], tracks[2].joints)
    np.testing.assert_array_equal(data[1, :2], tracks[3].joints)
    assert np.isnan(data[0, [1, 3]]).all()
    assert np.isnan(data[1, 2:]).all()
    assert [(body.body, body.frames, body.decision) for body in report] == [
        ("still", 3, "dropped: two others move more"),
        ("brief", 1, "dropped: two others move more"),
        ("far", 2, "actor 1"),
        ("near", 2, "actor 2"),
    ]
    assert report[2].motion == pytest.approx(4**2 + 0.05**2, rel=1e-5)


def test_one_person_needs_no_report_and_equals_keep_their_order() -> None:
    one = Track("1", np.array([1]), frame(1))
    data, report = keep_two([one], 2, spread, "")
    assert data.shape == (1, 2, 2, 2)
    assert report == ()
    twins = [Track(name, np.array([0]), frame(1)) for name in ("a", "b", "c")]
    assert [body.decision for body in keep_two(twins, 1, spread, "x")[1]] == [
        "actor 1",
        "actor 2",
        "dropped: x",
    ]
