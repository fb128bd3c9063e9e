import struct
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from llmar_pipeline.corpora.formats.matlab import read_numbers
from llmar_pipeline.skeletons.sequence import SkeletonFileError

ARRAY = np.arange(2 * 3 * 4, dtype=np.float64).reshape(2, 3, 4) / 7
HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
DOUBLE, CELL, STRUCT = 6, 1, 2  # MATLAB's codes of classes
HUGE = 2**32 - 8


def mat(compressed: bool = True, **variables: Any) -> bytes:
    """As scipy writes it."""
    file = BytesIO()
    savemat(file, variables, do_compression=compressed)
    return file.getvalue()


def element(kind: int, data: bytes, claimed: int | None = None, order: str = "<") -> bytes:
    """One element; it may claim another length than it has."""
    size = len(data) if claimed is None else claimed
    return struct.pack(f"{order}II", kind, size) + data + b"\0" * (-len(data) % 8)


def variable(kind: int, shape: tuple[int, ...], *values: bytes, order: str = "<") -> bytes:
    parts = [
        element(6, struct.pack(f"{order}II", kind, 0), order=order),
        element(5, struct.pack(f"{order}{len(shape)}i", *shape), order=order),
        struct.pack(f"{order}I", 1 | 1 << 16) + b"x\0\0\0",  # the name, a small element
        *values,
    ]
    return element(14, b"".join(parts), order=order)


def packed(content: bytes) -> bytes:
    data = zlib.compress(content)
    return struct.pack("<II", 15, len(data)) + data


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_every_type_of_number(compressed: bool, dtype: str) -> None:
    array = (ARRAY * 7).astype(dtype)
    read = read_numbers(mat(compressed, other="text", x=array, more=np.ones(9)), "x")
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("shape", [(1, 1), (3, 0), (1, 2), (5, 1, 2, 2)])
def test_shapes_and_small_elements(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)  # up to four bytes: a small element
    np.testing.assert_array_equal(read_numbers(mat(False, x=array), "x"), array)


@pytest.mark.parametrize(("order", "version"), [("<", b"\x00\x01IM"), (">", b"\x01\x00MI")])
def test_byte_orders_and_shortened_numbers(order: str, version: bytes) -> None:
    # MATLAB stores a double array of small whole numbers as int16.
    values = element(3, struct.pack(f"{order}4h", 1, 2, 3, -400), order=order)
    content = HEADER[:124] + version + variable(DOUBLE, (2, 2), values, order=order)
    np.testing.assert_array_equal(read_numbers(content, "x"), [[1, 3], [2, -400]])
    np.testing.assert_array_equal(loadmat(BytesIO(content))["x"], [[1, 3], [2, -400]])


def test_of_two_with_one_name_the_first() -> None:
    first, second = (variable(DOUBLE, (1, 1), element(9, struct.pack("<d", value))) for value in (1.5, 2.5))
    assert read_numbers(HEADER + first + packed(second), "x").item() == 1.5
    assert read_numbers(HEADER + packed(second) + first, "x").item() == 2.5


