import contextlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmar_pipeline.corpora.formats.keypoint_files import LARGEST, LARGEST_TEXT, read_keypoints
from llmar_pipeline.corpora.own.clip_table import read_table
from llmar_pipeline.skeletons.sequence import SkeletonFileError
from llmar_pipeline.skeletons.topology import Topology

STICK = Topology("stick", ("head", "left", "right"), (-1, 0, 0), (0, 2, 1), 0, (1, 2), (1, 2), coordinates=2)
KEYPOINTS = np.arange(2 * 4 * 3 * 2, dtype=np.float64).reshape(2, 4, 3, 2) / 8  # exact in text
SCORES = np.linspace(0.25, 1.0, 24).reshape(2, 4, 3).round(3)


def with_gaps() -> tuple[np.ndarray, np.ndarray]:
    keypoints, scores = KEYPOINTS.copy(), SCORES.copy()
    keypoints[0, 2, 1] = np.nan
    keypoints[1, 3] = np.nan
    scores[1, 3] = 0
    scores[0, 0, 0] = 0
    return keypoints, scores


def test_the_same_clip_in_three_forms(tmp_path: Path) -> None:
    keypoints, scores = with_gaps()
    np.savez(tmp_path / "plain.npz", keypoints=keypoints, scores=scores)
    np.savez_compressed(
        tmp_path / "small.npz", keypoints=np.asfortranarray(keypoints), scores=scores, other=np.array(["x"])
    )
    nested = json.loads(json.dumps(keypoints.tolist()).replace("NaN", "null"))
    (tmp_path / "clip.json").write_text(
        json.dumps({"keypoints": nested, "scores": scores.tolist(), "fps": 30})
    )
    rows = ["score, person,frame,joint,x,y"]
    for person, word in enumerate(("anna", "ben")):
        for frame in range(4):
            for joint, name in enumerate(STICK.joints):
                if (person, frame) == (1, 3):
                    continue  # not in the file at all
                x, y = ("" if np.isnan(value) else value for value in keypoints[person, frame, joint])
                rows.append(f"{scores[person, frame, joint]},{word},{frame + 17},{name},{x},{y}")
    (tmp_path / "words.csv").write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join([rows[0], *rows[:0:-1], "", ""]).encode()
    )
    numbers = "\n".join(rows)
    for joint, name in enumerate(STICK.joints):
        numbers = numbers.replace(name, str(joint))
    (tmp_path / "numbers.csv").write_text(numbers.replace("anna", "7").replace("ben", "12"))
    files = ("plain.npz", "small.npz", "clip.json", "words.csv", "numbers.csv")
    for file in files:
        read, read_scores = read_keypoints(tmp_path / file, STICK)
        np.testing.assert_array_equal(read, keypoints, err_msg=file)
        assert read_scores is not None
        np.testing.assert_array_equal(read_scores, scores, err_msg=file)


