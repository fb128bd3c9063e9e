"""Arrays that JSON writes as lists of lists, read level by level, so that what is wrong has a place."""

from itertools import chain
from typing import Any

import numpy as np

from llmar_pipeline.skeletons.sequence import SkeletonFileError

_MOST = 2**24  # numbers


def read_nested(values: Any, name: str, axes: tuple[str, ...]) -> np.ndarray:
    """Nested lists of numbers as an array, float64; null is NaN, in place of a list it is one of nulls.

    Args:
        values: As `json.loads` returns them.
        name: Of the array, for errors.
        axes: What the levels are called, the innermost last; the outermost may be missing.

    Returns:
        As many axes as there are levels, at most one more than names.

    Raises:
        SkeletonFileError: If lists of one level differ in length or depth, or hold something else than
            numbers; it says which list, or number, counted from 0.

    Source: ours. numpy's own conversion says of a ragged list that it is one, and makes of one long text
        among many short ones an array of long ones.
    """
    shape: list[int] = []
    level = [values]
    while isinstance(found := _first(level), list) and len(shape) <= len(axes):
        length = len(found)
        for number, value in enumerate(level):
            if value is not None and (not isinstance(value, list) or len(value) != length):
                seen = f"{len(value)}" if isinstance(value, list) else f"a {type(value).__name__}"
                where = _where(number, shape, _names(axes, len(shape) + _depth(found)))
                raise SkeletonFileError(
                    f"{name} with {length} values in each list, as in the first{where}", seen
                )
        if len(level) * length > _MOST:
            raise SkeletonFileError(f"{name} of at most {_MOST} numbers", f"{len(level) * length}")
        shape.append(length)
        level = list(chain.from_iterable([None] * length if value is None else value for value in level))
    kinds = set(map(type, level))
    if kinds <= {int, float, type(None)} and shape:
        try:
            return np.array(level, np.float64).reshape(shape)
        except OverflowError:
            kinds = {float}
    number = next((i for i, value in enumerate(level) if type(value) not in (int, float, type(None))), 0)
    seen = f"a {type(level[number]).__name__}" if kinds - {float, int} else "a number of hundreds of digits"
    raise SkeletonFileError(
        f"{name} as lists of numbers or null{_where(number, shape, _names(axes, len(shape)))}", seen
    )


def _names(axes: tuple[str, ...], depth: int) -> tuple[str, ...]:
    return axes if depth >= len(axes) else axes[1:]


def _first(values: list[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def _depth(values: Any) -> int:
    depth = 0
    while isinstance(values, list):
        depth, values = depth + 1, _first(values)
    return depth


def _where(number: int, shape: list[int], axes: tuple[str, ...]) -> str:
    places = np.unravel_index(number, shape) if shape else ()
    named = zip(axes, places, strict=False)
    text = ", ".join(f"{axis} {place}" for axis, place in named)
    return f", at {text} (counted from 0)" if text else ""
