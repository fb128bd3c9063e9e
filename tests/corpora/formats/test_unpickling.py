import contextlib
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmar_pipeline.corpora.formats.unpickling import load_pickle
from llmar_pipeline.errors import UserError

DATA = {
    "half": np.arange(6, dtype=np.float16).reshape(2, 3),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "every other": np.arange(10)[::2],
    "big endian": np.arange(3, dtype=">f4"),
    "empty": np.zeros((0, 3), np.uint8),
    "single": np.array(3.0, np.float32),
    "text": np.array(["ö", "wave"]),
    "truth": np.array([True, False]),
    "large": np.arange(100_000, dtype=np.float32),
    "numpy integer": np.int64(-3),
    "numpy float": np.float16(1.5),
    "bytes": b"\x00\xff",
    "no bytes": b"",
    "set": {1, "a"},
    "frozen": frozenset({2}),
    "tuple": (1, (2, 3, 4, 5), ()),
    "list": [None, True, False, 0.1, "ö", -1, 70_000, 2**40],
    7: "seven",
}


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def written(folder: Path, content: bytes) -> Path:
    path = folder / "x.pkl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("old_names", [False, True], ids=["numpy 2", "numpy 1"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_data_come_back(tmp_path: Path, protocol: int, old_names: bool) -> None:
    class Pickler(pickle._Pickler):
        def save_str(self, text: str) -> None:
            super().save_str(text.replace("numpy._core", "numpy.core"))  # type: ignore[misc]

        dispatch: ClassVar[Any] = pickle._Pickler.dispatch | {str: save_str}

    path = tmp_path / "x.pkl"
    content = pickle.dumps(DATA, protocol)
    if old_names and protocol < 4:
        content = content.replace(b"numpy._core.", b"numpy.core.")
        assert b"cnumpy.core.multiarray\n" in content
    elif old_names:
        with path.open("wb") as file:
            Pickler(file, protocol).dump(DATA)
        content = path.read_bytes()
        assert b"numpy.core." in content
        assert b"numpy._core." not in content
    path.write_bytes(content)
    loaded = load_pickle(path)
    assert list(loaded) == list(DATA)
    for key, value in DATA.items():
        if isinstance(value, np.ndarray):
            # numpy turns bytes into the machine's own order while it unpickles.
            assert loaded[key].dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
            np.testing.assert_array_equal(loaded[key], value, err_msg=str(key))
        else:
            assert loaded[key] == value


class Objects:
    """Any class of a user's."""


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (Call(os.system, "touch ran"), "'posix.system'"),
        (Call(eval, "open('ran', 'w')"), "builtin[^']*.eval"),
        (Call(exec, "open('ran', 'w')"), "builtin[^']*.exec"),
        (Call(getattr, 1, "real"), "builtin[^']*.getattr"),
        (Call(bytearray, 10), "builtin[^']*.bytearray"),
        (np.array([Call(os.system, "touch ran")], dtype=object), "posix.system|dtype 'O8'"),
        (np.array([None]), "dtype 'O8'"),
        (np.array(["a"], object), r"dtype 'O8'; names are written as str\(name\)"),
        (np.array([b"a"]), "dtype 'S1'"),
        (np.zeros(2, [("a", "f4")]), "dtype 'V4'"),
        (np.zeros(2, np.complex64), "dtype 'c8'"),
        (np.ma.zeros(2), "numpy.ma"),
        (np.array([2], "M8[s]"), "dtype 'M8'"),
        (Objects, "test_unpickling.Objects"),
        (Objects(), "copyreg?_reg|Objects|__newobj__|an unknown instruction|KeyError"),
        (np.load, "'numpy.load'"),
        (2**80, "8 bytes"),
        ({((1, 2), 3): 4}, "another one"),
    ],
)
def test_everything_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, seen: str, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=seen) as caught:
        load_pickle(written(tmp_path, pickle.dumps({"split": {}, "annotations": [content]}, protocol)))
    assert "x.pkl: expected" in caught.value.message
    assert "\n" not in caught.value.message
    assert not (tmp_path / "ran").exists()


