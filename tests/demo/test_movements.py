import numpy as np
import pytest

from llmar_pipeline.demo.kinematics import Motion, Performer
from llmar_pipeline.demo.movements import ACTIONS, Take, ease, perform, sit_down, stand_up
from llmar_pipeline.skeletons.topology import NTU25

JOINT = {name: index for index, name in enumerate(NTU25.joints)}


def play(action: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([seed, action])
    return perform(action, [Performer.draw(rng) for _ in range(ACTIONS[action].actors)], rng)


def height(x: np.ndarray, joint: str) -> np.ndarray:
    return x[0, :, JOINT[joint], 1]


def test_ease_by_hand():
    np.testing.assert_allclose(ease(np.array([-1, 0, 0.25, 0.5, 1, 2])), [0, 0, 106 / 1024, 0.5, 1, 1])


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_bones_keep_their_length_and_nobody_sinks_into_the_ground(action: int, seed: int):
    x = play(action, seed)
    persons, frames, joints, _ = x.shape
    assert persons == ACTIONS[action].actors
    assert 40 <= frames <= 90
    assert joints == 25
    for child, parent in NTU25.bones:
        length = np.linalg.norm(x[:, :, child] - x[:, :, parent], axis=-1)
        np.testing.assert_allclose(length, length[:, :1].repeat(frames, 1), atol=1e-9)
        assert (length > 0.02).all()
    assert x[..., 1].min() > -0.03
    assert np.linalg.norm(np.diff(x, axis=1), axis=-1).max() < 0.35  # 10 m/s: nothing jumps between frames


@pytest.mark.parametrize("action", ACTIONS)
def test_performances_differ_and_repeat_with_the_seed(action: int):
    np.testing.assert_array_equal(play(action), play(action))
    assert play(action).shape != play(action, 1).shape or not np.allclose(play(action), play(action, 1))


def test_standing_up_is_sitting_down_backwards():
    who = Performer.draw(np.random.default_rng(0))
    time = np.arange(61) / 30
    still = Motion.standing(who, np.zeros(61), np.random.default_rng(0))  # no sway, so that the two compare
    take = Take(time, 0.25, 1.75, 1.0, 1, 1)
    down, up = (Motion(**{k: v.copy() for k, v in vars(still).items()}) for _ in range(2))
    sit_down(down, who, take)
    stand_up(up, who, take)
    for name in ("pelvis", "trunk", "nod", "wrists", "ankles"):
        np.testing.assert_allclose(getattr(down, name), getattr(up, name)[::-1], atol=1e-9)


def test_what_each_action_does():
    for seed in range(5):
        sit, stand = height(play(8, seed), "spine base"), height(play(9, seed), "spine base")
        assert sit[0] - sit[-1] > 0.3
        assert stand[-1] - stand[0] > 0.3
        clap = play(10, seed)[0]
        apart = np.linalg.norm(clap[:, JOINT["left wrist"]] - clap[:, JOINT["right wrist"]], axis=-1)
        assert apart.min() < 0.12 < 0.3 < apart.max()
        cheer = play(22, seed)
        assert (height(cheer, "left wrist") > height(cheer, "head")).any()
        assert (height(cheer, "right wrist") > height(cheer, "head")).any()
        wave = play(23, seed)
        raised = [(height(wave, f"{side} hand") > height(wave, "neck")).any() for side in ("left", "right")]
        assert sorted(raised) == [False, True]
        kick = play(24, seed)
        assert sorted(height(kick, f"{side} ankle").max() > 0.35 for side in ("left", "right")) == [
            False,
            True,
        ]
        jump = play(27, seed)
        assert np.minimum(height(jump, "left foot"), height(jump, "right foot")).max() > 0.08
        bow = play(35, seed)
        assert height(bow, "head").max() - height(bow, "head").min() > 0.15
        assert np.ptp(height(bow, "spine base")) < 0.05


@pytest.mark.parametrize(("action", "sign"), [(59, -1), (60, 1)])
def test_partners_face_each_other_and_change_their_distance(action: int, sign: int):
    x = play(action)
    base = x[:, :, JOINT["spine base"]]
    distance = np.linalg.norm(base[0] - base[1], axis=-1)
    assert sign * (distance[-1] - distance[0]) > 1.0
    assert 0.6 < distance.min() < distance.max() < 4.5
    ahead = x[:, :, JOINT["left foot"]] - x[:, :, JOINT["left ankle"]]
    assert ((base[1] - base[0]) * ahead[0]).sum(-1).min() > 0
    assert ((base[0] - base[1]) * ahead[1]).sum(-1).min() > 0


def test_walkers_feet_stand_still_between_their_swings():
    x = play(59)[0]
    ankles = x[:, [JOINT["left ankle"], JOINT["right ankle"]]]
    speed = np.linalg.norm(np.diff(ankles, axis=0), axis=-1) * 30
    assert (speed.min(axis=1) < 0.25).mean() > 0.8  # nearly always one foot carries
    assert speed.max() > 1.0
