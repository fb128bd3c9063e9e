"""One compiled pass over a `.skeleton` file that is spelt in the plain way of the published ones."""

import numpy as np
from numba import njit

_NEWLINE, _SPACE, _TAB, _RETURN = ord("\n"), ord(" "), ord("\t"), ord("\r")
_MINUS, _PLUS, _POINT, _ZERO, _NINE = ord("-"), ord("+"), ord("."), ord("0"), ord("9")
_COUNT_DIGITS = 9  # more might overflow
_EXACT_DIGITS = 15  # as many are exact as float64
_POWERS = tuple(float(f"1e{n}") for n in range(23))  # all that are exact as float64
_POSITION, _UNREAD_OF_BODY, _UNREAD_OF_JOINT = 3, 9, 9  # fields
# Places in the text are unsigned: numba asks of each signed index whether it counts from the end.
_START, _NEXT, _THIRD, _FOURTH = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
_NOWHERE = _START  # where no line goes on, so the place that stands for a refusal


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
        does not know (+1, inf, 1_000, blanks other than space, tab and CR), or has too many digits. Of the
        numbers that nobody reads only the spelling is looked at.

    Source: ours.
    """
    refused = (-1, -1)
    body = 0
    position = np.empty(_POSITION)
    n_frames, at = _count(text, _START)
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
            at = _skip_digits(text, at)
            ids[body, 1] = at
            if text[at] > _SPACE:
                return refused
            at = _rest(text, at, _UNREAD_OF_BODY)
            if at == _NOWHERE:
                return refused
            n_joints, at = _count(text, at)
            if n_joints != joints:
                return refused
            for joint in range(joints):
                at = _position(text, at, position)
                if at == _NOWHERE:
                    return refused
                for axis in range(_POSITION):
                    positions[body, joint, axis] = position[axis]
                at = _rest(text, at, _UNREAD_OF_JOINT)
                if at == _NOWHERE:
                    return refused
            body += 1
    return (n_frames, body) if text[at] == 0 and at + _NEXT == len(text) else refused


@njit(cache=True)
def _count(text: np.ndarray, at: np.uint64) -> tuple[int, np.uint64]:
    """The whole number that is alone on a line, and where the next line starts; -1 on any doubt."""
    start = at = _skip_blanks(text, at)
    value = 0
    while _ZERO <= text[at] <= _NINE:
        value = 10 * value + (text[at] - _ZERO)
        at += _NEXT
    digits = at - start
    at = _skip_blanks(text, at)
    if text[at] != _NEWLINE or not 1 <= digits <= _COUNT_DIGITS:
        return -1, _NOWHERE
    return value, at + _NEXT


@njit(cache=True)
def _position(text: np.ndarray, at: np.uint64, position: np.ndarray) -> np.uint64:
    """Reads x, y, z.

    Returns:
        Where the third number ends; nowhere on any doubt, and where a number's float64 takes more than one
        rounding.

    Source: W. D. Clinger, "How to Read Floating Point Numbers Accurately", PLDI 1990: of two exact numbers
        the product or quotient is rounded once, hence correctly.
    """
    missing = False
    for field in range(_POSITION):
        at = _skip_blanks(text, at)
        negative = text[at] == _MINUS
        if negative:
            at += _NEXT
        first = at
        mantissa, power = 0, np.int64(0)
        while _ZERO <= text[at] <= _NINE:
            mantissa = 10 * mantissa + (text[at] - _ZERO)
            at += _NEXT
        digits = np.int64(at - first)
        if text[at] == _POINT:
            at += _NEXT
            point = at
            while _ZERO <= text[at] <= _NINE:
                mantissa = 10 * mantissa + (text[at] - _ZERO)
                at += _NEXT
            power = -np.int64(at - point)
            digits -= power
        if digits == 0:
            if at != first or not _is_nan(text, at):
                return _NOWHERE
            missing = True
            at += _FOURTH
            continue
        if text[at] > _SPACE:
            exponent, at = _exponent(text, at)
            if at == _NOWHERE:
                return _NOWHERE
            power += exponent
        if digits > _EXACT_DIGITS or abs(power) >= len(_POWERS):
            return _NOWHERE
        value = mantissa / _POWERS[-power] if power < 0 else mantissa * _POWERS[power]
        position[field] = -value if negative else value
    if missing:
        position[:] = np.nan
    return at


@njit(cache=True)
def _rest(text: np.ndarray, at: np.uint64, fields: int) -> np.uint64:
    """Passes over so many numbers, which must be all that is left of the line, to where the next one starts.

    Nowhere on any doubt. Its two loops are those of `_skip_digits`: with calls of it the whole pass takes
    half as long again.
    """
    for _ in range(fields):
        at = _skip_blanks(text, at)
        if text[at] == _MINUS:
            at += _NEXT
        first = at
        while _ZERO <= text[at] <= _NINE:
            at += _NEXT
        digits = at - first
        if text[at] == _POINT:
            point = at + _NEXT
            at = point
            while _ZERO <= text[at] <= _NINE:
                at += _NEXT
            digits += at - point
        if digits == 0:
            if at != first or not _is_nan(text, at):
                return _NOWHERE
            at += _FOURTH
        elif text[at] > _SPACE:
            _, at = _exponent(text, at)
            if at == _NOWHERE:
                return _NOWHERE
    at = _skip_blanks(text, at)
    return at + _NEXT if text[at] == _NEWLINE else _NOWHERE


@njit(cache=True)
def _is_nan(text: np.ndarray, at: np.uint64) -> bool:
    """Whether the three letters stand there, in upper or lower case, and nothing clings to them."""
    return bool(
        text[at] | 32 == ord("n")
        and text[at + _NEXT] | 32 == ord("a")
        and text[at + _THIRD] | 32 == ord("n")
        and text[at + _FOURTH] <= _SPACE
    )


@njit(cache=True)
def _exponent(text: np.ndarray, at: np.uint64) -> tuple[int, np.uint64]:
    """The exponent that stands there, and its end; nowhere where something else does."""
    if text[at] | 32 != ord("e"):
        return 0, _NOWHERE
    at += _NEXT
    negative = text[at] == _MINUS
    if negative or text[at] == _PLUS:
        at += _NEXT
    start = at
    value = 0
    while _ZERO <= text[at] <= _NINE:
        value = min(10 * value + (text[at] - _ZERO), 1000)
        at += _NEXT
    if at == start or text[at] > _SPACE:
        return 0, _NOWHERE
    return -value if negative else value, at


@njit(cache=True)
def _skip_digits(text: np.ndarray, at: np.uint64) -> np.uint64:
    while _ZERO <= text[at] <= _NINE:
        at += _NEXT
    return at


@njit(cache=True)
def _skip_blanks(text: np.ndarray, at: np.uint64) -> np.uint64:
    while text[at] == _SPACE or text[at] == _TAB or text[at] == _RETURN:
        at += _NEXT
    return at
