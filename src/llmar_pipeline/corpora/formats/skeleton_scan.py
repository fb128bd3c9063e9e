"""One compiled pass over a `.skeleton` file that is spelt in the plain way of the published ones."""

import numpy as np
from numba import njit

_NEWLINE, _SPACE, _TAB, _RETURN = ord("\n"), ord(" "), ord("\t"), ord("\r")
_MINUS, _PLUS, _POINT, _ZERO, _NINE = ord("-"), ord("+"), ord("."), ord("0"), ord("9")
_COUNT_DIGITS = 9  # more might overflow
_EXACT_DIGITS = 15  # as many are exact as float64
_POWERS = tuple(float(f"1e{n}") for n in range(23))  # all that are exact as float64


@njit(cache=True)
def scan(
    text: np.ndarray, joints: int, bodies: np.ndarray, ids: np.ndarray, positions: np.ndarray
) -> tuple[int, int]:
    """Reads a whole file.

    Args:
        text: The file, uint8, with a newline and a zero byte at its end, so that no read needs a bound.
        joints: Joints that each body must have.
        bodies: Written here: the number of bodies of each frame, `[frame]`.
        ids: Written here: where in the text each body's id starts and ends, `[body, 2]`.
        positions: Written here: x, y, z, `[body, joint, 3]`, float32; NaN where any of the three is NaN. To
            the last bit what `float` makes of the text, as float32.

    Returns:
        The numbers of frames and bodies. Both are -1 if the file is damaged, or spelt in a way that this pass
        does not know (+1, inf, 1_000, blanks other than space, tab and CR), or has too many digits.

    Source: ours.
    """
    refused = (-1, -1)
    header, joint_row = np.empty(9), np.empty(12)
    body = 0
    n_frames, at = _count(text, 0)
    if not 1 <= n_frames <= len(bodies):
        return refused
    for frame in range(n_frames):
        n_bodies, at = _count(text, at)
        if not 0 <= n_bodies <= len(positions) - body:
            return refused
        bodies[frame] = n_bodies
        for _ in range(n_bodies):
            at = _skip_blanks(text, at)
            ids[body, 0] = at
            while _ZERO <= text[at] <= _NINE:
                at += 1
            ids[body, 1] = at
            if text[at] > _SPACE:
                return refused
            at = _row(text, at, header)
            if at < 0:
                return refused
            n_joints, at = _count(text, at)
            if n_joints != joints:
                return refused
            for joint in range(joints):
                at = _row(text, at, joint_row)
                x, y, z = joint_row[0], joint_row[1], joint_row[2]
                if at < 0 or x == np.inf or y == np.inf or z == np.inf:
                    return refused
                if np.isnan(x + y + z):
                    x = y = z = np.nan
                positions[body, joint, 0] = x
                positions[body, joint, 1] = y
                positions[body, joint, 2] = z
            body += 1
    return (n_frames, body) if at == len(text) - 1 else refused


@njit(cache=True)
def _count(text: np.ndarray, at: int) -> tuple[int, int]:
    """The whole number that is alone on a line, and where the next line starts; -1 and -1 on any doubt."""
    start = at = _skip_blanks(text, at)
    value = 0
    while _ZERO <= text[at] <= _NINE:
        value = 10 * value + (text[at] - _ZERO)
        at += 1
    digits = at - start
    at = _skip_blanks(text, at)
    if text[at] != _NEWLINE or not 1 <= digits <= _COUNT_DIGITS:
        return -1, -1
    return value, at + 1


@njit(cache=True)
def _row(text: np.ndarray, at: int, row: np.ndarray) -> int:
    """Reads the rest of a line, as many numbers as the row has room for.

    Returns:
        Where the next line starts; -1 on any doubt. A number whose float64 takes more than one rounding is
        written as infinity.

    Source: W. D. Clinger, "How to Read Floating Point Numbers Accurately", PLDI 1990: of two exact numbers
        the product or quotient is rounded once, hence correctly.
    """
    for field in range(len(row)):
        at = _skip_blanks(text, at)
        negative = text[at] == _MINUS
        at += negative
        first = at
        mantissa = power = 0
        while _ZERO <= text[at] <= _NINE:
            mantissa = 10 * mantissa + (text[at] - _ZERO)
            at += 1
        digits = at - first
        if text[at] == _POINT:
            at += 1
            point = at
            while _ZERO <= text[at] <= _NINE:
                mantissa = 10 * mantissa + (text[at] - _ZERO)
                at += 1
            power = point - at
            digits -= power
        if digits == 0:
            if at != first or not _is_nan(text, at):
                return -1
            row[field] = np.nan
            at += 3
            continue
        if text[at] > _SPACE:
            exponent, at = _exponent(text, at)
            if at < 0:
                return -1
            power += exponent
        if digits > _EXACT_DIGITS or abs(power) >= len(_POWERS):
            row[field] = np.inf
        else:
            value = mantissa / _POWERS[-power] if power < 0 else mantissa * _POWERS[power]
            row[field] = -value if negative else value
    at = _skip_blanks(text, at)
    return at + 1 if text[at] == _NEWLINE else -1


@njit(cache=True)
def _is_nan(text: np.ndarray, at: int) -> bool:
    """Whether the three letters stand there, in upper or lower case, and nothing clings to them."""
    return bool(
        text[at] | 32 == ord("n")
        and text[at + 1] | 32 == ord("a")
        and text[at + 2] | 32 == ord("n")
        and text[at + 3] <= _SPACE
    )


@njit(cache=True)
def _exponent(text: np.ndarray, at: int) -> tuple[int, int]:
    """The exponent that stands there, and its end; the end is -1 where something else does."""
    if text[at] | 32 != ord("e"):
        return 0, -1
    at += 1
    negative = text[at] == _MINUS
    if negative or text[at] == _PLUS:
        at += 1
    start = at
    value = 0
    while _ZERO <= text[at] <= _NINE:
        value = min(10 * value + (text[at] - _ZERO), 1000)
        at += 1
    if at == start or text[at] > _SPACE:
        return 0, -1
    return -value if negative else value, at


@njit(cache=True)
def _skip_blanks(text: np.ndarray, at: int) -> int:
    while text[at] == _SPACE or text[at] == _TAB or text[at] == _RETURN:
        at += 1
    return at
