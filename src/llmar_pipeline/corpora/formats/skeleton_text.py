"""The `.skeleton` text format of NTU RGB+D (UAV-Human has the same lines with other joints).

Line 1 is the number of frames. Each frame is a line with its number of bodies and, for each body, a line of
10 fields that starts with the body's id, a line with the number of joints, and a line of 12 fields a joint.
"""

from itertools import islice

import numpy as np

from llmar_pipeline.skeletons.sequence import SkeletonFileError

_BODY_FIELDS, _JOINT_FIELDS = 10, 12
_LARGEST = float(np.finfo(np.float32).max)
_MOST_FRAMES = 2**20  # nine hours
_SHOWN = 60  # characters of a faulty line that an error quotes

_BEFORE_NUMBA = 8 * 2**20
"""Characters that a process parses line by line: numba takes longer to be imported."""
_parsed = 0  # characters, by this process

Bodies = tuple[list[list[str]], np.ndarray]


def parse_bodies(text: str, joints: int) -> Bodies:
    """Parses a whole file.

    Args:
        text: The file's content; LF or CRLF, blanks at line ends allowed.
        joints: Joints that each body must have.

    Returns:
        The body ids of each frame (as text: they exceed what a float holds exactly), and x, y, z
        of all bodies in file order, `[body, joint, 3]`, float32; NaN where any of the three is NaN.

    Raises:
        SkeletonFileError: If the text has another structure; it names the first faulty line.

    Source: the dataset's own description; NaN and CRLF occur in the published files.
    """
    global _parsed
    text = text.rstrip()
    _parsed += len(text)
    found = _parse_fast(text, joints) if _parsed > _BEFORE_NUMBA else None
    return found or _parse_strictly(text, joints)


def _parse_fast(text: str, joints: int) -> Bodies | None:
    """The same as `_parse_strictly`, ten times as fast; None on any doubt, which that one then settles."""
    if not text.isascii():
        return None
    from llmar_pipeline.corpora.formats.skeleton_scan import (
        scan,  # here: numba is for files of this form alone
    )

    content = np.frombuffer(text.encode() + b"\n\0", np.uint8)
    lines = int(np.count_nonzero(content == ord("\n")))
    # As many as the lines can hold, with two bytes a number: what a damaged file claims reserves no memory.
    bodies = np.empty(min(lines, _MOST_FRAMES), np.int64)
    most = min(lines // (joints + 2), len(content) // (2 * _JOINT_FIELDS * joints))
    spans = np.empty((most, 2), np.int64)
    positions = np.empty((len(spans), joints, 3), np.float32)
    n_frames, n_bodies = scan(content, joints, bodies, spans, positions)
    if n_frames < 0:
        return None
    ids = (text[start:end] for start, end in spans[:n_bodies].tolist())
    return [list(islice(ids, n)) for n in bodies[:n_frames].tolist()], positions[:n_bodies]


class _Lines:
    """Lines of a text without blanks around them, found one by one: a list of them may be much larger.

    Asked for in order, or for the one before the last.
    """

    def __init__(self, text: str) -> None:
        self._text, self._length = text, text.count("\n") + 1
        self._at = self._start = self._before = 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, at: int) -> str:
        if at >= self._length:
            raise IndexError(at)
        while self._at < at:
            self._before, self._start = self._start, self._text.index("\n", self._start) + 1
            self._at += 1
        start = self._start if at == self._at else self._before
        end = self._text.find("\n", start)
        return self._text[start : end if end >= 0 else None].strip()


def _parse_strictly(text: str, joints: int) -> Bodies:
    """Line by line; raises at the first line that is wrong."""
    lines = _Lines(text)
    at = 0

    def fault(expected: str, seen: str = "") -> SkeletonFileError:
        line = repr(lines[at][:_SHOWN]) if at < len(lines) else "the end of the file"
        return SkeletonFileError(expected, seen + line, line=at + 1)

    def count(expected: str) -> int:
        nonlocal at
        try:
            value = int(lines[at])
        except (ValueError, IndexError):
            raise fault(expected) from None
        if value < 0:
            raise fault(expected)
        at += 1
        return value

    def numbers(n: int, expected: str) -> tuple[str, list[float]]:
        nonlocal at
        try:
            fields = lines[at].split()
            values = [float(text) for text in fields]
        except (ValueError, IndexError):
            raise fault(expected) from None
        if len(fields) != n:
            raise fault(expected, f"{len(fields)} fields in ")
        at += 1
        return fields[0], values

    ids: list[list[str]] = []
    rows: list[list[float]] = []
    n_frames = count("the number of frames")
    if n_frames == 0:
        at = 0
        raise fault("at least one frame")
    if n_frames > _MOST_FRAMES:
        at = 0
        raise fault(f"at most {_MOST_FRAMES} frames")
    for frame in range(1, n_frames + 1):
        where = f"of frame {frame} of {n_frames}"
        n_bodies = count(f"the number of bodies {where}")
        ids.append([])
        for body in range(1, n_bodies + 1):
            where = f"of body {body} of {n_bodies} in frame {frame} of {n_frames}"
            body_id, _ = numbers(_BODY_FIELDS, f"the {_BODY_FIELDS} numbers {where}")
            if not body_id.isdecimal():
                at -= 1
                raise fault(f"a whole number as the id {where}")
            ids[-1].append(body_id)
            if count(f"the number of joints {where}") != joints:
                at -= 1
                raise fault(f"{joints} joints {where}")
            for joint in range(1, joints + 1):
                expected = f"the {_JOINT_FIELDS} numbers of joint {joint} of {joints} {where}"
                _, values = numbers(_JOINT_FIELDS, expected)
                if any(abs(value) > _LARGEST for value in values[:3]):
                    at -= 1
                    raise fault(f"finite x, y, z of joint {joint} of {joints} {where}")
                rows.append(values[:3])
    if at < len(lines):
        raise fault(f"the end of the file after {n_frames} frames")
    positions = np.array(rows, np.float32).reshape(-1, joints, 3)
    positions[np.isnan(positions).any(axis=-1)] = np.nan
    return ids, positions
