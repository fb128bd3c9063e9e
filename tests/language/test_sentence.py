import numpy as np
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.sentence import format_sentence, shuffle_across_clips


def test_a_sentence_as_text():
    assert format_sentence(np.array([17, 402, 0])) == "<a17> <a402> <a0>"
    assert format_sentence([]) == ""


@pytest.mark.parametrize("n", [2, 3, 7])
def test_shuffling_leaves_no_clip_its_own_sentence(n):
    codes = [np.array([i]) for i in range(n)]
    for seed in range(20):
        givers = [int(c[0]) for c in shuffle_across_clips(codes, seed)]
        assert sorted(givers) == list(range(n))
        assert all(giver != receiver for receiver, giver in enumerate(givers))


def test_shuffling_depends_on_the_seed_only():
    codes = [np.array([i]) for i in range(20)]
    orders = [[int(c[0]) for c in shuffle_across_clips(codes, seed)] for seed in (5, 5, 6)]
    assert orders[0] == orders[1] != orders[2]


def test_one_clip_cannot_be_shuffled():
    with pytest.raises(UserError, match="at least 2 clips"):
        shuffle_across_clips([np.array([1])], seed=0)