@pytest.mark.parametrize(
    ("content", "expected", "seen"),
    [
        (b"\x89HDF\r\n\x1a\n", "a MATLAB 5 file", "begins with"),
        (b"MATLAB 7.3 MAT-file, Platform".ljust(512), "a MATLAB 5 file", "MATLAB 7.3 MAT-file"),
        (HEADER, "a variable x", "none of that name"),
        (HEADER[:60], "a variable x", "none of that name"),
        (mat(y=ARRAY), "a variable x", "none of that name"),
        (HEADER + b"\x0f", "an undamaged MATLAB 5 file", "the end of the file within an element"),
        (mat(x=ARRAY)[:-20], "an undamaged MATLAB 5 file", "claims"),
        (mat(False, x=ARRAY)[:-20], "an undamaged MATLAB 5 file", "claims"),
        (mat(x=ARRAY)[:150] + bytes(9) + mat(x=ARRAY)[159:], "an undamaged MATLAB 5 file", "zlib.error"),
        (HEADER + packed(b"")[:-2] + bytes(2), "an undamaged MATLAB 5 file", "zlib.error"),
        (HEADER + packed(variable(DOUBLE, (1, 1)))[:12], "an undamaged MATLAB 5 file", "claims"),
        (HEADER + variable(DOUBLE, (1, 1)), "an undamaged MATLAB 5 file", "type 0"),
        (HEADER + variable(DOUBLE, (1, 1), element(99, bytes(8))), "an undamaged MATLAB 5 file", "type 99"),
        (HEADER + variable(DOUBLE, (1, -1), element(9, b"")), "an undamaged MATLAB 5 file", r"\[1, -1\]"),
        (HEADER + variable(DOUBLE, (), element(9, bytes(8))), "an undamaged MATLAB 5 file", r"shape \[\]"),
        (
            HEADER + variable(DOUBLE, (2, 2), element(9, bytes(24))),
            "an undamaged MATLAB 5 file",
            "24 bytes for",
        ),
        (mat(x=ARRAY > 1), "real numbers as x", "logical uint8"),
        (mat(x=ARRAY * 1j), "real numbers as x", "complex double"),
        (mat(x="swipe"), "real numbers as x", "char"),
        (mat(x=ARRAY.astype(object)), "real numbers as x", "cell"),
        (mat(x={"y": ARRAY}), "real numbers as x", "struct"),
        (HEADER + variable(77, (1, 1), element(9, bytes(8))), "real numbers as x", "unknown"),
    ],
)
def test_damage(content: bytes, expected: str, seen: str) -> None:
    with pytest.raises(SkeletonFileError, match=seen) as caught:
        read_numbers(content, "x")
    assert caught.value.expected == expected
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "content",
    [
        packed(variable(DOUBLE, (20, 3, 10**6), element(9, bytes(480 * 10**6)))),  # 480 MB in 467 KB
        packed(variable(DOUBLE, (20, 3, 2), element(9, bytes(960), HUGE))),
        variable(DOUBLE, (20, 3, 2), element(9, bytes(960), HUGE)),
        variable(DOUBLE, (20, 3, 10**8), element(9, bytes(960))),
        variable(CELL, (20, 3, 10**8)),
        variable(STRUCT, (20, 3, 10**8)),
        variable(DOUBLE, (2**31 - 1,) * 400, element(9, bytes(8))),
        element(14, element(6, bytes(8)) + struct.pack("<II", 5, HUGE)),
    ],
    ids=["bomb", "packed claim", "claim", "shape", "cell", "struct", "dimensions", "shape's claim"],
)
def test_files_that_claim_to_be_huge_cost_little(content: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(SkeletonFileError) as caught:
            read_numbers(HEADER + content, "x")
        assert tracemalloc.get_traced_memory()[1] < 3 * 2**24
    finally:
        tracemalloc.stop()
    assert len(caught.value.message) < 300


def length_of_error(content: bytes) -> int:
    try:
        read_numbers(content, "x")
    except SkeletonFileError as error:
        return len(error.message)
    return 0


@settings(max_examples=500, deadline=None)
@given(st.booleans(), st.integers(0, 10_000), st.binary(max_size=12), st.booleans())
def test_any_damage_is_one_clear_error(compressed: bool, at: int, junk: bytes, cut: bool) -> None:
    content = mat(compressed, y=np.ones(2), x=ARRAY)
    at %= len(content)
    assert length_of_error(content[:at] + junk + (b"" if cut else content[at + len(junk) :])) < 300


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 10_000), st.binary(max_size=12))
def test_any_damage_within_a_packed_variable(at: int, junk: bytes) -> None:
    content = mat(False, x=ARRAY)[128:]
    at %= len(content)
    assert length_of_error(HEADER + packed(content[:at] + junk + content[at + len(junk) :])) < 300


def test_real_files_read_as_scipy_reads_them(shared_data: Path) -> None:
    files = sorted((shared_data / "utd_mhad").glob("*.mat"))[::10]
    assert len(files) == 87
    for file in files:
        content = file.read_bytes()
        np.testing.assert_array_equal(read_numbers(content, "d_skel"), loadmat(BytesIO(content))["d_skel"])
