import numpy as np
import pytest

from llmar_pipeline.corpora.actors import select_actors
from llmar_pipeline.skeletons.sequence import SkeletonFileError

Body = tuple[range, float]


def standing(wobble: float, seed: int, width: float = 0.4) -> np.ndarray:
    """A frame of five joints, 1 high and `width` wide; `wobble` moves it as a whole."""
    x = np.array([0, width, width / 2, width / 2, width / 2])
    y = np.array([0, 0, 0.3, 0.6, 1])
    shift = wobble * (1 if seed % 2 else -1)
    return np.stack([x, y, np.full(5, 2 + shift)], axis=1).astype(np.float32)


def recording(
    n_frames: int, bodies: dict[str, tuple[range | list[int], float]], width: float = 0.4
) -> tuple[list[list[str]], np.ndarray]:
    """Ids and positions of bodies given by the frames they are seen in and how much they move."""
    ids: list[list[str]] = [[] for _ in range(n_frames)]
    positions = []
    for frame in range(n_frames):
        for name, (seen, wobble) in bodies.items():
            if frame in seen:
                ids[frame].append(name)
                positions.append(standing(wobble, frame, width))
    return ids, np.array(positions, np.float32)


def wobbles(data: np.ndarray) -> list[list[float | None]]:
    """For each person and frame, how far the body that is there moves."""
    shift = np.abs(data[:, :, 0, 2] - 2)
    return [[None if np.isnan(s) else round(float(s), 3) for s in person] for person in shift]


def test_one_body_is_taken_as_it_is_however_short_and_wide() -> None:
    data, bodies = select_actors(*recording(3, {"a": (range(3), 0.1)}, width=5))
    assert wobbles(data) == [[0.1] * 3]
    assert bodies == ()


def test_frames_without_a_body_are_dropped() -> None:
    data, _ = select_actors(*recording(6, {"a": ([1, 4, 5], 0.1)}))
    assert wobbles(data) == [[0.1] * 3]


def test_bodies_of_eleven_frames_are_noise_and_of_twelve_are_not() -> None:
    data, _ = select_actors(*recording(30, {"a": (range(30), 0.1), "b": (range(11), 0.5)}))
    assert wobbles(data) == [[0.1] * 30]
    data, _ = select_actors(*recording(30, {"a": (range(30), 0.1), "b": (range(12), 0.5)}))
    assert wobbles(data) == [[0.5] * 12 + [None] * 18, [0.1] * 30]


def test_where_every_body_is_short_the_longest_stays() -> None:
    data, bodies = select_actors(*recording(9, {"a": (range(3), 0.5), "b": (range(9), 0.1)}))
    assert wobbles(data) == [[0.1] * 9]
    assert [(body.body, body.frames, body.decision) for body in bodies] == [
        ("a", 3, "dropped: seen in fewer than 12 frames"),
        ("b", 9, "actor 1"),
    ]


def test_mostly_wide_bodies_are_noise_but_the_last_stays() -> None:
    ids, positions = recording(20, {"a": (range(20), 0.1), "b": (range(20), 0.5)})
    positions[1::2][:14, :, 0] *= 2.1  # b: 0.84 wide in 14 of 20 frames, a share of 0.7
    assert wobbles(select_actors(ids, positions)[0]) == [[0.1] * 20]
    positions[1::2][13, :, 0] /= 2.1  # 13 of 20, a share of 0.65
    assert wobbles(select_actors(ids, positions)[0]) == [[0.5] * 20, [0.1] * 20]
    positions[:, :, 0] *= 9
    assert wobbles(select_actors(ids, positions)[0]) == [[0.5] * 20]  # a was first to go


def test_motion_is_that_of_clean_frames_where_it_is_smaller() -> None:
    # b moves by 0.5 in four wide frames only, else by 0.05; a moves by 0.1 all the time.
    ids, positions = recording(20, {"a": (range(20), 0.1), "b": (range(20), 0.05)})
    wide = positions[1::2][:4]
    wide[:, :, 2] = 2 + (wide[:, :, 2] - 2) * 10
    assert wobbles(select_actors(ids, positions)[0])[0][0] == 0.5
    wide[:, :, 0] *= 3
    assert wobbles(select_actors(ids, positions)[0])[0][0] == 0.1


