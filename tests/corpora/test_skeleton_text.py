import re
from collections.abc import Callable

import numpy as np
import pytest

from llmar_pipeline.corpora.skeleton_text import parse_bodies
from llmar_pipeline.skeletons.sequence import SkeletonFileError

JOINTS = np.array([[0.25, -1.5, 3], [1e-3, 0, 2.5]], np.float32)
# Frames of 1, 0 and 2 bodies of two joints; the ids are one number as float64.
FRAMES = [
    [("72057594037931101", JOINTS)],
    [],
    [("72057594037931101", JOINTS + 1), ("72057594037931102", JOINTS + 2)],
]
# Lines: 1 frames, 2 bodies, 3 header, 4 joints, 5-6, 7 nobody, 8 bodies, 9, 10, 11-12, 13, 14, 15-16, end

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


def test_frames_without_any_body(skeleton_text: Writer) -> None:
    ids, positions = parse_bodies(skeleton_text([[], []]), 2)
    assert ids == [[], []]
    assert positions.shape == (0, 2, 3)


def with_line(number: int, line: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines[: number - 1], line, *lines[number:]]


def without_line(number: int) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines[: number - 1], *lines[number:]]


HEADER = "7 0 1 1 1 1 0 0.02 0.05 2"
JOINT = "0 0 0 1 1 1 1 0 0 0 0 2"


@pytest.mark.parametrize(
    ("change", "line", "expected", "seen"),
    [
        (lambda lines: [], 1, "the number of frames", "''"),
        (with_line(1, "three"), 1, "the number of frames", "'three'"),
        (with_line(1, "0"), 1, "at least one frame", "'0'"),
        (with_line(1, "2"), 8, "the end of the file after 2 frames", "'2'"),
        (with_line(1, "4"), 17, "the number of bodies of frame 4 of 4", "the end of the file"),
        (with_line(1, "9" * 30), 17, "the number of bodies of frame 4 of", "the end of the file"),
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