def test_one_person_without_scores(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", keypoints=np.ones((4, 3, 2), np.int32))
    (tmp_path / "a.json").write_text(json.dumps({"keypoints": np.ones((4, 3, 2)).tolist()}))
    (tmp_path / "a.csv").write_text("frame,joint,x,y\n3,head,1,1\n4,2,1,1\n".replace("head", "0"))
    for file in ("a.npz", "a.json"):
        keypoints, scores = read_keypoints(tmp_path / file, STICK)
        np.testing.assert_array_equal(keypoints, np.ones((4, 3, 2)))
        assert scores is None
    keypoints, scores = read_keypoints(tmp_path / "a.csv", STICK)
    nan = np.nan
    expected = [[[[1, 1], [nan, nan], [nan, nan]], [[nan, nan], [nan, nan], [1, 1]]]]
    np.testing.assert_array_equal(keypoints, expected)
    assert scores is None


HEAD = "frame,joint,x,y\n"


@pytest.mark.parametrize(
    ("content", "line", "expected", "seen"),
    [
        ("", None, "keypoints", "an empty file"),
        (
            "frame,joint,x\n0,0,1\n",
            1,
            "the columns frame, joint, x, y, and if need be person",
            "frame, joint, x",
        ),
        ("frame;joint;x;y\n0;0;1;2\n", 1, "the columns", "frame;joint;x;y"),
        ("frame,joint,x,y,z\n0,0,1,1,1\n", 1, "the columns", "frame, joint, x, y, z"),
        ("frame,joint,x,x\n0,0,1,1\n", 1, "different names", "frame, joint, x, x"),
        (HEAD, 2, "a row for each joint", "none"),
        (HEAD + "0,0,1,1\n0,1,1\n", 3, "4 fields, as in line 1", "3"),
        (HEAD + "0,0,1,1,1\n", 2, "4 fields, as in line 1", "5"),
        (HEAD + "0,0,1,1\n\n0.5,0,1,1\n", 4, "the number of a frame", "'0.5'"),
        (HEAD + "0,0,1,1\n,0,1,1\n", 3, "the number of a frame", "''"),
        (HEAD + "0,0,1,1\n0,3,1,1\n", 3, "a joint of stick, by number from 0 to 2 or by name", "'3'"),
        (HEAD + "0,head,1,1\n0,tail,1,1\n", 3, "a joint of stick", "'tail'"),
        (HEAD + "0,0,1,1\n0,1,1,one\n", 3, "y as a number, or nothing", "'one'"),
        (HEAD + "0,0,1,1\n0,1,1,1\n0,0,2,2\n", 4, "one row for each person, frame and joint", "a second one"),
        (HEAD + "0,0,1,1\n999999999999999,0,1,1\n", None, f"at most {LARGEST} bytes", "frames, joints"),
        (
            HEAD.replace(",", ";") + "0;0;1,5;2,5\n",
            1,
            "set apart by commas",
            "semicolons: save it with commas",
        ),
        (HEAD.replace(",", "\t") + "0\t0\t1\t2\n", 1, "the columns", "tabs: save it with commas"),
        (HEAD + "0,0,1,5,2,5\n", 2, "4 fields", "a comma within a number?"),
        (HEAD + '0,0,"1,5",1\n', 2, "x as a number with a decimal point", "'1,5'"),
        (HEAD + "0,0,1,1\n0,1,1,1\n0,hed,1,1\n", 4, "by number from 0 to 2", "'hed'"),
        (HEAD + "0,head,1,1\n0,hed,1,1\n", 3, "out of head, left, right", "'hed'"),
        (HEAD + "0,0,1,1\n40000,0,1,1\n", None, "frames counted one by one", "(1, 40001, 3) in 2 rows"),
        (HEAD + '0,"0,1,1\n', 2, "a csv table", "unexpected end of data"),
    ],
)
def test_damaged_csv(tmp_path: Path, content: str, line: int | None, expected: str, seen: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(SkeletonFileError) as caught:
        read_keypoints(tmp_path / "a.csv", STICK)
    assert caught.value.line == line
    assert expected in caught.value.expected
    assert seen in caught.value.seen


@pytest.mark.parametrize(
    ("content", "line", "seen"),
    [
        ('{"keypoints":\n[,]}', 2, "Expecting value"),
        ("[]", None, "list"),
        ('{"keypoints": [[[1, 2], [3, 4]], [[1, 2]]]}', None, "1"),
        ('{"keypoints": [[[1, 2], [3, true]]]}', None, "a bool"),
        ('{"keypoints": [[[1, 2], 3]]}', None, "a int"),
        ("{}", None, "the keys []"),
        ('{"keypoints": [[[1, 2], [3]]]}', None, "1"),
        ('{"keypoints": {"a": 1}}', None, "a dict"),
        ('{"keypoints": "nose"}', None, "a str"),
        ('{"keypoints": [1' + "0" * 400 + "]}", None, "a number of hundreds of digits"),
        ('{"keypoints": ' + "[" * 100_000, None, "maximum recursion depth"),
    ],
)
def test_damaged_json(tmp_path: Path, content: str, line: int | None, seen: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(SkeletonFileError) as caught:
        read_keypoints(tmp_path / "a.json", STICK)
    assert caught.value.line == line
    assert seen in caught.value.seen


def test_what_json_says_has_its_place(tmp_path: Path) -> None:
    for change, place in (
        (lambda frames: frames[2].pop(), "frame 2 (counted"),
        (lambda frames: frames[1][2].append(0.5), "frame 1, joint 2 (counted"),
        (lambda frames: frames[0][1].__setitem__(1, "x"), "frame 0, joint 1, coordinate 1 (counted"),
    ):
        frames = np.ones((4, 3, 2)).tolist()
        change(frames)
        (tmp_path / "a.json").write_text(json.dumps({"keypoints": frames}))
        with pytest.raises(SkeletonFileError) as caught:
            read_keypoints(tmp_path / "a.json", STICK)
        assert place in caught.value.expected


def test_null_stands_for_a_joint_a_frame_or_a_person(tmp_path: Path) -> None:
    expected = np.arange(2 * 4 * 3 * 2, dtype=np.float64).reshape(2, 4, 3, 2)
    persons = expected.tolist()
    persons[0][0] = [None, None, None]
    persons[0][1][2] = persons[1][3] = None
    expected[0, 0] = expected[0, 1, 2] = expected[1, 3] = np.nan
    (tmp_path / "a.json").write_text(json.dumps({"keypoints": persons}))
    np.testing.assert_array_equal(read_keypoints(tmp_path / "a.json", STICK)[0], expected)


def test_joint_names_may_be_spelt_in_other_ways(tmp_path: Path) -> None:
    joints = Topology(
        "t", ("left eye", "Right-Eye", "a b", "ab"), (-1, 0, 0, 0), (0, 1, 2, 3), 0, (0, 1), (0, 1), 2
    )
    rows = ["0,LEFT_EYE,1,1", "0,right eye,2,2", "0,a b,3,3", "0,ab,4,4"]
    (tmp_path / "a.CSV").write_text(HEAD + "\n".join(rows))
    assert read_keypoints(tmp_path / "a.CSV", joints)[0][0, 0, :, 0].tolist() == [1, 2, 3, 4]
    (tmp_path / "a.csv").write_text(HEAD + "0,A_B,1,1")  # either
    with pytest.raises(SkeletonFileError, match="out of left eye, Right-Eye, a b, ab, saw 'A_B'"):
        read_keypoints(tmp_path / "a.csv", joints)


def header(shape: str, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (header("(1, 2, 3, 2)") + bytes(95), "95 bytes"),
        (header("(1, 2, 3, 2)") + bytes(97), "97 bytes"),
        (header("(10000000, 10000000, 3, 2)") + bytes(96), "96 bytes"),
        (header("(-1,)") + bytes(96), "96 bytes"),
        (header("(0, -1)"), "ValueError"),
        (header("(2,)", "'|O'") + b"cos\nsystem\n(X\x08\x00\x00\x00touch rantR.", "dtype object"),
        (header("(2,)", "[('a', '<f8')]") + bytes(16), "dtype [('a', '<f8')]"),
        (header("(2,)", "'<U4'") + bytes(32), "dtype <U4"),
        (header("(2,)", "__import__('os').system('touch ran')"), "ValueError"),
        (header("(" * 500), "TokenError"),
        (b"\x93NUMPY\x07\x00", "KeyError"),
        (b"nothing", "ValueError"),
        (b"", "ValueError"),
    ],
)
def test_damaged_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, seen: str) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("keypoints.npy", content)
    with pytest.raises(SkeletonFileError) as caught:
        read_keypoints(Path("a.npz"), STICK)
    assert seen in caught.value.seen
    assert "\n" not in caught.value.message
    assert not Path("ran").exists()


def test_damaged_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, joints=np.ones(3))
    with pytest.raises(
        SkeletonFileError, match=r"an array named keypoints, saw the entries \['joints.npy'\]"
    ):
        read_keypoints(path, STICK)
    np.savez_compressed(path, keypoints=np.random.default_rng(0).normal(size=(1, 9, 3, 2)))
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises((SkeletonFileError, OSError)):
            read_keypoints(path, STICK)
    for place in range(0, len(content), 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        with contextlib.suppress(SkeletonFileError, OSError):
            read_keypoints(path, STICK)


def test_what_is_too_large_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("keypoints.npy", "w") as file,
    ):
        file.write(header(f"({LARGEST // 8},)"))
        for _ in range(LARGEST // 2**20 + 1):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**18
    with pytest.raises(SkeletonFileError, match=f"at most {LARGEST} bytes"):
        read_keypoints(path, STICK)
    for form in ("csv", "json"):
        with (tmp_path / f"a.{form}").open("wb") as file:
            file.truncate(LARGEST_TEXT + 1)  # takes no room on the disk
        with pytest.raises(SkeletonFileError, match=f"at most {LARGEST_TEXT} bytes"):
            read_keypoints(tmp_path / f"a.{form}", STICK)


def test_a_table_counts_its_lines_as_an_editor_does() -> None:
    table = read_table('a, b\r\n1 ,2\r\n\r\n"x, y",""\r\n,\r\n')
    assert list(table.columns) == ["a", "b"]
    assert table.to_dict("index") == {2: {"a": "1", "b": "2"}, 4: {"a": "x, y", "b": ""}}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_is_a_clear_error_or_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    form = data.draw(st.sampled_from(["csv", "json"]))
    good = {
        "csv": b"frame,person,joint,x,y,score\n"
        + b"".join(b"%d,1,%d,0.5,-1e3,1\n" % divmod(i, 3) for i in range(9)),
        "json": json.dumps({"keypoints": KEYPOINTS[0].tolist(), "scores": SCORES[0].tolist()}).encode(),
    }
    content = bytearray(good[form])
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    path = tmp_path_factory.getbasetemp() / f"a.{form}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(SkeletonFileError, UnicodeDecodeError):  # the corpus names the latter's line
        keypoints, _ = read_keypoints(path, STICK)
        assert keypoints.dtype == np.float64
