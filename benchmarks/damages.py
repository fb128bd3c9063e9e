"""Six kinds of damage: what becomes of the bytes of a file."""

import io
import json
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import safetensors.numpy
import scipy.io
import yaml

WRONG: list[Any] = [None, True, "maybe", "", [], {}, [[1]], -1, 0.5, math.nan, "../x", "\x1b[31m"]
HUGE: list[Any] = [10**9, 2**31, -(2**63), 10**30, 1e39, -1e308, math.inf]

Arrays = dict[str, np.ndarray]


def cut(content: bytes, suffix: str, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content))] if content else content


def flipped(content: bytes, suffix: str, rng: np.random.Generator) -> bytes:
    """One to eight bits."""
    changed = bytearray(content)
    for at in rng.integers(8 * len(content), size=rng.integers(1, 9)) if content else ():
        changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def swapped(content: bytes, suffix: str, rng: np.random.Generator) -> bytes:
    """Two blocks in each other's place."""
    at, middle, after, end = sorted(rng.integers(len(content) + 1, size=4))
    return content[:at] + content[after:end] + content[middle:after] + content[at:middle] + content[end:]


def emptied(content: bytes, suffix: str, rng: np.random.Generator) -> bytes:
    return b""


def wrong_types(content: bytes, suffix: str, rng: np.random.Generator) -> bytes:
    return _replaced(content, suffix, WRONG[rng.integers(len(WRONG))], rng)


def huge_numbers(content: bytes, suffix: str, rng: np.random.Generator) -> bytes:
    return _replaced(content, suffix, HUGE[rng.integers(len(HUGE))], rng)


DAMAGES = {
    "cut": cut,
    "flipped": flipped,
    "swapped": swapped,
    "emptied": emptied,
    "wrong types": wrong_types,
    "huge numbers": huge_numbers,
}


def _replaced(content: bytes, suffix: str, value: Any, rng: np.random.Generator) -> bytes:
    """The file with a value somewhere in it, as its own format writes it where that can be."""
    try:
        if suffix in _TREES:
            read, write = _TREES[suffix]
            return write(_planted(read(content), value, rng))
        if suffix in _ARRAYS:
            load, save = _ARRAYS[suffix]
            return save(_spoilt(load(content), value, rng))
        words = list(re.finditer(r"[^\s,]+", content.decode()))
        place = words[rng.integers(len(words))]
        return (place.string[: place.start()] + json.dumps(value) + place.string[place.end() :]).encode()
    except Exception:  # what no writer takes: the value's own bytes amid the others
        at = int(rng.integers(len(content) + 1))
        planted = b"\xff" * 7 + b"\x7f" if isinstance(value, int | float) else json.dumps(value).encode()
        return content[:at] + planted + content[at + len(planted) :]


def _planted(tree: Any, value: Any, rng: np.random.Generator) -> Any:
    """A tree with a value in it; the nearer to the root, the likelier."""
    if isinstance(tree, np.ndarray):
        return _spoilt({"": tree}, value, rng)[""]
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.15:
        return value
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    key = keys[rng.integers(len(keys))]
    tree[key] = _planted(tree[key], value, rng)
    return tree


def _spoilt(arrays: Arrays, value: Any, rng: np.random.Generator) -> Arrays:
    """One of the arrays with a number in it, or of another type or shape."""
    name = list(arrays)[rng.integers(len(arrays))]
    array = arrays[name]
    if isinstance(value, int | float):
        spoilt = array.astype(float)
        spoilt.flat[rng.integers(spoilt.size)] = value
    else:
        others: list[Callable[[], np.ndarray]] = [
            lambda: array.astype(str),
            lambda: array.astype(complex),
            lambda: array.astype(bool),
            lambda: array.astype(np.int8),
            lambda: array.ravel(),
            lambda: array[None],
            lambda: array[:0],
            lambda: array.T,
        ]
        spoilt = others[rng.integers(len(others))]()
    return {**arrays, name: np.ascontiguousarray(spoilt)}


def _into(write: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


_TREES: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    ".json": (json.loads, lambda tree: json.dumps(tree).encode()),
    ".yml": (yaml.safe_load, lambda tree: yaml.safe_dump(tree, allow_unicode=True).encode()),
    ".pkl": (pickle.loads, pickle.dumps),
}
_ARRAYS: dict[str, tuple[Callable[[bytes], Arrays], Callable[[Arrays], bytes]]] = {
    ".npy": (
        lambda content: {"": np.load(io.BytesIO(content))},
        lambda arrays: _into(lambda stream: np.save(stream, arrays[""])),
    ),
    ".npz": (
        lambda content: dict(np.load(io.BytesIO(content))),
        lambda arrays: _into(lambda stream: np.savez_compressed(stream, **arrays)),
    ),
    ".mat": (
        lambda content: {k: v for k, v in scipy.io.loadmat(io.BytesIO(content)).items() if k[0] != "_"},
        lambda arrays: _into(lambda stream: scipy.io.savemat(stream, arrays)),
    ),
    ".safetensors": (safetensors.numpy.load, safetensors.numpy.save),
    ".parquet": (
        lambda content: {k: v.to_numpy() for k, v in pd.read_parquet(io.BytesIO(content)).items()},
        lambda arrays: _into(lambda stream: pd.DataFrame(arrays).to_parquet(stream)),
    ),
}
