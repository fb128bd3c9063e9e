"""Made-up Toyota Smarthome recordings in the official layout."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

_STANDING = {  # metres; x to the person's right, y up, z backwards
    "ankle": (0.10, 0.08, 0.0),
    "knee": (0.10, 0.50, 0.0),
    "hip": (0.10, 0.92, 0.0),
    "wrist": (0.25, 0.85, 0.0),
    "elbow": (0.24, 1.12, 0.0),
    "shoulder": (0.19, 1.40, 0.0),
}
_CAMERA_HEIGHT, _DISTANCE, _FOCAL = 1.6, 4.0, 500.0  # metres, metres, pixels


def write_smarthome(
    folder: Path,
    activities: Iterable[str],
    subjects: Iterable[int],
    cameras: Iterable[int],
    clips: int = 1,
    frames: int = 40,
    seed: int = 0,
) -> list[str]:
    """Writes `clips` recordings of each activity, subject and camera; the movement tells the activity.

    Some frames show nobody, and every fifth clip a second person for a while, first in the list.

    Returns:
        The names of the clips.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, activity in enumerate(activities):
        for subject in subjects:
            for camera in cameras:
                for clip in range(clips):
                    name = f"{activity}_p{subject:02}_r{clip:02}_v{len(names) % 100:02}_c{camera:02}"
                    people = [_seen_by(_body(number, subject, frames, rng), camera)]
                    if len(names) % 5 == 4:
                        people.insert(
                            0, _seen_by(_body(number + 1, 30, frames, rng) + np.array([1.5, 0, 0]), camera)
                        )
                    (folder / f"{name}.json").write_text(json.dumps(_recording(people, frames)))
                    names.append(name)
    return names


def _body(activity: int, subject: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    """A person facing -z, `[frame, 13, 3]`, in LCR-Net's order of joints."""
    right = np.array(list(_STANDING.values()))
    pairs = np.stack([right, right * [-1, 1, 1]], axis=1).reshape(12, 3)
    joints = np.concatenate([pairs, [[0.0, 1.65, 0.0]]])
    body = np.repeat(joints[None] * (0.9 + 0.01 * subject), frames, axis=0)
    time = np.linspace(0, 1, frames) + rng.uniform(0, 0.2)
    swing = np.sin(2 * np.pi * (1 + activity % 3) * time)
    limb = 2 * (activity % 6)  # the joint that moves, on one side or on both
    body[:, limb, 1 + activity % 2] += 0.35 * swing
    body[:, limb + 1, 2] -= 0.35 * swing * (activity % 4 > 1)
    body[..., 1] -= 0.3 * np.clip(time, 0, 1)[:, None] * (activity % 5 == 4)
    return body + rng.normal(0, 0.01, body.shape)


def _seen_by(body: np.ndarray, camera: int) -> np.ndarray:
    """In the camera's frame: x to its left, y up, z away from it."""
    angle = 0.5 * (camera - 4)
    c, s = np.cos(angle), np.sin(angle)
    turned = body @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    return turned + np.array([0, -_CAMERA_HEIGHT, _DISTANCE])


def _recording(people: list[np.ndarray], frames: int) -> dict[str, object]:
    recording: list[list[dict[str, object]]] = []
    for frame in range(frames):
        shown = [] if frame % 11 == 10 else people if frame < frames // 2 else people[-1:]
        recording.append([_person(person[frame]) for person in shown])
    return {"K": 100, "njts": 13, "frames": recording}


def _person(joints: np.ndarray) -> dict[str, object]:
    x, y, z = joints.T
    image = [320 - _FOCAL * x / z, 240 - _FOCAL * y / z]
    return {
        "score": 1.0,
        "pose2d": np.concatenate(image).round(3).tolist(),
        "pose3d": np.concatenate([x, y, z]).round(5).tolist(),
    }
