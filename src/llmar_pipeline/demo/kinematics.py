"""A jointed human body: trunk by forward kinematics, arms and legs by two-bone inverse kinematics.

Axes: x to the performer's left, y up, z forward (right-handed), metres, the ground at y = 0. A motion bends
the trunk and moves pelvis, wrists and ankles; elbows and knees follow, so that bones keep their length and
standing feet stay where they are. Used for made-up motion only: see `movements`.
"""

from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported where they are first used

from llmar_pipeline.skeletons.topology import NTU25

SIDES = ("left", "right")
OUTWARD = np.array(
    [[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]]
)  # (outward, up, forward) to (left, up, forward), a row a side


@dataclass(frozen=True)
class Performer:
    """One made-up person: body proportions and manner of moving.

    Attributes:
        height: Stature in metres.
        legs, arms, width: Length of legs and arms, and width of shoulders and hips, relative to the average
            person of that height.
        tempo: Speed relative to the average person.
        vigour: Size of movements relative to the average person.
        hand: Preferred side, 0 left or 1 right.
    """

    height: float
    legs: float
    arms: float
    width: float
    tempo: float
    vigour: float
    hand: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Performer":
        """Draws a person: 1.50-1.95 m tall, one in four left-handed."""
        return cls(
            height=rng.uniform(1.50, 1.95),
            legs=rng.uniform(0.96, 1.04),
            arms=rng.uniform(0.95, 1.05),
            width=rng.uniform(0.92, 1.08),
            tempo=rng.uniform(0.85, 1.2),
            vigour=rng.uniform(0.85, 1.15),
            hand=int(rng.random() < 0.75),
        )

    @property
    def bones(self) -> dict[str, float]:
        """Bone lengths in metres. Source: fractions of stature as in Drillis and Contini (1966), rounded."""
        leg, arm, width = self.height * self.legs, self.height * self.arms, self.height * self.width
        return {
            "thigh": 0.245 * leg,
            "shank": 0.246 * leg,
            "ankle": 0.039 * leg,
            "foot": 0.075 * leg,
            "hip": 0.048 * width,
            "lower_spine": 0.17 * self.height,
            "upper_spine": 0.13 * self.height,
            "neck": 0.04 * self.height,
            "head": 0.09 * self.height,
            "shoulder": 0.105 * width,
            "upper_arm": 0.175 * arm,
            "forearm": 0.146 * arm,
            "hand": 0.042 * arm,
            "tip": 0.045 * arm,
            "thumb": 0.035 * arm,
        }


@dataclass
class Motion:
    """What an action controls, frame by frame; `solve` turns it into joints.

    Attributes:
        pelvis: Spine base [frame, 3] in metres.
        trunk: Forward bend, turn to the left, lean to the right [frame, 3] in radians, along the spine.
        nod: Forward bend of the head [frame] in radians.
        wrists: [frame, side, 3] outward, up and forward of that shoulder as the chest turns, in arm lengths.
        ankles: [frame, side, 3] in metres.
        toes: Downward pitch of the feet [frame, side] in radians.
    """

    pelvis: np.ndarray
    trunk: np.ndarray
    nod: np.ndarray
    wrists: np.ndarray
    ankles: np.ndarray
    toes: np.ndarray

    @classmethod
    def standing(cls, performer: Performer, time: np.ndarray, rng: np.random.Generator) -> "Motion":
        """Quiet standing with a little sway."""

        def sway(size: float, *shape: int) -> np.ndarray:
            rate, start = rng.uniform(0.2, 0.8, (2, *shape)), rng.uniform(0, 2 * np.pi, (2, *shape))
            angle = 2 * np.pi * rate * time.reshape(-1, *[1] * (len(shape) + 1)) + start
            swayed: np.ndarray = size * np.sin(angle).mean(1)
            return swayed

        bones, frames = performer.bones, len(time)
        ankles = np.tile([0.0, bones["ankle"], 0.0], (frames, 2, 1))
        ankles[..., 0] = (bones["hip"] + rng.uniform(0.01, 0.05)) * OUTWARD[:, 0]
        stand = bones["ankle"] + 0.992 * (bones["thigh"] + bones["shank"]) + 0.2 * bones["hip"]
        hang = np.array([rng.uniform(0.08, 0.2), -0.96, rng.uniform(0.0, 0.12)])
        return cls(
            pelvis=np.array([0, stand, 0]) + sway(0.012, 3) * np.array([1, 0.1, 1]),
            trunk=sway(0.03, 3) + np.array([rng.uniform(-0.02, 0.08), 0, 0]),
            nod=sway(0.05) + rng.uniform(0, 0.15),
            wrists=hang + sway(0.03, 2, 3),
            ankles=ankles,
            toes=np.zeros((frames, 2)),
        )


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return unit


