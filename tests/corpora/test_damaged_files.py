"""Damage of every kind, in every format: each file ends as a sequence or as a quarantine row."""

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_recordings import VALID, put

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Damaged, Sequence

_MEMORY = 64 * 2**20  # bytes; the files below have some kilobytes


TOKENS = [
    b"",
    b"nan",
    b"NaN",
    b"inf",
    b"-Infinity",
    b"1e999",
    b"1e39",
    b"-1",
    b"0",
    b"99999999999999999999",
    b"1.5",
    b"x",
    b"null",
    b"[]",
    b"{}",
    b"\xff\xfe",
    b"\0",
    "\u0663".encode(),
    b"0x10",
    b"1_000",
    b'"',
]

Damage = Callable[[st.DataObject, bytes], bytes]


def truncate(data: st.DataObject, content: bytes) -> bytes:
    return content[: data.draw(st.integers(0, len(content)))]


def cut_a_line(data: st.DataObject, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    return b"".join(lines[:at] + lines[at + 1 :])


def repeat_a_line(data: st.DataObject, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    return b"".join(lines[: at + 1] + lines[at:])


def replace_a_token(data: st.DataObject, content: bytes) -> bytes:
    for separator in (b",", b" "):
        tokens = content.split(separator)
        if len(tokens) > 1:
            at = data.draw(st.integers(0, len(tokens) - 1))
            tokens[at] = data.draw(st.sampled_from(TOKENS))
            return separator.join(tokens)
    return content


def replace_a_line(data: st.DataObject, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = data.draw(st.sampled_from(TOKENS)) + b"\n"
    return b"".join(lines)


def overwrite_bytes(data: st.DataObject, content: bytes) -> bytes:
    at = data.draw(st.integers(0, len(content)))
    new = data.draw(st.binary(min_size=1, max_size=8))
    return content[:at] + new + content[at + len(new) :]


def append(data: st.DataObject, content: bytes) -> bytes:
    return content + data.draw(st.sampled_from(TOKENS)) + data.draw(st.binary(max_size=8))


def anything(data: st.DataObject, content: bytes) -> bytes:
    return data.draw(st.binary(max_size=200))


DAMAGES: list[Damage] = [
    truncate,
    cut_a_line,
    repeat_a_line,
    replace_a_token,
    replace_a_line,
    overwrite_bytes,
    append,
    anything,
]


@pytest.mark.parametrize("kind", VALID)
def test_the_undamaged_file_is_read(kind: str, tmp_path: Path) -> None:
    corpus = put(tmp_path, kind, VALID[kind][2])
    assert [type(item) for item in CORPORA[corpus].read(tmp_path)] == [Sequence]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", VALID)
@settings(max_examples=60, deadline=60_000)
@given(data=st.data())
def test_damage_ends_as_a_quarantine_row(
    tmp_path_factory: pytest.TempPathFactory, kind: str, damage: Damage, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged", numbered=True)
    corpus = put(folder, kind, damage(data, VALID[kind][2]))
    tracemalloc.start()
    (item,) = CORPORA[corpus].read(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < _MEMORY
    if isinstance(item, Damaged):
        assert item.expected
        assert item.seen
        assert "\n" not in item.expected + item.seen
        assert len(item.seen) < 300
    else:
        assert np.isfinite(item.data[~np.isnan(item.data)]).all()
        assert not np.isnan(item.data).all()


@pytest.mark.parametrize("kind", [kind for kind in VALID if not kind.startswith("custom")])
def test_foreign_files_beside_the_recordings_do_no_harm(kind: str, tmp_path: Path) -> None:
    corpus = put(tmp_path, kind, VALID[kind][2])
    suffix = CORPORA[corpus].suffix
    (tmp_path / f"notes{suffix}").write_text("what a day")
    (tmp_path / f"{'x' * 200}{suffix}").write_bytes(b"")
    (tmp_path / f"folder{suffix}").mkdir()
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / f".hidden{suffix}").write_bytes(b"\0")
    items = list(CORPORA[corpus].read(tmp_path))
    assert sorted(type(item).__name__ for item in items) == ["Damaged", "Damaged", "Damaged", "Sequence"]


class _Malice:
    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit('ran')",))


@pytest.mark.parametrize("name", ["ntu60", "custom"])
def test_a_malicious_pickle_is_refused(name: str, tmp_path: Path) -> None:
    annotations = [{"frame_dir": "S001C001P001R001A001", "label": 0, "keypoint": _Malice()}]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"split": {}, "annotations": annotations}))
    (tmp_path / "corpus.yml").write_text("layout: ntu25\nunits: metres\npickle: x.pkl\nclasses: [a]\n")
    with pytest.raises(UserError, match=r"x\.pkl: expected .*, saw .builtins.exec"):
        CORPORA[name].read(tmp_path)
