"""A made-up Kinect v2: from joints in the room to the text of a `.skeleton` file of NTU RGB+D."""

import numpy as np

from llmar_pipeline.skeletons.topology import NTU25

TOWARD = {1: 0.0, 2: -45.0, 3: 45.0}
"""Where each camera stands, in degrees around the performer: camera 1 is between the other two."""

AIM = 0.9  # metres above the ground
SPINE = NTU25.joints.index("spine mid")
ENDS = ("wrist", "hand", "tip", "thumb", "ankle", "foot")
LIMB_ENDS = [joint for joint, name in enumerate(NTU25.joints) if name.endswith(ENDS)]
LEAVES = [i for i in range(25) if i not in NTU25.parents]  # real files have no orientation for them
GHOST_FRAMES = 11  # the reference preprocessing drops bodies seen in so few frames
BODY = "%d 0 1 1 1 1 0 %.7g %.7g 2\n25\n" + ("%.7g " * 11 + "%d\n") * 25


def record(
    world: np.ndarray, camera: int, place: np.ndarray, noise: float, dropped: float, rng: np.random.Generator
) -> str:
    """The text of a recording, with the flaws of real ones.

    Args:
        world: [person, frame, joint, 3] in metres, y up, the performer's place at the origin.
        camera: 1, 2 or 3.
        place: Distance and height of the sensor in metres.
        noise: Standard deviation of a coordinate in metres at a distance of 3 m.
        dropped: Share of frames in which nobody is seen.
        rng: Source of the flaws: noise, jumping hands and feet, dropped frames, now and then a
            spurious body of a few frames, CRLF line ends or blanks at the ends of lines.

    Returns:
        The whole file. Source: layout and axes of real files; flaws ours.
    """
    joints = to_camera(world, camera, place)[rng.permutation(len(world))]
    state = _tracking(joints, rng)
    joints = joints + _error(joints, state, noise, rng)
    visible = np.ones(joints.shape[:2], bool)
    if rng.random() < 0.06:
        length = rng.integers(3, GHOST_FRAMES + 1)
        first = rng.integers(0, joints.shape[1] - length)
        ghost = joints[:1] * [1.0, 0.3, 1.0] + [rng.choice([-1.0, 1.0]), 0.2, 0.4]
        ghost = ghost + rng.normal(0, 0.15, ghost.shape)
        seen = np.zeros((1, joints.shape[1]), bool)
        seen[0, first : first + length] = True
        joints, state = np.concatenate([joints, ghost]), np.concatenate([state, np.ones_like(state[:1])])
        visible = np.concatenate([visible, seen])
    visible[:, rng.random(joints.shape[1]) < dropped] = False
    # Ids of 17 digits, so close that as 64-bit floats they are one number, as happens with real ones.
    first_id = 2**56 + 16 * int(rng.integers(1, 5000)) + 1
    ids = list(range(first_id, first_id + len(joints)))
    text = _text(joints, state, visible, ids)
    line_end = rng.choice(["\n", "\r\n", " \n"], p=[0.75, 0.15, 0.1])
    return text.replace("\n", line_end)


def to_camera(world: np.ndarray, camera: int, place: np.ndarray) -> np.ndarray:
    """Coordinates as the sensor gives them.

    Args:
        world: [..., 3] in metres, y up, the performer's place at the origin.
        camera: 1, 2 or 3.
        place: Distance and height of the sensor in metres; it looks at a point 0.9 m above
            the performer's place.

    Returns:
        [..., 3] in metres: x to the sensor's left, which is the right of its mirrored image, y up along the
        image, z away from the sensor. Source: axes of Kinect v2; positions ours.
    """
    angle = np.deg2rad(TOWARD[camera])
    sensor = np.array([place[0] * np.sin(angle), place[1], place[0] * np.cos(angle)])
    ahead = np.array([0, AIM, 0]) - sensor
    ahead /= np.linalg.norm(ahead)
    left = np.cross([0, 1, 0], ahead)
    left /= np.linalg.norm(left)
    seen: np.ndarray = (world - sensor) @ np.stack([left, np.cross(ahead, left), ahead], axis=1)
    return seen


def _tracking(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tracking state of each joint: 2 tracked, 1 inferred (behind the trunk, or by chance), 0 not tracked."""
    offset = joints - joints[:, :, [SPINE]]
    hidden = (offset[..., 2] > 0.06) & (np.abs(offset[..., 0]) < 0.12)
    chance = rng.random(joints.shape[:3])
    chance[:, :, LIMB_ENDS] /= 4
    return np.where(chance < 0.0005, 0, np.where(hidden & (chance < 0.8) | (chance < 0.005), 1, 2))


def _error(joints: np.ndarray, state: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Measurement error [person, frame, joint, 3]: larger far away and where a joint is not tracked."""
    deviation = noise * (joints[..., 2:] / 3) ** 2 * np.where(state == 2, 1, 2.5)[..., None]
    error = rng.normal(size=joints.shape) * deviation
    jumps = rng.random((*joints.shape[:2], len(LIMB_ENDS), 1)) < 0.01
    error[:, :, LIMB_ENDS] += jumps * rng.normal(0, 10 * noise, (*jumps.shape[:3], 3))
    return error


def _text(joints: np.ndarray, state: np.ndarray, visible: np.ndarray, ids: list[int]) -> str:
    """The layout of NTU RGB+D, 25 lines of 12 fields a body, with LF line ends."""
    x, y, z = np.moveaxis(joints, -1, 0)
    pixels = [
        256 + 365 * x / z,
        208 - 365 * y / z,
        975 + 1055 * x / z,
        566 - 1055 * y / z,
    ]  # depth, then colour
    along = joints - joints[:, :, list(NTU25.parents)]
    along[:, :, 0] = along[:, :, 1]
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    # The shortest turn from the y axis to the bone, as a quaternion (w, x, y, z).
    turn = np.stack([1 + along[..., 1], along[..., 2], np.zeros_like(x), -along[..., 0]], axis=-1)
    turn /= np.maximum(np.linalg.norm(turn, axis=-1, keepdims=True), 1e-9)
    turn[:, :, LEAVES] = 0
    fields = np.concatenate([joints, np.stack(pixels, -1), turn, state[..., None]], axis=-1)
    fields = fields.reshape(*joints.shape[:2], -1).swapaxes(0, 1).tolist()  # [frame][person][25 * 12]
    lean = np.clip(along[:, :, 1, ::2] * [1, -1], -1, 1).swapaxes(0, 1).tolist()
    layout, values = [f"{joints.shape[1]}\n"], []
    for frame, seen in enumerate(visible.T):
        layout.append(f"{seen.sum()}\n")
        for person in np.flatnonzero(seen):
            layout.append(BODY)
            values += [ids[person], *lean[frame][person], *fields[frame][person]]
    return "".join(layout) % tuple(values)
