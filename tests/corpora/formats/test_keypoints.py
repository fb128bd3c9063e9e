import numpy as np
import pytest

from llmar_pipeline.corpora.formats.keypoints import to_sequence
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import COCO17, NTU25

POINTS = np.random.default_rng(0).normal(300, 60, (1, 6, 17, 2))


def read(points: np.ndarray, scores: np.ndarray | None = None) -> Sequence:
    return to_sequence("a", points, scores, COCO17, 2, "up")


def with_marks(mark: float) -> np.ndarray:
    points = POINTS.copy()
    points[0, 1:3] = mark  # a person not seen
    points[0, 4, 9] = mark  # a joint not seen
    points[0, 5, 9, 0] = mark  # a joint at the edge of the picture
    return points


@pytest.mark.parametrize("mark", [0, -1])
def test_a_joint_at_a_mark_is_missing_and_it_is_said(mark: float) -> None:
    sequence = read(with_marks(mark))
    missing = np.isnan(sequence.data).all(axis=-1)
    assert missing[0, 1:3].all()
    assert missing[0, 4].nonzero()[0].tolist() == [9]
    assert missing.sum() == 35
    assert sequence.remark == "35 of 102 joints at 0, 0 or -1, -1: taken as missing"
    assert read(POINTS).remark == ""


def test_a_person_of_zeros_is_nobody() -> None:
    two = np.concatenate([np.zeros_like(POINTS), POINTS])
    assert read(two).data.shape == (1, 6, 17, 2)
    with pytest.raises(SkeletonFileError, match=r"not missing, saw 102 of 102 joints at 0, 0"):
        read(np.zeros_like(POINTS))


def test_the_joint_that_a_recording_is_centred_on_stays() -> None:
    centred = POINTS - POINTS[:, :, 3:4]
    centred[0, 2] = 0  # nobody
    sequence = read(centred)
    assert np.isnan(sequence.data).any(axis=-1).sum() == 17
    assert "17 of 102 joints" in sequence.remark
    two = np.concatenate([POINTS - POINTS[:, :, 3:4], 300 + POINTS - POINTS[:, :, 3:4]])
    assert read(two).remark == ""
    out_of_the_picture = POINTS.copy()
    out_of_the_picture[:, :, 15] = 0
    assert np.isnan(read(out_of_the_picture).data[:, :, 15]).all()


def test_a_score_that_is_not_above_zero_says_missing() -> None:
    scores = np.ones(POINTS.shape[:3])
    scores[0, 0, :3] = [-1, 0, np.nan]
    sequence = read(POINTS, scores)
    assert np.isnan(sequence.data).any(axis=-1).sum() == 3
    assert sequence.remark == "1 of 102 joints with a score below 0: taken as missing"


@pytest.mark.parametrize(
    ("points", "hint"),
    [
        (np.repeat(POINTS, 2, 0).swapaxes(0, 1), "more persons than frames"),
        (POINTS.swapaxes(0, 1), "more persons than frames"),
        (POINTS.swapaxes(2, 3), "the last two axes swapped"),
        (POINTS.transpose(3, 1, 2, 0), r"transpose\(3, 1, 2, 0\)"),
        (np.concatenate([POINTS, POINTS[..., :1]], -1), "x, y, score"),
        (POINTS.reshape(6, 34), "reshape to"),
    ],
)
def test_other_shapes_are_refused_with_what_they_may_be(points: np.ndarray, hint: str) -> None:
    with pytest.raises(SkeletonFileError, match=hint):
        read(points)


def test_two_dimensions_for_a_body_of_three_are_pointed_out() -> None:
    for coordinates, hint in ((2, "say coordinates: 2 in corpus.yml"), (4, "a score last")):
        with pytest.raises(SkeletonFileError, match=hint):
            to_sequence("a", np.ones((6, 25, coordinates)), None, NTU25, 2, "up")
