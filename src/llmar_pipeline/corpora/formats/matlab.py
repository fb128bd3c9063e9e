"""One array of numbers out of a MATLAB file (level 5, as MATLAB 5 to 7.2 write it).

Not scipy's reader: some damaged files make it end the process (1.17), and others make it allocate what they
claim to hold. The layout is MATLAB's "MAT-File Format": a header of 128 bytes, then elements. An element is
two words, type and number of bytes, and the bytes, filled up to a multiple of eight; one of up to four bytes
has its number of bytes in the upper half of the first word, and the bytes in the second.
"""

import struct
import zlib
from collections.abc import Iterator
from math import prod

import numpy as np

from llmar_pipeline.skeletons.sequence import SkeletonFileError

_HEADER = 128  # bytes
_LARGEST = 2**24  # bytes of a variable once unpacked: few packed bytes can stand for gigabytes
_MOST_AXES = 32  # of an array in numpy 1, half of those in numpy 2
_MATRIX, _PACKED = 14, 15  # types of elements; those of numbers:
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = (
    *("unknown", "cell", "struct", "object", "char", "sparse", "double", "single"),
    *("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
)
_FIRST_NUMERIC = _CLASSES.index("double")
_LOGICAL, _COMPLEX = 0x0200, 0x0800  # flags beside the class


def read_numbers(content: bytes, name: str) -> np.ndarray:
    """Reads an array of real numbers.

    Args:
        content: The file.
        name: The variable; of several with that name the first.

    Returns:
        The array in the variable's shape. MATLAB stores whole numbers in fewer bytes, so the type may differ
        from the variable's.

    Raises:
        SkeletonFileError: If it is no such file, is damaged, or has no such variable.
    """
    if not content.startswith(b"MATLAB 5.0 MAT-file"):
        raise SkeletonFileError("a MATLAB 5 file", f"one that begins with {content[:20]!r}")
    order = "<" if content[_HEADER - 2 : _HEADER] == b"IM" else ">"
    for kind, data in _elements(content[_HEADER:], order):
        if kind == _PACKED:
            kind, data = next(_elements(_unpack(data), order), (0, b""))
        if kind == _MATRIX:
            parts = _elements(data, order)
            (_, flags), (_, shape), (_, found) = (next(parts, (0, b"")) for _ in range(3))
            if found == name.encode():
                return _numbers(flags, shape, next(parts, (0, b"")), order, name)
    raise SkeletonFileError(f"a variable {name}", "none of that name")


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of each element."""
    at = 0
    while at < len(content):
        if at + 8 > len(content):
            raise _damaged("the end of the file within an element")
        kind, size = struct.unpack_from(f"{order}II", content, at)
        start, room = at + 8, len(content) - at - 8
        if kind >> 16:
            kind, size, start, room = kind & 0xFFFF, kind >> 16, at + 4, 4
        if size > room:
            raise _damaged(f"an element that claims {size:,} bytes")
        yield kind, content[start : start + size]
        length = start + size - at
        at += length if kind == _PACKED else -(-length // 8) * 8


def _unpack(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, _LARGEST)
    except zlib.error as error:
        raise _damaged(f"zlib.error: {error}") from error
    if not unpacker.eof:
        raise _damaged(f"a packed variable that is cut off or larger than {_LARGEST:,} bytes")
    return unpacked


def _numbers(
    flags: bytes, shape_bytes: bytes, values: tuple[int, bytes], order: str, name: str
) -> np.ndarray:
    if len(flags) != 8 or len(shape_bytes) % 4:
        raise _damaged(f"no class or shape of {name}")
    class_and_flags = struct.unpack_from(f"{order}I", flags)[0]
    number, shape = class_and_flags & 0xFF, struct.unpack(f"{order}{len(shape_bytes) // 4}i", shape_bytes)
    kind, data = values
    if not _FIRST_NUMERIC <= number < len(_CLASSES) or class_and_flags & (_LOGICAL | _COMPLEX):
        what = _CLASSES[number] if number < len(_CLASSES) else "unknown"
        marks = [
            mark for mark, bit in (("logical", _LOGICAL), ("complex", _COMPLEX)) if class_and_flags & bit
        ]
        raise SkeletonFileError(f"real numbers as {name}", " ".join([*marks, what]))
    if kind not in _DTYPES or min(shape, default=-1) < 0 or len(shape) > _MOST_AXES:
        raise _damaged(f"values of type {kind} and shape {list(shape)} as {name}"[:80])
    dtype = np.dtype(order + _DTYPES[kind])
    if len(data) != prod(shape) * dtype.itemsize:
        raise _damaged(f"{len(data):,} bytes for {dtype.name} values of shape {list(shape)}"[:80])
    return np.frombuffer(data, dtype).reshape(shape, order="F")


def _damaged(seen: str) -> SkeletonFileError:
    return SkeletonFileError("an undamaged MATLAB 5 file", seen)