def test_one_person_under_two_ids_is_one_actor() -> None:
    data, _ = select_actors(*recording(40, {"a": (range(20), 0.1), "b": (range(20, 40), 0.2)}))
    assert wobbles(data) == [[0.1] * 20 + [0.2] * 20]


def test_a_shared_frame_is_no_overlap_and_the_later_body_has_it() -> None:
    data, _ = select_actors(*recording(40, {"a": (range(21), 0.2), "b": (range(20, 40), 0.1)}))
    assert wobbles(data) == [[0.2] * 20 + [0.1] * 20]
    data, _ = select_actors(*recording(40, {"a": (range(22), 0.2), "b": (range(20, 40), 0.1)}))
    assert wobbles(data) == [[0.2] * 22 + [None] * 18, [None] * 20 + [0.1] * 20]


def test_further_bodies_join_actor_2_or_are_discarded() -> None:
    bodies = {
        "a": (range(60), 0.4),
        "b": (range(20), 0.3),
        "c": (range(10, 30), 0.2),
        "d": (range(40, 60), 0.1),
    }
    data, report = select_actors(*recording(60, bodies))
    # c overlaps a and b: discarded. d overlaps a, not b.
    assert wobbles(data) == [[0.4] * 60, [0.3] * 20 + [None] * 20 + [0.1] * 20]
    assert [body.decision for body in report] == [
        "actor 1",
        "actor 2",
        "dropped: both actors are there at the same time",
        "actor 2",
    ]
    # The variance of a standing body is 0.016 in x and 0.1456 in y, and the wobble's square in z.
    assert [round(body.motion, 4) for body in report] == [0.3216, 0.2516, 0.2016, 0.1716]


def test_actor_2_is_held_from_frame_0_on_as_in_the_reference() -> None:
    bodies = {"a": (range(60), 0.4), "b": (range(30, 60), 0.3), "c": (range(25), 0.2)}
    data, _ = select_actors(*recording(60, bodies))
    assert wobbles(data) == [[0.4] * 60, [None] * 30 + [0.3] * 30]


def test_frames_that_only_discarded_bodies_show_are_dropped() -> None:
    data, _ = select_actors(*recording(30, {"ghost": (range(5), 0.5), "a": (range(10, 30), 0.1)}))
    assert wobbles(data) == [[0.1] * 20]


def test_a_body_with_gaps_is_closed_up_from_its_first_frame() -> None:
    seen = [*range(5, 15), *range(20, 30)]
    data, _ = select_actors(*recording(30, {"a": (range(30), 0.2), "b": (seen, 0.1)}))
    assert wobbles(data) == [[0.2] * 30, [None] * 5 + [0.1] * 20 + [None] * 5]


def test_mostly_wide_bodies_are_reported() -> None:
    ids, positions = recording(20, {"a": (range(20), 0.1), "b": (range(20), 0.5)})
    positions[1::2, :, 0] *= 3
    assert [body.decision for body in select_actors(ids, positions)[1]] == [
        "actor 1",
        "dropped: wider than 0.8 times its height in most frames",
    ]


def test_one_body_twice_in_a_frame_is_refused() -> None:
    ids, positions = recording(3, {"a": (range(3), 0.1), "b": (range(3), 0.2)})
    with pytest.raises(SkeletonFileError, match="different ids in a frame, saw the ids a, a"):
        select_actors([["a", "a"] for _ in ids], positions)


def test_missing_joints_neither_move_nor_widen_a_body() -> None:
    ids, positions = recording(20, {"a": (range(20), 0.1), "b": (range(20), 0.5)})
    positions[1, 4] = positions[3] = np.nan
    data, _ = select_actors(ids, positions)
    assert wobbles(data) == [[0.5, None] + [0.5] * 18, [0.1] * 20]
    assert np.isnan(data[0, 0, 4]).all()
