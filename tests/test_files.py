import errno
import hashlib
import json
import logging
import os
from pathlib import Path

import pytest

from llmar_pipeline import files
from llmar_pipeline.errors import UserError
from llmar_pipeline.files import (
    FINGERPRINT,
    claim,
    differences,
    folder_aside,
    set_aside,
    whole_file,
    write_json,
)


def fill(folder: Path, fingerprint: dict, name: str = "weights") -> None:
    claim(folder, fingerprint, "checkpoints")
    (folder / name).write_text(json.dumps(fingerprint))


def test_what_was_made_from_the_same_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path / "kept", {"data": "a", "sizes": (1, 2)})
    with caplog.at_level(logging.WARNING):
        assert claim(tmp_path / "kept", {"data": "a", "sizes": [1, 2]}, "checkpoints")
    assert (tmp_path / "kept" / "weights").exists()
    assert caplog.text == ""


def test_what_was_made_from_something_else_is_set_aside_and_said(tmp_path, caplog):
    kept = tmp_path / "kept"
    fill(kept, {"data": "a", "model": {"width": 1, "depth": 2}})
    with caplog.at_level(logging.WARNING):
        assert not claim(kept, {"data": "a", "model": {"width": 3, "depth": 2}}, "checkpoints")
    assert "checkpoints: model.width changed from 1 to 3; set aside as " in caplog.text
    assert [path.name for path in kept.iterdir()] == [FINGERPRINT]
    assert json.loads((tmp_path / "kept.before-1" / "weights").read_text())["model"]["width"] == 1


def test_only_the_newest_that_was_set_aside_is_kept(tmp_path: Path) -> None:
    for width in range(4):
        fill(tmp_path / "kept", {"width": width})
    (tmp_path / "kept.before-x").mkdir()  # somebody else's
    fill(tmp_path / "kept", {"width": 9})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "kept.before-4", "kept.before-x"]
    assert json.loads((tmp_path / "kept.before-4" / "weights").read_text()) == {"width": 3}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"code": 3}', '{"code": {"a": 1}}', None])
def test_a_folder_that_does_not_say_what_it_was_made_from_does_not_count(tmp_path, damage, caplog):
    kept = tmp_path / "kept"
    fill(kept, {"a": 1})
    if damage is None:
        (kept / FINGERPRINT).unlink()
    else:
        (kept / FINGERPRINT).write_text(damage)
    assert not claim(kept, {"a": 1}, "checkpoints")
    assert not (kept / "weights").exists()
    assert (tmp_path / "kept.before-1" / "weights").exists()
    assert "of unknown origin" in caplog.text


def test_an_empty_folder_is_simply_taken(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    assert not claim(tmp_path / "kept", {"a": 1}, "checkpoints")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("killed_at", ["rename", "rmtree", "replace"])
def test_a_kill_at_any_moment_never_leaves_results_beside_another_fingerprint(
    tmp_path, monkeypatch, killed_at
):
    kept = tmp_path / "kept"
    fill(kept, {"a": 0})
    fill(kept, {"a": 1})  # so that something earlier has to be removed

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.shutil if killed_at == "rmtree" else os, killed_at, killed)
        with pytest.raises(KeyboardInterrupt):
            claim(kept, {"a": 2}, "checkpoints")
    assert not claim(kept, {"a": 2}, "checkpoints")
    assert not (kept / "weights").exists()


def test_differences_name_keys_and_values_and_of_code_the_modules() -> None:
    old = {
        "data": "f" * 64,
        "clips": list(range(100)),
        "code": {"vqvae.losses": ["1", "2"], "vqvae.model": ["3"]},
    }
    new = {
        "data": "0" * 64,
        "clips": list(range(99)),
        "code": {"vqvae.losses": ["1", "4"], "model": ["3"]},
        "b": 1,
    }
    assert differences(old, new) == [
        "data changed from ffffffff... to 00000000...",
        "clips changed from a list of 100 to a list of 99",
        "the code of vqvae/losses.py changed",
        "b changed from nothing to 1",
    ]
    assert differences(old, old | {"code": {"losses": ["1", "2"], "model": ["3"]}}) == []  # only moved
    assert differences({}, {"code": {"a": ["1"]}}) == ["the code that made it was not recorded"]


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "numbers.json"
    write_json(file, {"a": 1})

    def interrupted() -> None:
        with whole_file(file) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert json.loads(file.read_text()) == {"a": 1}
    assert [path.name for path in file.parent.iterdir()] == ["numbers.json"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("4096 requested and 0 written"),  # NumPy
        RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
        RuntimeError("basic_ios::clear: iostream error"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_with_the_file_and_what_is_free(tmp_path, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"^cannot write .*/a.json: .* more, [\d,]+ bytes are free;.*$"):
        write_json(tmp_path / "a.json", {})
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # all else stays what it is
        write_json(tmp_path / "a.json", {})


def test_parts_of_a_folder_find_an_empty_place(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    first = folder_aside(store)
    (first / "shard").touch()
    second = folder_aside(store)
    assert (first.name, second.name) == ("store.before-1", "store.before-2")
    assert not first.exists()
    assert list(second.iterdir()) == []
    file = tmp_path / "model.bin"
    file.touch()
    assert set_aside(file).name == "model.bin.before-1"


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A file that counts as large, and the names of those that were read."""
    read = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "_LARGE", 4)
    digest = files._digest
    monkeypatch.setattr(files, "_digest", lambda path: read.append(path.name) or digest(path))
    (tmp_path / "weights").write_bytes(b"weights")
    return tmp_path / "weights", read


def checksum_of_another_process(file):
    files._file_checksum.cache_clear()
    return files.file_checksum(file)


def test_a_large_file_is_read_once_on_a_machine(large):
    file, read = large
    seen = {checksum_of_another_process(file) for _ in range(3)}
    assert seen == {hashlib.sha256(b"weights").hexdigest()}
    assert read == ["weights"]


@pytest.mark.parametrize("keeps_its_time", [False, True])
def test_another_content_is_noticed_whatever_its_size_and_time(large, keeps_its_time):
    file, read = large
    before, stat = checksum_of_another_process(file), file.stat()
    file.write_bytes(b"WEIGHTS")
    if keeps_its_time:
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert checksum_of_another_process(file) != before
    assert read == ["weights"] * 2


@pytest.mark.parametrize("content", ["", "[]", '{"x": 1}', "not JSON"])
def test_a_damaged_list_of_checksums_is_written_anew(large, content):
    file, read = large
    place = file.parent / "cache" / "llmar-pipeline" / "checksums.json"
    place.parent.mkdir(parents=True)
    place.write_text(content)
    for _ in range(2):
        checksum_of_another_process(file)
    assert read == ["weights"]


def test_a_small_file_and_a_cache_that_cannot_be_written_are_read_each_time(large):
    file, read = large
    (file.parent / "cache").write_text("in the way")
    (file.parent / "tiny").write_bytes(b"x")
    for _ in range(2):
        checksum_of_another_process(file)
        checksum_of_another_process(file.parent / "tiny")
    assert read == ["weights", "tiny"] * 2


def test_links_are_replaced_never_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    for name in ("a.json", f"a.json.{os.getpid()}.partial"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    write_json(tmp_path / "a.json", 1)
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "a.json").read_text() == "1\n"
