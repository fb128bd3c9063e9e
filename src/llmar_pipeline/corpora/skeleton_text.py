"""The `.skeleton` text format of NTU RGB+D (UAV-Human has the same lines with other joints).

Line 1 is the number of frames. Each frame is a line with its number of bodies and, for each body, a line of
10 fields that starts with the body's id, a line with the number of joints, and a line of 12 fields a joint.
"""

import csv
import io

import numpy as np
import pandas as pd

from llmar_pipeline.skeletons.sequence import SkeletonFileError

_BODY_FIELDS, _JOINT_FIELDS = 10, 12
_LARGEST = float(np.finfo(np.float32).max)
_SHOWN = 60  # characters of a faulty line that an error quotes

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
    lines = [line.strip() for line in text.rstrip().split("\n")]
    parsed = _parse_fast(lines, joints) or _parse_strictly(lines, joints)
    ids, positions = parsed
    positions[np.isnan(positions).any(axis=-1)] = np.nan
    return ids, positions


def _parse_fast(lines: list[str], joints: int) -> Bodies | None:
    """All joint lines at once; None on any doubt, which `_parse_strictly` then settles."""
    try:
        ids: list[list[str]] = []
        rows: list[str] = []
        others: list[str] = []
        at = 1
        for _ in range(int(lines[0])):
            n_bodies = int(lines[at])
            at += 1
            frame: list[str] = []
            for _ in range(n_bodies):
                body_id, *fields = lines[at].split()
                if not body_id.isdecimal() or len(fields) != _BODY_FIELDS - 1 or int(lines[at + 1]) != joints:
                    return None
                frame.append(body_id)
                others += fields
                rows += lines[at + 2 : at + 2 + joints]
                at += 2 + joints
            if n_bodies < 0:
                return None
            ids.append(frame)
        if at != len(lines) or not ids:
            return None
        list(map(float, others))
        positions = _table(rows)[:, :3]
        if len(positions) != sum(map(len, ids)) * joints or (np.abs(positions) > _LARGEST).any():
            return None
        return ids, positions.astype(np.float32).reshape(-1, joints, 3)
    except (ValueError, IndexError):
        return None


def _table(rows: list[str]) -> np.ndarray:
    """Joint lines to `[line, field]`; ValueError where one is not 12 numbers set apart by single blanks."""
    block = "\n".join(rows)
    # Counted here because pandas fills short lines up and takes an empty field for a missing number.
    if "  " in block or any(row.count(" ") != _JOINT_FIELDS - 1 for row in rows):
        raise ValueError
    if not rows:
        return np.zeros((0, _JOINT_FIELDS))
    table = pd.read_csv(
        io.StringIO(block),
        sep=" ",
        header=None,
        names=range(_JOINT_FIELDS),
        dtype=np.float64,
        keep_default_na=False,
        na_values=["NaN", "nan"],
        quoting=csv.QUOTE_NONE,
    )
    return table.to_numpy()


def _parse_strictly(lines: list[str], joints: int) -> Bodies:
    """Line by line; raises at the first line that is wrong."""
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
    positions: list[list[float]] = []
    n_frames = count("the number of frames")
    if n_frames == 0:
        at = 0
        raise fault("at least one frame")
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
                positions.append(values[:3])
    if at < len(lines):
        raise fault(f"the end of the file after {n_frames} frames")
    return ids, np.array(positions, np.float32).reshape(-1, joints, 3)
