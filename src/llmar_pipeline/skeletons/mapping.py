"""The joints of one skeleton found in a recording of another."""

import numpy as np

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.topology import Topology

SHARE = 0.75
"""Of a model's joints, those that a recording of another skeleton must have."""

_SAME = (  # first the name that the others are taken for
    ("hip centre", "spine base", "mid hip"),
    ("spine", "spine mid"),
    ("shoulder centre", "spine shoulder"),
    *((f"{side} foot", f"{side} foot index", f"{side} big toe") for side in ("left", "right")),
)
_KNOWN_AS = {name: names[0] for names in _SAME for name in names}
_BETWEEN = {
    "hip centre": ("left hip", "right hip"),
    "shoulder centre": ("left shoulder", "right shoulder"),
    "spine": ("hip centre", "shoulder centre"),
    "head": ("left ear", "right ear"),
    **{f"{side} hand": (f"{side} index", f"{side} pinky") for side in ("left", "right")},
}
"""Joints that lie half way between two others: the palm between the knuckles of two fingers, and so on."""


def joint_weights(source: Topology, target: Topology) -> np.ndarray:
    """Which joints of one skeleton make those of another.

    A joint is taken from that of the same name, from that which another sensor calls otherwise (Kinect's
    spine base and OpenPose's mid hip are one), or from the middle of two: hips, shoulders, ears, knuckles.

    Args:
        source: The skeleton of a recording.
        target: The skeleton that is wanted.

    Returns:
        `[target joint, source joint]`, float32; each row sums to 1, or to 0 for a joint that is missing.

    Source: ours.
    """
    places = {name: place for place, name in enumerate(_names(source))}
    alone = np.eye(len(places), dtype=np.float32)

    def row(name: str) -> np.ndarray | None:
        if name in places:
            own: np.ndarray = alone[places[name]]
            return own
        parts = [row(part) for part in _BETWEEN.get(name, ())]
        found = [part for part in parts if part is not None]
        if len(found) < 2:
            return None
        middle: np.ndarray = (found[0] + found[1]) / 2
        return middle

    rows = [row(name) for name in _names(target)]
    return np.stack([np.zeros_like(alone[0]) if its is None else its for its in rows])


def mapped(data: np.ndarray, source: Topology, target: Topology) -> np.ndarray:
    """A recording of one skeleton as one of another.

    A joint that no joint of the recording makes lies where its neighbours in the skeleton are: a hand tip at
    the hand, a neck half way from the shoulders to the head. A model that always saw it move with them takes
    a joint that is never seen for another posture.

    Args:
        data: `[person, frame, joint, coordinate]` of `source`, in any unit, NaN where missing.
        source: The skeleton that was recorded.
        target: The skeleton that is wanted.

    Returns:
        The same of `target`, float32; NaN where the recording lacks what a joint is made of.

    Raises:
        UserError: They differ in their number of coordinates, or the joint that centring subtracts, a
            shoulder, a hip or more than a quarter of all joints are missing; it says which.

    Source: ours.
    """
    if source.coordinates != target.coordinates:
        raise UserError(
            f"expected joints of {target.coordinates} coordinates, as of {target.name}, saw "
            f"{source.coordinates} ({source.name}): pictures do not tell how far away a joint is, and a "
            "sensor's metres are no picture; take a model that was trained on such recordings"
        )
    weights = joint_weights(source, target)
    there: np.ndarray = np.any(weights, axis=1)
    missing = [name for name, found in zip(target.joints, there, strict=True) if not found]
    needed = [target.joints[joint] for joint in (target.root, *target.shoulders, *target.hips)]
    if there.mean() < SHARE or set(needed) & set(missing):
        raise UserError(
            f"expected three quarters of the joints of {target.name}, among them {', '.join(needed)}, saw "
            f"{there.sum()} of {len(there)} in a recording of {source.name} (it lacks "
            f"{', '.join(missing[:5])}{', ...' * (len(missing) > 5)}); take a model that was trained on such "
            "recordings"
        )
    weights = _beside_neighbours(weights, target)
    made = np.full((*data.shape[:2], len(there), target.coordinates), np.nan, np.float32)
    for joint in range(len(there)):
        of = np.flatnonzero(weights[joint])
        made[:, :, joint] = np.einsum("pfjc,j->pfc", data[:, :, of], weights[joint, of])
    return made


def _beside_neighbours(weights: np.ndarray, target: Topology) -> np.ndarray:
    """The same, joints that were missing half way from their parent to what hangs on them, if it is there."""
    there: np.ndarray = np.any(weights, axis=1)
    made = weights.copy()
    for joint in _from_the_top(target):
        if not there[joint]:
            parent = target.parents[joint]
            above = made[[parent]] if parent >= 0 else made[:0]
            below = weights[[child for child, its in enumerate(target.parents) if its == joint]]
            ends = [some[some.any(axis=1)].mean(axis=0) for some in (above, below) if some.any()]
            made[joint] = np.mean(ends, axis=0) if ends else 0
    return made


def _from_the_top(target: Topology) -> list[int]:
    """Joints, each behind its parent."""

    def depth(joint: int) -> int:
        return 0 if target.parents[joint] < 0 else 1 + depth(target.parents[joint])

    return sorted(range(len(target.parents)), key=depth)


def _names(topology: Topology) -> list[str]:
    """What its joints are called here; a neck is OpenPose's where nothing else lies between the shoulders."""
    names = [name.lower().replace("_", " ").replace("-", " ") for name in topology.joints]
    known = [_KNOWN_AS.get(name, name) for name in names]
    if "shoulder centre" not in known:
        known = ["shoulder centre" if name == "neck" else name for name in known]
    return known
