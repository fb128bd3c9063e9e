import numpy as np
import pytest

from llmar_pipeline.demo.kinematics import Motion, Performer, bend_limb, solve
from llmar_pipeline.skeletons.topology import NTU25

TALL = Performer(height=2.0, legs=1.0, arms=1.0, width=1.0, tempo=1.0, vigour=1.0, hand=1)
JOINT = {name: index for index, name in enumerate(NTU25.joints)}


def standing() -> Motion:
    return Motion.standing(TALL, np.arange(30) / 30, np.random.default_rng(0))


def test_bend_limb_by_hand():
    # Bones of 3 and 4 spanning 5 are a right triangle: along 9/5, aside 12/5.
    root, goal, pole = np.zeros(3), np.array([0.0, -5.0, 0.0]), np.array([0.0, 0.7, 2.0])
    middle, end = bend_limb(root, goal, 3.0, 4.0, pole)
    np.testing.assert_allclose(middle, [0, -1.8, 2.4], atol=1e-12)
    np.testing.assert_allclose(end, goal, atol=1e-12)


def test_bend_limb_draws_in_a_goal_out_of_reach():
    middle, end = bend_limb(np.zeros(3), np.array([10.0, 0, 0]), 1.0, 2.0, np.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(end, [2.9985, 0, 0], atol=1e-9)
    assert np.linalg.norm(middle) == pytest.approx(1.0)
    assert np.linalg.norm(end - middle) == pytest.approx(2.0)


def test_standing_person_of_two_metres():
    x = solve(standing(), TALL)
    assert x.shape == (30, 25, 3)
    # Ankle 0.039, thigh and shank 0.491 (bent by 0.8 %), spine and head 0.43 of the stature.
    np.testing.assert_allclose(x[:, JOINT["left ankle"], 1], 0.078, atol=1e-6)
    assert x[:, JOINT["spine base"], 1].mean() == pytest.approx(0.078 + 0.992 * 0.982 + 0.0192, abs=0.01)
    assert 1.85 < x[:, JOINT["head"], 1].min() < x[:, JOINT["head"], 1].max() < 2.0
    assert (x[..., 1] > -0.01).all()
    # The left is at +x; toes and knees point forward, elbows backward.
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        assert (x[:, JOINT[f"left {part}"], 0] > x[:, JOINT[f"right {part}"], 0]).all()
    assert (x[:, JOINT["left foot"], 2] > x[:, JOINT["left ankle"], 2] + 0.1).all()
    assert (x[:, JOINT["left knee"], 2] > x[:, [JOINT["left hip"], JOINT["left ankle"]], 2].mean(1)).all()
    assert (
        x[:, JOINT["left elbow"], 2] < x[:, [JOINT["left shoulder"], JOINT["left wrist"]], 2].mean(1)
    ).all()


def test_bending_the_trunk_brings_the_head_forward_and_down():
    upright, bent = standing(), standing()
    bent.trunk[:, 0] += 1.0
    change = (solve(bent, TALL) - solve(upright, TALL))[:, JOINT["head"]]
    assert (change[:, 2] > 0.4).all()
    assert (change[:, 1] < -0.15).all()


def test_drawn_performers_are_of_human_size():
    rng = np.random.default_rng(0)
    people = [Performer.draw(rng) for _ in range(200)]
    assert all(1.5 <= person.height <= 1.95 for person in people)
    assert {person.hand for person in people} == {0, 1}
