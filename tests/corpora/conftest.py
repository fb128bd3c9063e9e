from collections.abc import Callable, Sequence

import numpy as np
import pytest

Frame = Sequence[tuple[str, np.ndarray]]


def _write(frames: Sequence[Frame], end: str = "\n") -> str:
    lines = [str(len(frames))]
    for frame in frames:
        lines.append(str(len(frame)))
        for body_id, joints in frame:
            lines += [f"{body_id} 0 1 1 1 1 0 0.02 0.05 2", str(len(joints))]
            lines += [f"{x:.7g} {y:.7g} {z:.7g} 277.4 191.8 1036.2 519.1 0 0 0 0 2" for x, y, z in joints]
    return end.join(lines) + end


@pytest.fixture
def skeleton_text() -> Callable[..., str]:
    """Writes frames of (body id, joints) in the `.skeleton` layout."""
    return _write
