"""Who acts, of the bodies that a Kinect v2 believes it sees: ghosts, furniture, one person under two ids."""

from dataclasses import dataclass

import numpy as np

_SHORTEST = 12  # frames; a body seen in fewer is noise
_SPREAD = 0.8  # a frame in which a body is wider than this times its height is noisy
_NOISY_SHARE = 0.69754  # a body with at least this share of noisy frames is noise


@dataclass(eq=False)
class _Body:
    start: int
    joints: np.ndarray  # [frame, joint, 3]
    motion: float = 0.0

    @property
    def end(self) -> int:
        return self.start + len(self.joints) - 1


def select_actors(ids: list[list[str]], positions: np.ndarray) -> tuple[np.ndarray, str]:
    """Picks the one or two actors out of the bodies that the sensor saw.

    Frames without a body are dropped. Of several bodies, those seen in 11 frames or fewer and those that
    are mostly wider than 0.8 times their height go (the last one stays). The body that moves most is actor
    1; each further one, by falling motion, joins the first actor whose interval it does not overlap, or is
    discarded. Frames in which both actors are absent are dropped.

    Args:
        ids: Body ids of each frame.
        positions: x, y, z of all bodies in file order, `[body, joint, 3]`, metres.

    Returns:
        `[person, frame, joint, 3]` with one or two persons, float32, metres, and a note on a case that the
        reference does not handle (empty as a rule).

    Source: the field's reference preprocessing (CTR-GCN, `get_raw_skes_data` and
        `get_raw_denoised_data`), on whose results the published numbers rest.
    """
    frames = [frame for frame in ids if frame]
    note = ""
    candidates = _collect(frames, positions)
    if len(candidates) > 1:
        longest = max(candidates, key=lambda body: len(body.joints))
        candidates = [body for body in candidates if len(body.joints) >= _SHORTEST]
        if not candidates:
            candidates = [longest]
            note = f"every body is seen in fewer than {_SHORTEST} frames; kept the one seen longest"
    if len(candidates) > 1:
        candidates = sorted(_drop_spread(candidates), key=lambda body: body.motion, reverse=True)
    data = np.full((2 if len(candidates) > 1 else 1, len(frames), *positions.shape[1:]), np.nan, np.float32)
    # The reference starts actor 2 from the interval [0, 0], so that the first body widens it from frame 0 on.
    intervals = [(candidates[0].start, candidates[0].end), (0, 0)]
    data[0, candidates[0].start : candidates[0].end + 1] = candidates[0].joints
    for body in candidates[1:]:
        for actor, (start, end) in enumerate(intervals):
            if min(end, body.end) - max(start, body.start) <= 0:
                data[actor, body.start : body.end + 1] = body.joints
                intervals[actor] = (min(start, body.start), max(end, body.end))
                break
    present = np.logical_not(np.isnan(data).all(axis=(2, 3)))
    return data[present.any(axis=1)][:, present.any(axis=0)], note


def _collect(frames: list[list[str]], positions: np.ndarray) -> list[_Body]:
    """Bodies by id, in order of appearance; a body with gaps is closed up, as in the reference."""
    starts: dict[str, int] = {}
    rows: dict[str, list[int]] = {}
    row = 0
    for number, frame in enumerate(frames):
        for body_id in frame:
            starts.setdefault(body_id, number)
            rows.setdefault(body_id, []).append(row)
            row += 1
    bodies = []
    for body_id, start in starts.items():
        joints = positions[rows[body_id]][: len(frames) - start]
        bodies.append(_Body(start, joints, _motion(joints)))
    return bodies


def _drop_spread(bodies: list[_Body]) -> list[_Body]:
    kept = list(bodies)
    for body in bodies:
        if len(kept) == 1:
            break
        missing = np.isnan(body.joints)
        highest = np.where(missing, -np.inf, body.joints).max(axis=1)
        width, height, _ = (highest - np.where(missing, np.inf, body.joints).min(axis=1)).astype(np.float64).T
        noisy = width > _SPREAD * height
        if noisy.mean() >= _NOISY_SHARE:
            kept.remove(body)
        elif noisy.any():
            body.motion = min(body.motion, _motion(body.joints[~noisy]))
    return kept


def _motion(joints: np.ndarray) -> float:
    """Sum over x, y, z of the variance over all frames and observed joints."""
    points = joints[~np.isnan(joints).any(axis=-1)]
    return float(points.var(axis=0).sum()) if len(points) else 0.0
