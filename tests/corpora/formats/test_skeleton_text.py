import re
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmar_pipeline.corpora.formats.skeleton_text import _parse_fast, _parse_strictly, parse_bodies
from llmar_pipeline.skeletons.sequence import SkeletonFileError

JOINTS = np.array([[0.25, -1.5, 3], [1e-3, 0, 2.5]], np.float32)
# Frames of 1, 0 and 2 bodies of two joints; the ids are one number as float64.
FRAMES = [
    [("72057594037931101", JOINTS)],
    [],
    [("72057594037931101", JOINTS + 1), ("72057594037931102", JOINTS + 2)],
]
# Lines: 1 frames, 2 bodies, 3 header, 4 joints, 5-6, 7 nobody, 8 bodies, 9, 10, 11-12, 13, 14, 15-16, end

HEADER = "7 0 1 1 1 1 0 0.02 0.05 2"
JOINT = "0 0 0 1 1 1 1 0 0 0 0 2"

Writer = Callable[..., str]


def test_ids_stay_exact_and_positions_keep_file_order(skeleton_text: Writer) -> None:
    ids, positions = parse_bodies(skeleton_text(FRAMES), 2)
    assert ids == [["72057594037931101"], [], ["72057594037931101", "72057594037931102"]]
    assert positions.dtype == np.float32
    np.testing.assert_array_equal(positions, [JOINTS, JOINTS + 1, JOINTS + 2])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", " \n"),
        lambda text: text.replace(" ", "  "),
        lambda text: text.replace(" 277.4 ", "\t277.4 "),
        lambda text: text + "\n \r\n",
        lambda text: text.rstrip(),
        lambda text: text.replace(" 277.4 191.8 ", " NaN nan "),
        lambda text: text.replace(" 277.4 191.8 ", " -inf Infinity "),
    ],
    ids=["crlf", "trailing", "double", "tab", "blank end", "no newline", "nan elsewhere", "inf elsewhere"],
)
def test_spelling_does_not_matter(skeleton_text: Writer, change: Callable[[str], str]) -> None:
    ids, positions = parse_bodies(change(skeleton_text(FRAMES)), 2)
    expected_ids, expected = parse_bodies(skeleton_text(FRAMES), 2)
    assert ids == expected_ids
    np.testing.assert_array_equal(positions, expected)


def test_a_joint_with_one_nan_is_missing(skeleton_text: Writer) -> None:
    _, positions = parse_bodies(skeleton_text(FRAMES).replace("0.25 -1.5 3 ", "0.25 NaN 3 "), 2)
    assert np.isnan(positions[0, 0]).all()
    np.testing.assert_array_equal(positions[0, 1], JOINTS[1])


# What the compiled pass must tell apart; Python's own `float` is the judge.
NUMBERS = """
0 -0 -0.0 1 007 1. .5 -.5 . - -. -- + +1 1- 1.2.3 1..2 1.2e3 1e-5 1E+05 -1.5e-07 e5 1e 1e+ 1e5.0 1_0 0x10 1f
nan NaN -nan +nan .nan nan1 na nann 1nan inf -inf Infinity 1e-999 1e999 1e22 1e23 1e-22 1e-23 1,5 '1'
3.4028235e38 3.4028236e38 1e39 5e-46 1.17549435e-38 5.9604645e-08 123456789012345e22 0.000000000000000000001
123456789012345 1234567890123456 9007199254740993 16777217 0.30000000000000004 140919917821884148e-17
9999999999999999999999999999999
"""
BLANKS = ["", "1 1", "1\t", "\t1", "1\r2", "1\x0b", "1\x0b2", "\x1f", "1\x002", "1\0"]
BEYOND_ASCII = ["\u0661", "\u00bd", "\u00a05", "1\u20282"]


