"""Recordings glued from clips, and how segments of them are scored."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def gluing(benchmarks):
    return benchmarks("gluing")


def test_clips_go_on_where_the_one_before_ended(gluing):
    first = np.zeros((1, 3, 2, 3), np.float32)
    first[0, :, :, 0] = [[0], [1], [2]]
    second = np.full((2, 2, 2, 3), 7, np.float32)
    second[0, 0, 1] = np.nan
    made = gluing.glued([first, second], root=0)
    assert made.shape == (2, 5, 2, 3)
    assert made[0, :, 0].tolist() == [
        [0, 0, 0],
        [1, 0, 0],
        [2, 0, 0],
        [2, 7, 0],
        [2, 7, 0],
    ]  # the ground stays
    assert np.isnan(made[1, :3]).all()
    assert made[1, 3:, 0].tolist() == [[2, 7, 0]] * 2
    assert np.isnan(made[0, 3, 1]).all()


def test_recordings_are_of_one_person_and_no_action_follows_itself(gluing):
    table = pd.DataFrame(
        [(f"{s}{a}{r}", a, s, 1) for s in (1, 2) for a in "abc" for r in range(4)],
        columns=["name", "action", "subject", "camera"],
    )
    plans = list(gluing.plans(table, clips=3, seed=0))
    assert len(plans) > 3
    names = [name for plan in plans for name in plan]
    assert len(set(names)) == len(names)
    for plan in plans:
        assert len({name[0] for name in plan}) == 1
        assert all(one[1] != other[1] for one, other in pairwise(plan))


def test_scores_worked_out_by_hand(gluing):
    truth = [gluing.Truth("a", 0, 10), gluing.Truth("b", 10, 20), gluing.Truth("a", 20, 30)]
    found = [
        gluing.Truth("a", 0, 14),  # 10 of 14 frames
        gluing.Truth("b", 16, 22),  # 4 of 12
        gluing.Truth("a", 22, 27),  # 5 of 10
        gluing.Truth("a", 27, 30),  # 3 of 10
    ]
    assert gluing.frame_accuracy(truth, found) == pytest.approx((10 + 4 + 8) / 30)
    assert gluing.matched(truth, found, 0.5) == 2
    assert gluing.matched(truth, found, 0.3) == 3
    assert gluing.matched(truth, [found[0], found[0]], 0.5) == 1  # each true one once
    assert gluing.matched(truth, [], 0.5) == 0
    assert gluing.f1(2, 3, 4) == pytest.approx(4 / 7)
    assert gluing.f1(0, 0, 0) == 0
