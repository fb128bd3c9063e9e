"""Who acts, of the bodies that a Kinect v2 believes it sees: ghosts, furniture, one person under two ids."""

from dataclasses import dataclass

import numpy as np

from llmar_pipeline.skeletons.sequence import SeenBody, SkeletonFileError

_SHORTEST = 12  # frames; a body seen in fewer is noise
_SPREAD = 0.8  # a frame in which a body is wider than this times its height is noisy
_NOISY_SHARE = 0.69754  # a body with at least this share of noisy frames is noise


@dataclass(eq=False)
class _Candidate:
    body: str
    start: int
    joints: np.ndarray  # [frame, joint, 3]
    motion: float
    decision: str = ""

    @property
    def end(self) -> int:
        return self.start + len(self.joints) - 1


def select_actors(
    ids: list[list[str]], positions: np.ndarray, everyone: bool = False
) -> tuple[np.ndarray, tuple[SeenBody, ...]]:
    """Picks the one or two actors out of the bodies that the sensor saw.

    Frames without a body are dropped. Of several bodies, those seen in 11 frames or fewer and those that
    are mostly wider than 0.8 times their height go (the last one stays). The body that moves most is actor
    1; each further one, by falling motion, joins the first actor whose interval it does not overlap, or is
    discarded. Frames in which both actors are absent are dropped.

    Args:
        ids: SeenBody ids of each frame.
        positions: x, y, z of all bodies in file order, `[body, joint, 3]`, metres.
        everyone: Whether each body stays a person of its own: those that are actors, in the order of the
            choice, then the others.

    Returns:
        `[person, frame, joint, 3]` with one or two persons, float32, metres; and, where there are several
        bodies, what became of each, in order of appearance. Of everyone, what became of each person.

    Raises:
        SkeletonFileError: If a frame shows one body twice.

    Source: the field's reference preprocessing (CTR-GCN, `get_raw_skes_data` and
        `get_raw_denoised_data`), on whose results the published numbers rest. Where it fails, because every
        body is short, the one seen longest stays (ours).
    """
    frames = [frame for frame in ids if frame]
    bodies = _collect(frames, positions)
    candidates = _drop_short(bodies)
    if len(candidates) > 1:
        candidates = sorted(_drop_spread(candidates), key=lambda body: body.motion, reverse=True)
    first = candidates[0]
    placed = [(0, first)]
    # The reference starts actor 2 from the interval [0, 0], so that the first body widens it from frame 0 on.
    intervals = [(first.start, first.end), (0, 0)]
    first.decision = "actor 1"
    for body in candidates[1:]:
        body.decision = "dropped: both actors are there at the same time"
        for actor, (start, end) in enumerate(intervals):
            if min(end, body.end) - max(start, body.start) <= 0:
                placed.append((actor, body))
                intervals[actor] = (min(start, body.start), max(end, body.end))
                body.decision = f"actor {actor + 1}"
                break
    if everyone:
        actors = [body for _, body in placed]
        bodies = actors + [body for body in bodies if body not in actors]
        placed = list(enumerate(bodies))
    data = np.full((1 + max(row for row, _ in placed), len(frames), *positions.shape[1:]), np.nan, np.float32)
    for row, body in placed:
        data[row, body.start : body.end + 1] = body.joints
    present = np.logical_not(np.isnan(data).all(axis=(2, 3)))
    report = tuple(SeenBody(body.body, len(body.joints), body.motion, body.decision) for body in bodies)
    if everyone:
        return data[:, present.any(axis=0)], report
    return data[present.any(axis=1)][:, present.any(axis=0)], report if len(report) > 1 else ()


def _collect(frames: list[list[str]], positions: np.ndarray) -> list[_Candidate]:
    """Bodies by id, in order of appearance; a body with gaps is closed up, as in the reference."""
    starts: dict[str, int] = {}
    rows: dict[str, list[int]] = {}
    row = 0
    for number, frame in enumerate(frames):
        if len(set(frame)) < len(frame):
            raise SkeletonFileError("bodies with different ids in a frame", f"the ids {', '.join(frame)}")
        for body_id in frame:
            starts.setdefault(body_id, number)
            rows.setdefault(body_id, []).append(row)
            row += 1
    if len(starts) == 1:
        return [_Candidate(next(iter(starts)), 0, positions, 0.0)]  # its motion decides nothing
    bodies = []
    for body_id, start in starts.items():
        joints = positions[rows[body_id]]
        bodies.append(_Candidate(body_id, start, joints, _motion(joints)))
    return bodies


def _drop_short(bodies: list[_Candidate]) -> list[_Candidate]:
    if len(bodies) == 1:
        return bodies
    for body in bodies:
        if len(body.joints) < _SHORTEST:
            body.decision = f"dropped: seen in fewer than {_SHORTEST} frames"
    kept = [body for body in bodies if not body.decision]
    return kept or [max(bodies, key=lambda body: len(body.joints))]


def _drop_spread(bodies: list[_Candidate]) -> list[_Candidate]:
    kept = list(bodies)
    for body in bodies:
        if len(kept) == 1:
            break
        across = np.ascontiguousarray(
            body.joints[:, :, :2].transpose(1, 0, 2)
        )  # joints first: ten times as fast
        extent = np.fmax.reduce(across) - np.fmin.reduce(across)  # these two pass over what is missing
        width, height = extent.astype(np.float64).T
        noisy = width > _SPREAD * height
        if noisy.mean() >= _NOISY_SHARE:
            kept.remove(body)
            body.decision = f"dropped: wider than {_SPREAD} times its height in most frames"
        elif noisy.any():
            body.motion = min(body.motion, _motion(body.joints[~noisy]))
    return kept


def _motion(joints: np.ndarray) -> float:
    """Sum over x, y, z of the variance over all frames and observed joints."""
    points = joints.reshape(-1, joints.shape[-1])
    if np.isnan(points.sum()):
        points = points[~np.isnan(points).any(axis=-1)]
    return float(points.var(axis=0).sum()) if len(points) else 0.0