@pytest.mark.parametrize("spelling", [*NUMBERS.split(), *BLANKS, *BEYOND_ASCII])
def test_the_fast_pass_reads_a_number_as_python_does_or_leaves_it(spelling: str) -> None:
    for field in (0, 1, 2, 3, 10):
        for n_fields in (11, 12, 13):  # one that reads as two numbers, or as none, must not go unseen
            fields = ["1"] * n_fields
            fields[field] = spelling
            assert_fast_is_strict("\n".join(["1", "1", HEADER, "1", " ".join(fields)]), 1)
            assert_fast_is_strict("\n".join(["1", "1", HEADER, "2", " ".join(fields), JOINT]), 2)
    for header in (HEADER, HEADER[:-2], HEADER + " 2"):
        for changed in (header.replace("0.05", spelling), spelling + header[1:]):
            assert_fast_is_strict("\n".join(["1", "1", changed, "1", JOINT]), 1)
    for counts in (["1", "1", spelling], ["1", spelling, "1"], [spelling, "1", "1"]):
        assert_fast_is_strict("\n".join([*counts[:2], HEADER, counts[2], JOINT]), 1)


@pytest.mark.parametrize(
    "lines",
    [
        ["0"],
        ["2", "", "1", HEADER, "1", JOINT],
        ["1 01", HEADER, "1", JOINT],
        ["1", "1", HEADER + " 01", JOINT],
        ["2", "1", HEADER, "1", JOINT + " 01", HEADER, "1", JOINT],
    ],
    ids=["no frame", "no count", "two counts", "header and count", "joint and count"],
)
def test_the_fast_pass_knows_where_a_line_ends(lines: list[str]) -> None:
    assert _parse_fast("\n".join(lines), 1) is None


def test_the_fast_pass_rounds_correctly() -> None:
    rng = np.random.default_rng(0)
    digits = rng.integers(1, 16, 30_000)
    mantissas = (rng.random(30_000) * 10.0**digits).astype(np.int64)
    texts = [f"{m}e{e}" for m, e in zip(mantissas, rng.integers(-22, 23, 30_000), strict=True)]
    rows = [" ".join([*texts[i : i + 3], *["0"] * 9]) for i in range(0, 30_000, 3)]
    fast = _parse_fast("\n".join(["1", "1", HEADER, "10000", *rows]), 10_000)
    assert fast is not None
    np.testing.assert_array_equal(fast[1].ravel(), np.array([float(text) for text in texts], np.float32))


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_the_fast_pass_takes_every_ordinary_file(data: st.DataObject) -> None:
    text, joints = data.draw(files())
    assert _parse_fast(text, joints) is not None
    assert_fast_is_strict(text, joints)


@pytest.mark.slow
@given(st.data())
@settings(deadline=None, max_examples=300)
def test_the_fast_pass_accepts_no_damage(data: st.DataObject) -> None:
    text, joints = data.draw(files())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(
            st.one_of(st.integers(start, min(start + 3, len(text))), st.integers(start, len(text)))
        )
        put = data.draw(st.one_of(st.text(" \t\r\n+-.0259eEnNaA\0\x0b_x", max_size=4), st.text(max_size=2)))
        text = text[:start] + put + text[end:]
    assert_fast_is_strict(text.rstrip(), joints)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, int]:
    """The text of a well-formed file, without its last newline, and its number of joints."""
    joints = draw(st.integers(1, 3))
    number = st.one_of(
        st.builds(lambda m, e: f"{m / 10**e:.7g}", st.integers(-(10**7), 10**7), st.integers(0, 12)),
        st.integers(0, 2).map(str),
        st.sampled_from(["NaN", "nan", "-0", "1.", ".5", "2e+03", "123456.789012345"]),
    )
    blank = draw(st.sampled_from([" ", "  ", "\t", " \t "]))

    def row(first: str, others: int) -> str:
        return blank.join([first, *draw(st.lists(number, min_size=others, max_size=others))])

    lines = []
    n_frames = draw(st.integers(1, 3))
    for _ in range(n_frames):
        n_bodies = draw(st.integers(0, 2))
        lines.append(str(n_bodies))
        for _ in range(n_bodies):
            body_id = draw(st.sampled_from(["000", "7", "72057594037931101"]))
            lines += [row(body_id, 9), str(joints)]
            lines += [row(draw(number), 11) for _ in range(joints)]
    return draw(st.sampled_from(["\n", "\r\n", " \n", " \r\n"])).join([str(n_frames), *lines]), joints


def assert_fast_is_strict(text: str, joints: int) -> None:
    """Where the fast pass answers at all, the strict one gives the same ids and the same bits."""
    fast = _parse_fast(text, joints)
    if fast is None:
        return
    ids, positions = _parse_strictly(text, joints)
    assert fast[0] == ids
    assert fast[1].shape == positions.shape
    assert fast[1].tobytes() == positions.tobytes()


