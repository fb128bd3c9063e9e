import numpy as np
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError


def test_counts_persons_and_frames() -> None:
    sequence = Sequence("wave", np.zeros((2, 7, 25, 3), np.float32))
    assert (sequence.n_persons, sequence.n_frames) == (2, 7)


@pytest.mark.parametrize(
    "data",
    [np.zeros((7, 25, 3), np.float32), np.zeros((1, 7, 25, 3)), np.zeros((1, 0, 25, 3), np.float32)],
    ids=["three axes", "float64", "no frame"],
)
def test_refuses_other_arrays(data: np.ndarray) -> None:
    with pytest.raises(
        UserError, match=r"'wave': expected a float32 array \[person, frame, joint, coordinate\]"
    ):
        Sequence("wave", data)


def test_file_error_says_where_expected_and_seen() -> None:
    assert SkeletonFileError("25 joints", "'24'", 4, "a.skeleton").message == (
        "a.skeleton, line 4: expected 25 joints, saw '24'; replace or remove the file."
    )
