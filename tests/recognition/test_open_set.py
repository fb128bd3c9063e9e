"""Added classes ranked with a model's own, and what is none of both."""

import numpy as np

from llmar_pipeline.recognition.enrolment import Enrolled
from llmar_pipeline.recognition.open_set import OpenSet
from llmar_pipeline.recognition.prototypes import Prototypes
from llmar_pipeline.recognition.refusal import Refusal

KNOWN = Prototypes(np.eye(2), np.array([[0.0, 0.0], [6.0, 0.0]]), np.array([1e9, 1e9]))
CHANCES = np.array([[0.9, 0.1], [0.2, 0.8]])


def test_by_hand():
    """A clip at (0, 3): 9 from the first class, 45 from the second, and of an added class of one example at
    (0, 6) again 9, halved for its one example. At temperature 1 / (2 ln 2) distances are powers of 2.
    """
    enrolled = Enrolled("wave", ("a",), np.array([[0.0, 6.0]]))
    open_set = OpenSet(KNOWN, Refusal(np.array([5.0]), 1 / (2 * np.log(2))), (enrolled,))
    chances, refused = open_set.judge(np.array([[0.0, 3.0], [100.0, 0.0]]), CHANCES)
    share = 2**-4.5 / (2**-4.5 + 2**-9 + 2**-45)
    np.testing.assert_allclose(chances[0], [0.9 * (1 - share), 0.1 * (1 - share), share], rtol=1e-6)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    np.testing.assert_array_equal(refused, [False, True])


def test_without_added_classes_the_model_answers_as_it_does():
    chances, refused = OpenSet(KNOWN, Refusal(np.zeros(0))).judge(np.array([[0.0, 3.0], [1e6, 0.0]]), CHANCES)
    np.testing.assert_array_equal(chances, CHANCES)
    assert not refused.any()


def test_what_lies_in_an_added_class_is_not_refused():
    features = np.array([[100.0, 0.0]])
    refusal = Refusal(np.array([5.0]))
    assert OpenSet(KNOWN, refusal).judge(features, CHANCES[:1])[1].all()
    added = OpenSet(KNOWN, refusal, (Enrolled("far", ("a",), features),))
    assert not added.judge(features, CHANCES[:1])[1].any()