DTYPE = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R"  # numpy.dtype("f4") as a pickle says it
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
TOUCH = b"X\x08\x00\x00\x00touch ranR"


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(X\x09\x00\x00\x00touch rantR.",
        b"(cos\nsystem\nX\x09\x00\x00\x00touch rano.",
        b"(X\x09\x00\x00\x00touch ranios\nsystem\n.",
        b"cbuiltins\nset.__class__\n.",
        b"\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
        b"cnumpy\ndtype\n}X\x0b\x00\x00\x00__setstate__K\x01sb.",  # new attributes for the function itself
        b"cnumpy\ndtype\nN}X\x05\x00\x00\x00dtypeK\x01s\x86b.",
        ARRAY + b"}b.",
        ARRAY + b"(K\x01J\xff\xff\xff\x7f\x85" + DTYPE + b"\x89C\x00tb.",  # 2^31 numbers out of nothing
        ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + DTYPE + b"\x89C\x00tb.",
        ARRAY + b"(K\x01)" + DTYPE + b"\x89X\x04\x00\x00\x00abcdtb.",
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85C\x01b\x87R.",
        b"cnumpy.core.numeric\n_frombuffer\n(C\x04abcd"
        + DTYPE
        + b"J\xff\xff\xff\x7f\x85X\x01\x00\x00\x00CtR.",
        b"cnumpy.core.multiarray\nscalar\n" + DTYPE + b"C\x01a\x86R.",
        b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R.",
        b"c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.",
        b"]K\x01K\x02s.",  # an item of a list
        b"P1\n.",
        b"\x82\x01.",
        b"\x80\x09.",
        b"K\x01",
        b".",
        b"h\x07.",
        b"",
        b"not a pickle",
    ],
)
def test_hand_made_programs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"x\.pkl: expected .*, saw "):
        load_pickle(written(tmp_path, program))
    assert os.listdir(tmp_path) == ["x.pkl"]


BOMBS = {
    "memo": b"K\x01r\xff\xff\xff\xff.",  # the compiled unpickler takes 64 GiB for this
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"K\x01.",
    "bytes": b"\x8e" + struct.pack("<Q", 2**40) + b"abc.",
    "bytearray": b"\x96" + struct.pack("<Q", 2**34) + b"abc.",
    "text": b"\x8d" + struct.pack("<Q", 2**40) + b"abc.",
    "hash": b"K\x01" + b"2\x86" * 200 + b".",
    "nested keys": b"}K\x01" + b"q\x00h\x00\x86" * 200 + b"K\x01s.",
    "deep": b"}" + b"]" + b"\x85" * 500_000 + b"K\x01s.",
}


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux alone tells its peak this way")
def test_claims_take_no_memory_and_no_time(tmp_path: Path) -> None:
    for name, program in BOMBS.items():
        (tmp_path / name).write_bytes(program)
    script = (
        "import sys; from pathlib import Path\n"
        "from llmar_pipeline.corpora.formats.unpickling import load_pickle\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try: load_pickle(path)\n"
        "    except Exception as error: assert type(error).__name__ == 'UserError', error\n"
        # Not getrusage: its peak starts at that of the process that made this one.
        "    status = Path('/proc/self/status').read_text()\n"
        "    print(path.name, status.split('VmHWM:')[1].split()[0])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    peaks = {name: int(peak) for name, peak in (line.rsplit(" ", 1) for line in run.stdout.splitlines())}
    assert list(peaks) == sorted(BOMBS)
    assert max(peaks.values()) < 400 * 1024, peaks  # KiB, with Python and numpy themselves


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_a_clear_error_or_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(pickle.dumps(DATA | {"large": None}, data.draw(st.sampled_from([2, 3, 4, 5]))))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with contextlib.suppress(UserError):
        load_pickle(written(tmp_path_factory.getbasetemp(), bytes(content)))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pkl: expected a readable file, saw No such file"):
        load_pickle(tmp_path / "none.pkl")