def _across(vectors: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The unit vector at a right angle to `direction` that points as far along `vectors` as it can."""
    return _unit(vectors - (vectors * direction).sum(-1, keepdims=True) * direction)


def bend_limb(
    root: np.ndarray, goal: np.ndarray, upper: float, lower: float, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places the middle and the end of a limb of two bones (two-bone inverse kinematics).

    Args:
        root: Hip or shoulder [..., 3].
        goal: Where the ankle or wrist should be [..., 3]; out of reach, it is drawn in along the same line.
        upper: Length of the bone next to the root.
        lower: Length of the other bone.
        pole: Direction in which the knee or elbow points [..., 3].

    Returns:
        Middle joint and end joint, [..., 3] each. Source: law of cosines.
    """
    direction = _unit(goal - root)
    reach = np.linalg.norm(goal - root, axis=-1, keepdims=True)
    reach = np.clip(reach, abs(upper - lower) + 1e-3, 0.9995 * (upper + lower))
    along = (upper**2 - lower**2 + reach**2) / (2 * reach)
    aside = np.sqrt(np.maximum(upper**2 - along**2, 0))
    return root + along * direction + aside * _across(pole, direction), root + reach * direction


def solve(motion: Motion, performer: Performer) -> np.ndarray:
    """Joint positions of a motion.

    Args:
        motion: What the action controls.
        performer: Whose body moves.

    Returns:
        [frame, joint, 3] in metres, joints in the order of `NTU25`.
    """
    bones = performer.bones
    about = scipy.spatial.transform.Rotation.from_euler
    turns = motion.trunk[:, [1, 0, 2]]  # about y, x, z
    hips, waist, chest = (about("YXZ", share * turns) for share in (0.4, 0.75, 1.0))
    head = chest * about("X", motion.nod[:, None])
    p = {"spine base": motion.pelvis}
    p["spine mid"] = motion.pelvis + waist.apply([0, bones["lower_spine"], 0])
    p["spine shoulder"] = p["spine mid"] + chest.apply([0, bones["upper_spine"], 0.0])
    p["neck"] = p["spine shoulder"] + chest.apply([0, bones["neck"], 0.01])
    p["head"] = p["neck"] + head.apply([0, bones["head"], 0.02])
    arm = bones["upper_arm"] + bones["forearm"]
    for index, (side, out) in enumerate(zip(SIDES, OUTWARD, strict=True)):
        hip = p[f"{side} hip"] = motion.pelvis + hips.apply(out * [bones["hip"], -0.2 * bones["hip"], 0])
        pole = np.array([0.12, 0.5, 1.0]) * out
        knee, ankle = bend_limb(hip, motion.ankles[:, index], bones["thigh"], bones["shank"], pole)
        p[f"{side} knee"], p[f"{side} ankle"] = knee, ankle
        sole = about("X", motion.toes[:, [index]])
        p[f"{side} foot"] = ankle + bones["foot"] * sole.apply(_unit(np.array([0.15, -0.25, 1.0]) * out))

        shoulder = p[f"{side} shoulder"] = p["spine shoulder"] + chest.apply(
            out * [bones["shoulder"], -0.04, 0]
        )
        goal = shoulder + arm * chest.apply(motion.wrists[:, index] * out)
        pole = chest.apply(np.array([0.6, -0.6, -0.6]) * out)
        elbow, wrist = bend_limb(shoulder, goal, bones["upper_arm"], bones["forearm"], pole)
        p[f"{side} elbow"], p[f"{side} wrist"] = elbow, wrist
        along = _unit(wrist - elbow)
        hand = p[f"{side} hand"] = wrist + bones["hand"] * along
        p[f"{side} hand tip"] = hand + bones["tip"] * along
        inner = _across(chest.apply(np.array([-0.1, 0.6, 0.8]) * out), along)
        p[f"{side} thumb"] = wrist + bones["thumb"] * _unit(along + inner)
    return np.stack([p[name] for name in NTU25.joints], axis=1)
