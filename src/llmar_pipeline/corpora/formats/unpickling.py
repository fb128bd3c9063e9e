"""Pickles of arrays and builtin containers, read without running what else a pickle could ask for.

A pickle is a program. Only the instructions that such data need are carried out, every function that the
program can name is one of this module's own, and no more memory is taken than the file's own size accounts
for.
"""

import math
import pickle
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from llmar_pipeline.errors import UserError

_TEXT = re.compile(r"U[1-9][0-9]{0,3}")  # numpy's text, of so many characters
_NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
_INSTRUCTIONS = (
    "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_TUPLE TUPLE TUPLE1 "
    "TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS EMPTY_SET ADDITEMS FROZENSET GLOBAL "
    "STACK_GLOBAL REDUCE BUILD BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET"
)
_PYTHON_2 = {pickle.STRING[0], pickle.BINSTRING[0], pickle.SHORT_BINSTRING[0]}
_LARGEST_INTEGER = 8  # bytes
_NDARRAY = "numpy.ndarray"  # stands for the class, which a pickle names but need not have


class _RefusedError(UserError):
    """A pickle that asks for something else than data."""


class _Dtype:
    """A dtype in the making, numbers or text: a pickle gives its code first and its byte order afterwards."""

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        if code not in _NUMBERS and not (isinstance(code, str) and _TEXT.fullmatch(code)):
            raise _RefusedError(
                f"arrays of numbers, saw an array of dtype {_shown(code)}; names are written as str(name), "
                "lists of them as names.tolist()"
            )
        self.dtype = np.dtype(code)

    def set_state(self, state: tuple[Any, ...]) -> None:
        _, order, *rest = state
        if order not in ("<", ">", "|", "=") or rest[:3] != [None, None, None]:
            raise _RefusedError("arrays of numbers, saw an array of a compound dtype")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """An array in the making: a pickle makes an empty one first and says what is in it afterwards."""

    def set_state(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        # Checked here, so that numpy's own method sees nothing but what numpy itself would have written.
        _check_size(shape, dtype, raw)
        state = (1, shape, dtype.dtype, bool(fortran), bytes(raw))
        super().__setstate__(state)  # type: ignore[arg-type]  # typeshed wants a numpy.bool


def _check_size(shape: Any, dtype: Any, raw: Any) -> None:
    """As many bytes as there are numbers; of text, bytes that are letters."""
    if not (
        isinstance(dtype, _Dtype)
        and isinstance(raw, bytes | bytearray)
        and isinstance(shape, tuple)
        and all(isinstance(length, int) and length >= 0 for length in shape)
        and math.prod(shape) * dtype.dtype.itemsize == len(raw)
    ):
        raise _RefusedError("arrays with as many bytes as their shape has numbers, saw another one")
    if dtype.dtype.kind == "U" and len(raw):
        letters = np.frombuffer(raw, np.dtype("u4").newbyteorder(dtype.dtype.byteorder))
        if letters.max() > sys.maxunicode:
            raise _RefusedError("arrays of text, saw one of other bytes")


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not _NDARRAY or shape != (0,):
        raise _RefusedError("plain arrays, saw a subclass")
    return np.ndarray.__new__(_Array, (0,), np.int8)


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    _check_size(shape, dtype, raw)
    return np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: Any, raw: Any) -> bool | int | float | str:
    _check_size((), dtype, raw)
    number: bool | int | float | str = np.frombuffer(raw, dtype.dtype)[0].item()
    return number


def _encode(text: str, encoding: str) -> bytes:
    """How a pickle of protocol 2 writes bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"bytes as protocol 2 writes them, saw the encoding {_shown(encoding)}")
    return text.encode("latin-1")


def _bytes() -> bytes:
    return b""


def _set(items: list[Any]) -> set[Any]:
    return set(_hashable(items))


def _frozenset(items: list[Any]) -> frozenset[Any]:
    return frozenset(_hashable(items))


def _hashable(items: Iterable[Any]) -> list[Any]:
    """Keys: plain ones, since hashing a nested tuple may take forever or exhaust the stack."""
    items = list(items)
    if not all(isinstance(item, str | bytes | int | float | None) for item in items):
        raise _RefusedError("keys that are text or numbers, saw another one")
    return items


_GLOBALS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    **{(module, "bytes"): _bytes for module in ("builtins", "__builtin__")},
    **{(module, "set"): _set for module in ("builtins", "__builtin__")},
    **{(module, "frozenset"): _frozenset for module in ("builtins", "__builtin__")},
}


# Python's own unpickler, not the compiled one: that one lets five bytes claim 32 GiB for its memo.
class _Unpickler(pickle._Unpickler):
    read: Callable[[int], bytes]
    stack: list[Any]
    append: Callable[[Any], None]  # to the stack
    pop_mark: Callable[[], list[Any]]

    # By instruction, as the parent class has it; an instruction that is not here is a KeyError.
    dispatch: ClassVar[dict[int, Any]] = {
        getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
        for name in _INSTRUCTIONS.split()
    }

    def load_python_2(self) -> None:
        raise _RefusedError(
            "a pickle of Python 3, saw text of Python 2: load it with pickle.load(file, encoding='latin1') "
            "and write it again"
        )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _GLOBALS:
            raise _RefusedError(f"nothing but arrays and builtins, saw {_shown(f'{module}.{name}')}")
        return _GLOBALS[module, name]

    def load_long(self) -> None:
        size = self.read(1)[0]
        if size > _LARGEST_INTEGER:
            raise _RefusedError(f"integers of {_LARGEST_INTEGER} bytes, saw one of {size}")
        self.append(int.from_bytes(self.read(size), "little", signed=True))

    def load_bytearray(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def load_additems(self) -> None:
        items = _hashable(self.pop_mark())
        self.stack[-1].update(items)

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        self.append(_frozenset(items))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def load_setitems(self) -> None:
        self._update(self.pop_mark())

    def _update(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise _RefusedError("items of a dictionary, saw those of something else")
        self.stack[-1].update(zip(_hashable(items[::2]), items[1::2], strict=True))

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Dtype | _Array):
            raise _RefusedError("nothing but arrays and builtins, saw the state of another object")
        self.stack[-1].set_state(state)

    dispatch |= dict.fromkeys(_PYTHON_2, load_python_2) | {
        pickle.LONG1[0]: load_long,
        pickle.BYTEARRAY8[0]: load_bytearray,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.BUILD[0]: load_build,
    }


def _shown(text: Any) -> str:
    return repr(text[:60]) if isinstance(text, str) else type(text).__name__


def load_pickle(path: Path) -> Any:
    """Reads a pickle of numbers, text, builtin containers and numpy arrays of them (protocols 2 to 5).

    It is held in memory as a whole. Numbers of numpy come back as Python's.

    Raises:
        UserError: If it asks for anything else, is damaged, or cannot be opened.

    Source: ours.
    """
    advice = "read only pickles from people you trust, or export npz files (see docs/data.md)"
    try:
        with Path(path).open("rb") as file:
            return _Unpickler(file).load()
    except _RefusedError as error:
        raise UserError(f"{path}: expected {error.message}; {advice}.") from None
    except OSError as error:
        raise UserError(f"{path}: expected a readable file, saw {error.strerror or 'none'}.") from error
    except Exception as error:  # a damaged program fails in as many ways as there are
        seen = "nothing" if path.stat().st_size == 0 else type(error).__name__
        raise UserError(
            f"{path}: expected a complete pickle of protocol 2 to 5, saw {seen} while reading it; "
            "fetch or write the file again."
        ) from error
