"""Made-up performances of ten actions of NTU RGB+D, on the body of `kinematics`.

Everything here is synthetic. It exists so that the demonstration and the tests need no download, and says
nothing about how well a method recognises real people. Each action's function changes a standing `Motion` in
place.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported where they are first used

from llmar_pipeline.demo.kinematics import OUTWARD, Motion, Performer, solve

FRAMES_PER_SECOND = 30


@dataclass(frozen=True)
class Take:
    """What differs from one performance of an action to the next.

    Attributes:
        time: Time of each frame in seconds [frame].
        begin, end: When the action begins and ends, in seconds; before and after it the performer is still.
        size: Size of the movement relative to the average.
        repeats: How often a repeated movement is repeated.
        side: The side that acts, 0 left or 1 right.
    """

    time: np.ndarray
    begin: float
    end: float
    size: float
    repeats: int
    side: int

    @property
    def progress(self) -> np.ndarray:
        """The part of the action done so far [frame], 0 to 1, linear in time."""
        progress: np.ndarray = np.clip((self.time - self.begin) / (self.end - self.begin), 0, 1)
        return progress

    @property
    def hold(self) -> np.ndarray:
        """Rises from 0 to 1 as the action begins and falls back as it ends [frame]."""
        hold: np.ndarray = ease(self.progress / 0.22) * ease((1 - self.progress) / 0.22)
        return hold

    @property
    def beat(self) -> np.ndarray:
        """Angle in radians [frame] that turns once for each repetition."""
        angle: np.ndarray = 2 * np.pi * self.repeats * self.progress
        return angle


def ease(progress: np.ndarray) -> np.ndarray:
    """Minimum-jerk passage from 0 to 1. Source: Flash and Hogan (1985), 10 s^3 - 15 s^4 + 6 s^5."""
    s = np.clip(progress, 0, 1)
    eased: np.ndarray = s**3 * (10 - 15 * s + 6 * s**2)
    return eased


def _toward(start: np.ndarray, goal: np.ndarray | list[float], share: np.ndarray) -> np.ndarray:
    moved: np.ndarray = start + share.reshape(-1, *[1] * (start.ndim - 1)) * (np.asarray(goal) - start)
    return moved


def _sit(m: Motion, who: Performer, take: Take, down: np.ndarray) -> None:
    """`down` is the passage from standing (0) to sitting (1)."""
    bones = who.bones
    shift = np.sin(np.pi * down)
    seat = np.array([0.0, bones["ankle"] + 0.98 * bones["shank"], -0.95 * bones["thigh"]])
    m.pelvis += down[:, None] * (seat - m.pelvis.mean(0))
    m.pelvis[:, 1] += 0.04 * shift
    m.trunk[:, 0] += 0.65 * take.size * shift
    m.nod -= 0.2 * shift
    m.wrists = _toward(m.wrists, [0.02, -0.78, 0.45], down)
    m.wrists[..., 2] += 0.25 * shift[:, None]


def sit_down(m: Motion, who: Performer, take: Take) -> None:
    """A008."""
    _sit(m, who, take, ease(take.progress))


def stand_up(m: Motion, who: Performer, take: Take) -> None:
    """A009: sitting down, backwards in time."""
    _sit(m, who, take, 1 - ease(take.progress))


def clap(m: Motion, who: Performer, take: Take) -> None:
    """A010."""
    arm = who.bones["upper_arm"] + who.bones["forearm"]
    together = 0.04 / arm - who.bones["shoulder"] / arm
    m.wrists = _toward(m.wrists, [together, -0.25, 0.55], take.hold)
    m.wrists[..., 0] += (take.hold * 0.2 * take.size * (1 + np.cos(take.beat)))[:, None]
    m.nod += 0.1 * take.hold


def cheer_up(m: Motion, who: Performer, take: Take) -> None:
    """A022: both arms thrown up, and pumped."""
    pump = 0.5 * (1 - np.cos(take.beat))
    m.wrists = _toward(m.wrists, [0.3, 0.72, 0.15], take.hold)
    m.wrists[..., 1] += (take.hold * 0.35 * take.size * (pump - 0.6))[:, None]
    m.wrists[..., 2] += (0.45 * np.sin(np.pi * take.hold))[:, None]
    m.pelvis[:, 1] -= 0.05 * take.size * take.hold * (1 - pump)
    m.trunk[:, 0] -= 0.1 * take.hold
    m.nod -= 0.25 * take.hold


def wave_hand(m: Motion, who: Performer, take: Take) -> None:
    """A023: one hand beside the head."""
    m.wrists[:, take.side] = _toward(m.wrists[:, take.side], [0.42, 0.38, 0.3], take.hold)
    m.wrists[:, take.side, 0] += 0.27 * take.size * take.hold * np.sin(take.beat)
    m.trunk[:, 2] += 0.04 * OUTWARD[take.side, 0] * take.hold


def _smooth(keys: np.ndarray, values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    smooth: Callable[[np.ndarray], np.ndarray] = scipy.interpolate.PchipInterpolator(keys, values)
    return smooth


def kick(m: Motion, who: Performer, take: Take) -> None:
    """A024: one leg swings back, then forward and up."""
    leg = who.bones["thigh"] + who.bones["shank"]
    away = OUTWARD[1 - take.side, 0]
    keys = np.array([0, 0.3, 0.52, 0.62, 0.8, 1.0])
    swing = _smooth(keys, np.array([0, -0.38, 0.78, 0.82, 0.15, 0]))(take.progress)
    lift = _smooth(keys, np.array([0, 0.2, 0.4, 0.45, 0.1, 0]))(take.progress)
    m.ankles[:, take.side, 2] += leg * swing
    m.ankles[:, take.side, 1] += leg * take.size * lift
    m.toes[:, take.side] += -0.8 * np.clip(swing, -0.5, 1) + 0.3 * lift
    m.pelvis[:, 0] += 0.05 * away * take.hold
    m.pelvis[:, 2] += 0.06 * swing
    m.trunk[:, 0] -= 0.22 * swing
    m.trunk[:, 1] -= 0.25 * away * swing
    m.wrists[:, 1 - take.side, 2] += 0.5 * swing
    m.wrists[:, take.side, 2] -= 0.4 * swing
    m.wrists[..., 0] += 0.25 * take.hold[:, None]


def jump_up(m: Motion, who: Performer, take: Take) -> None:
    """A027: crouch, leave the ground, land."""
    keys = np.array([0, 0.26, 0.40, 0.57, 0.74, 0.86, 1.0])
    rise = _smooth(keys, np.array([0, -0.2, 0.03, 0.22, 0.03, -0.13, 0]) * take.size)(take.progress)
    swing = _smooth(keys, np.array([0, -0.4, 0.3, 0.9, 0.4, 0.1, 0]))(take.progress)
    crouch = np.maximum(-rise, 0)
    m.pelvis[:, 1] += rise
    m.pelvis[:, 2] -= 0.45 * crouch
    m.trunk[:, 0] += 2.6 * crouch
    m.nod -= 1.2 * crouch
    m.ankles[..., 1] += np.maximum(rise, 0)[:, None]
    m.toes += 0.8 * np.clip(rise / 0.12, 0, 1)[:, None]
    m.wrists[..., 2] += 0.9 * swing[:, None]
    m.wrists[..., 1] += 1.1 * np.maximum(swing, 0)[:, None]


def bow(m: Motion, who: Performer, take: Take) -> None:
    """A035: nod of head and trunk."""
    down = 0.5 * (1 - np.cos(take.beat))
    m.trunk[:, 0] += 0.9 * take.size * down
    m.nod += 0.4 * take.size * down
    m.pelvis[:, 2] -= 0.08 * down


def _walk(m: Motion, who: Performer, take: Take, done: np.ndarray) -> None:
    """Steps towards the partner, `done` of the way. Feet stand still between their swings."""
    leg = who.bones["thigh"] + who.bones["shank"]
    step = 0.5 * leg * take.size
    way = take.repeats * step
    moving = ease(take.repeats * done) * ease(take.repeats * (1 - done))
    apart = np.sin(np.pi * take.repeats * done)  # +-1 when the feet are farthest apart, 0 at both ends
    start = -0.4 - way  # the partners meet around z = 0
    m.pelvis[:, 2] += start + done * way
    m.pelvis[:, 1] -= (leg - np.sqrt(leg**2 - (0.55 * step) ** 2)) * apart**2
    for side in (0, 1):
        # The leg that starts is half-way through its swing, beside the other one in the middle of its stance.
        first = 0.25 if side == take.side else 0.75
        cycle = first + done * take.repeats / 2
        placed = np.floor(cycle) + ease(2 * (cycle % 1))
        m.ankles[:, side, 2] += start + 2 * step * (placed - (0.5 if side == take.side else 1.0))
        m.ankles[:, side, 1] += 0.1 * moving * np.sin(np.pi * np.clip(2 * (cycle % 1), 0, 1))
        m.wrists[:, side, 2] += 0.3 * apart * (-1 if side == take.side else 1)
    m.trunk[:, 1] += 0.1 * apart * OUTWARD[take.side, 0]


def walk_together(m: Motion, who: Performer, take: Take) -> None:
    """A059: towards the partner."""
    _walk(m, who, take, ease(take.progress))


def walk_apart(m: Motion, who: Performer, take: Take) -> None:
    """A060: walking towards each other, backwards in time; the partners step back, face to face."""
    _walk(m, who, take, 1 - ease(take.progress))


@dataclass(frozen=True)
class Action:
    """One class of NTU RGB+D: movement, usual duration in seconds, numbers of repeats, and of actors."""

    move: Callable[[Motion, Performer, Take], None]
    seconds: float
    repeats: tuple[int, ...] = (1,)
    actors: int = 1


ACTIONS = {
    8: Action(sit_down, 2.0),
    9: Action(stand_up, 2.0),
    10: Action(clap, 2.1, (3, 4, 5)),
    22: Action(cheer_up, 2.4, (2, 3)),
    23: Action(wave_hand, 2.2, (3, 4)),
    24: Action(kick, 1.8),
    27: Action(jump_up, 1.9),
    35: Action(bow, 2.1, (1, 2)),
    59: Action(walk_together, 2.2, (2, 3), actors=2),
    60: Action(walk_apart, 2.2, (2, 3), actors=2),
}
"""The actions that can be performed, by their official number (1-based)."""


def perform(action: int, performers: list[Performer], rng: np.random.Generator) -> np.ndarray:
    """One performance of an action.

    Args:
        action: Official number of the action, a key of `ACTIONS`.
        performers: As many people as the action has actors.
        rng: Source of everything that differs from one performance to the next.

    Returns:
        [person, frame, joint, 3] in metres, 40-90 frames at 30 a second, joints in the order of `NTU25`. One
        actor stands at the origin and faces z; two stand on the x axis and face each other. Source: ours.
    """
    kind = ACTIONS[action]
    repeats = int(rng.choice(kind.repeats))
    seconds = kind.seconds * (1 + 0.12 * (repeats - kind.repeats[0])) / performers[0].tempo
    seconds *= rng.uniform(0.85, 1.15)
    time = np.arange(np.clip(round(seconds * FRAMES_PER_SECOND), 40, 90)) / FRAMES_PER_SECOND
    people = []
    for index, performer in enumerate(performers):
        begin, rest = rng.uniform(0.05, 0.3, 2)
        size = performer.vigour * rng.uniform(0.9, 1.1)
        side = performer.hand if rng.random() < 0.9 else 1 - performer.hand
        take = Take(time, begin, time[-1] - rest, size, repeats, side)
        motion = Motion.standing(performer, time, rng)
        kind.move(motion, performer, take)
        facing = (1 - 2 * index) * np.pi / 2 if kind.actors == 2 else 0.0
        turn = scipy.spatial.transform.Rotation.from_euler("Y", facing + rng.normal(0, 0.08))
        people.append(solve(motion, performer) @ turn.as_matrix().T)
    return np.stack(people)
