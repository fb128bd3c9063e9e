import numpy as np
import pandas as pd
import pytest
import torch

from llmar_pipeline.language import samples
from llmar_pipeline.language.samples import RowsByClip, counts_by_class, naive_bayes

SENTENCES = pd.DataFrame({"action": ["a", "b"], "codes": [np.array([0, 0, 1]), np.array([1, 2])]})


@pytest.mark.parametrize("at_once", [1, 10_000])
def test_codes_are_counted_by_class_and_speak_for_it(at_once, monkeypatch):
    monkeypatch.setattr(samples, "_AT_ONCE", at_once)
    counts = counts_by_class(SENTENCES, ["a", "b"], 3)
    np.testing.assert_array_equal(counts, [[2, 0], [1, 1], [0, 1]])
    # Once more than seen: 3, 2 and 1 of 6 in class a, 1, 2 and 2 of 5 in class b.
    expected = np.log([[1 / 2, 1 / 5], [1 / 3, 2 / 5], [1 / 6, 2 / 5]])
    np.testing.assert_allclose(naive_bayes(counts), expected, rtol=1e-6)


def test_the_rows_of_each_clip_come_by_its_name():
    rows = pd.DataFrame({"name": ["b", "a", "b", "c", "a"]})
    of_clips = RowsByClip(rows)
    assert [of_clips[clip].tolist() for clip in range(len(of_clips))] == [[1, 4], [0, 2], [3]]
    assert of_clips.first().tolist() == [1, 0, 3]


def test_a_class_is_guessed_among_those_that_are_asked_and_known(build):
    model = build()
    first, _second, *others = model.class_names
    codes, mask = torch.tensor([[1, 2, 2], [3, 0, 0]]), torch.tensor([[True] * 3, [True, False, False]])
    assert model.guesses(codes, mask, model.class_names) is None
    model.class_votes = torch.zeros(16, len(model.class_names))
    model.class_votes[1, 0], model.class_votes[2, 1], model.class_votes[3, 0] = 3, 2, 1
    model.class_votes[0, 1] = 9  # stands in padding alone
    assert model.guesses(codes, mask, model.class_names) == [
        1,
        0,
    ]
    assert model.guesses(codes, mask, ["x", *others, first, "y"]) == [len(others) + 1] * 2
    assert model.guesses(codes, mask, ["x", "y"]) is None
    assert model.guesses(torch.zeros(2, 3, 32), mask, model.class_names) is None