def test_frames_without_any_body(skeleton_text: Writer) -> None:
    ids, positions = parse_bodies(skeleton_text([[], []]), 2)
    assert ids == [[], []]
    assert positions.shape == (0, 2, 3)


@pytest.mark.parametrize("line", ["0", "0 ", "0\r", "é"])
def test_memory_is_at_most_ten_times_the_text(line: str) -> None:
    _parse_fast("1\n0\n", 2)  # compiled before
    text = "5\n" + f"{line}\n" * 2**19
    tracemalloc.start()
    with pytest.raises(SkeletonFileError, match=r"line (2|7): expected"):
        parse_bodies(text, 25)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * len(text)


def with_line(number: int, line: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines[: number - 1], line, *lines[number:]]


def without_line(number: int) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines[: number - 1], *lines[number:]]


@pytest.mark.parametrize(
    ("change", "line", "expected", "seen"),
    [
        (lambda lines: [], 1, "the number of frames", "''"),
        (with_line(1, "three"), 1, "the number of frames", "'three'"),
        (with_line(1, "0"), 1, "at least one frame", "'0'"),
        (with_line(1, "2"), 8, "the end of the file after 2 frames", "'2'"),
        (with_line(1, "4"), 17, "the number of bodies of frame 4 of 4", "the end of the file"),
        (with_line(1, "9" * 30), 1, "at most 1048576 frames", "'999"),
        (with_line(8, "-1"), 8, "the number of bodies of frame 3 of 3", "'-1'"),
        (with_line(8, "9" * 30), 17, "the 10 numbers of body 3 of", "the end of the file"),
        (
            with_line(3, HEADER[:-2]),
            3,
            "the 10 numbers of body 1 of 1 in frame 1",
            f"9 fields in '{HEADER[:-2]}'",
        ),
        (with_line(3, HEADER.replace("0.05", "x")), 3, "the 10 numbers", "x 2'"),
        (with_line(3, "7.2e16" + HEADER[1:]), 3, "a whole number as the id of body 1", "7.2e16"),
        (with_line(4, "3"), 4, "2 joints of body 1 of 1 in frame 1 of 3", "'3'"),
        (with_line(4, ""), 4, "the number of joints of body 1", "''"),
        (with_line(6, JOINT[:-2]), 6, "the 12 numbers of joint 2 of 2", f"11 fields in '{JOINT[:-2]}'"),
        (with_line(6, JOINT + " 5"), 6, "the 12 numbers of joint 2 of 2", "13 fields in"),
        (with_line(6, "0 y" + JOINT[3:]), 6, "the 12 numbers of joint 2 of 2", "'0 y"),
        (with_line(6, JOINT[:-1] + "z"), 6, "the 12 numbers of joint 2 of 2", "z'"),
        (with_line(6, "0 inf" + JOINT[3:]), 6, "finite x, y, z of joint 2 of 2", "'0 inf"),
        (with_line(6, "0 1e39" + JOINT[3:]), 6, "finite x, y, z of joint 2 of 2", "'0 1e39"),
        (without_line(6), 6, "the 12 numbers of joint 2 of 2 of body 1 of 1", "1 fields in '0'"),
        (
            lambda lines: lines[:11],
            12,
            "the 12 numbers of joint 2 of 2 of body 1 of 2",
            "the end of the file",
        ),
        (lambda lines: [*lines, "more"], 17, "the end of the file after 3 frames", "'more'"),
        # A short line and a long one: the total is right, both lines are not.
        (
            lambda lines: with_line(6, JOINT + " 1")(with_line(5, JOINT[:-2])(lines)),
            *(5, "the 12 numbers of joint 1 of 2", "11 fields in"),
        ),
    ],
)
def test_the_first_faulty_line_is_named(
    skeleton_text: Writer, change: Callable[[list[str]], list[str]], line: int, expected: str, seen: str
) -> None:
    text = "\n".join(change(skeleton_text(FRAMES).split("\n")[:-1])) + "\n"
    with pytest.raises(SkeletonFileError) as caught:
        parse_bodies(text, 2)
    assert caught.value.line == line
    assert re.search(re.escape(expected), caught.value.expected)
    assert re.search(re.escape(seen), caught.value.seen)
    assert len(caught.value.seen) < 100
