"""A trained model as one file: the same answers elsewhere, and nothing is written but what was packed."""

import hashlib
import io
import json
import os
import shutil
import stat
import zipfile

import numpy as np
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition import packed
from llmar_pipeline.recognition.packed import pack, unpacked
from llmar_pipeline.recognizer import Recognizer
from llmar_pipeline.records import sealed


@pytest.fixture(scope="module")
def file(tiny_recognizer_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    return pack(tiny_recognizer_folder, folder / "model.zip", folder)


def recording():
    return np.random.default_rng(0).normal(size=(1, 12, 25, 3)).astype(np.float32).cumsum(1)


def tree(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_packed_model_answers_as_its_folder(
    file, tiny_recognizer_folder, tiny_llm_folder, tmp_path, monkeypatch
):
    expected = Recognizer.load(tiny_recognizer_folder, cache=tmp_path / "one").predict(recording())
    elsewhere = shutil.copy(file, tmp_path / "copied.zip")
    moved = tiny_llm_folder.rename(tiny_llm_folder.with_name("away"))
    try:
        for _ in range(2):
            assert Recognizer.load(elsewhere, cache=tmp_path / "two").predict(recording()) == expected
    finally:
        moved.rename(tiny_llm_folder)
    assert len(list((tmp_path / "two" / "packed").glob("*/"))) == 1


def test_it_is_unpacked_once_and_again_where_the_cache_was_damaged(file, tmp_path, monkeypatch):
    folder, llm = unpacked(file, tmp_path)
    assert {path.name for path in llm.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    with monkeypatch.context() as patch:
        patch.setattr(packed, "_unpack", lambda *_: pytest.fail("unpacked again"))
        assert unpacked(file, tmp_path) == (folder, llm)
    (folder / "adapter_model.safetensors").write_bytes(b"")
    (llm / "tokenizer.json").unlink()
    assert unpacked(file, tmp_path) == (folder, llm)
    Recognizer.load(file, cache=tmp_path)
    assert not list(tmp_path.rglob("*.partial"))


def test_without_its_language_model_it_is_found_where_it_lies(
    tiny_recognizer_folder, tiny_llm_folder, tmp_path
):
    small = pack(tiny_recognizer_folder, tmp_path / "small.zip", tmp_path, with_llm=False)
    assert not any(name.startswith("llm/") for name in zipfile.ZipFile(small).namelist())
    expected = Recognizer.load(small, cache=tmp_path).predict(recording())
    moved = tiny_llm_folder.rename(tiny_llm_folder.with_name("away"))
    try:
        with pytest.raises(UserError, match=f"saw nothing at {tiny_llm_folder}"):
            Recognizer.load(small, cache=tmp_path)
        assert Recognizer.load(small, llm=str(moved), cache=tmp_path).predict(recording()) == expected
        with pytest.raises(UserError, match="saw nothing at"):
            pack(tiny_recognizer_folder, tmp_path / "whole.zip", tmp_path)
        pack(tiny_recognizer_folder, tmp_path / "whole.zip", tmp_path, llm=str(moved))
    finally:
        moved.rename(tiny_llm_folder)


def test_what_lies_beside_a_model_goes_with_it_and_programs_do_not(tiny_recognizer_folder, tmp_path):
    folder = shutil.copytree(tiny_recognizer_folder, tmp_path / "model")
    enrolled = folder / "added" / "enrolled"
    enrolled.mkdir(parents=True)
    (folder / "added" / "threshold.json").write_text("{}")
    (enrolled / "0123456789abcdef.json").write_text("{}")
    (enrolled / "0123456789abcdef.safetensors").write_bytes(b"")
    for name in ("program.py", ".lock", "weights.partial", "model.pkl"):
        (folder / name).write_bytes(b"")
    (enrolled / ".lock").write_bytes(b"")
    there, _ = unpacked(pack(folder, tmp_path / "model.zip", tmp_path, with_llm=False), tmp_path)
    left = {"program.py", ".lock", "weights.partial", "model.pkl", "added/enrolled/.lock"}
    assert tree(there) == tree(folder) - left
    assert "added/enrolled/0123456789abcdef.safetensors" in tree(there)


def test_the_same_model_makes_the_same_file(file, tiny_recognizer_folder, tmp_path):
    assert pack(tiny_recognizer_folder, tmp_path / "b.zip", tmp_path).read_bytes() == file.read_bytes()


def test_what_cannot_be_packed(file, tiny_recognizer_folder, tmp_path):
    with pytest.raises(UserError, match="saw one that exists"):
        pack(tiny_recognizer_folder, file, tmp_path)
    folder = shutil.copytree(tiny_recognizer_folder, tmp_path / "model")
    (folder / "my notes.txt").write_text("")
    with pytest.raises(UserError, match=r"plain names of files in a model, saw .*my notes\.txt"):
        pack(folder, tmp_path / "model.zip", tmp_path)
    (folder / "my notes.txt").unlink()
    (folder / "language_model.json").write_text("{}")
    with pytest.raises(UserError, match=r"language_model\.json .*was changed"):
        pack(folder, tmp_path / "model.zip", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def written(entries, manifest=None, **settings):
    """A zip file of (name or entry, bytes), with a list of files as `pack` makes one; but for `manifest`."""
    files = {
        getattr(name, "filename", name): {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in entries
    }
    content = {"format": 1, "files": files} if manifest is None else manifest(files)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **settings) as archive:
        archive.writestr(zipfile.ZipInfo("packed.json"), json.dumps(sealed(content)))
        for name, content in entries:
            archive.writestr(name, content)
    return stream.getvalue()


def link(target):
    entry = zipfile.ZipInfo("recognizer/a.json")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry, target.encode()


def only_the_first(files):
    return {"format": 1, "files": dict(list(files.items())[:1])}


def another_checksum(files):
    return {"format": 1, "files": {name: known | {"sha256": "0" * 64} for name, known in files.items()}}


def a_size(number):
    return lambda files: {
        "format": 1,
        "files": {name: known | {"size": number} for name, known in files.items()},
    }


OK = ("recognizer/a.json", b"{}")
ATTACKS = {
    "a path upwards": written([("recognizer/../../a.json", b"{}")]),
    "a path upwards beside the list": written([OK, ("../a.json", b"{}")], only_the_first),
    "an absolute path": written([("/tmp/a.json", b"{}")]),
    "backslashes": written([("recognizer\\..\\a.json", b"{}")]),
    "a hidden file": written([("recognizer/.lock", b"{}")]),
    "another folder": written([("elsewhere/a.json", b"{}")]),
    "a link": written([link("/etc/passwd")]),
    "a link upwards": written([link("../../a.json")]),
    "a name twice": written([OK, OK]),
    "a folder": written([("recognizer/a.json/", b"")]),
    "compressed": written([OK], compression=zipfile.ZIP_DEFLATED),
    "a bomb": written([("recognizer/a.json", bytes(2**24))], compression=zipfile.ZIP_DEFLATED),
    "more than it says": written([OK], a_size(1)),
    "less than it says": written([OK], a_size(2**50)),
    "another content": written([OK], another_checksum),
    "a list of later": written([OK], lambda files: {"format": 2, "files": files}),
    "a list of other things": written([OK], lambda files: {"format": 1, "files": [1]}),
    "no list": b"PK\5\6" + bytes(18),
    "a wheel": written([OK]).replace(b"packed.json", b"package.xml"),
    "an edited list": written([OK]).replace(b'"format": 1', b'"format": 3', 1),
    "no zip": b"weights" * 99,
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_no_packed_model_writes_nothing_and_is_one_line(attack, tmp_path):
    file = tmp_path / "in" / "model.zip"
    file.parent.mkdir()
    file.write_bytes(ATTACKS[attack])
    with pytest.raises(
        UserError, match=r"expected a model as `kedro pack` writes it, saw .*model\.zip"
    ) as caught:
        Recognizer.load(file, cache=tmp_path / "cache")
    assert "\n" not in caught.value.message
    assert tree(tmp_path) <= {"in/model.zip", "cache/packed/.lock"}


def test_every_cut_is_noticed(file, tmp_path):
    content = file.read_bytes()
    for share in (0.01, 0.3, 0.6, 0.9, 0.999):
        (tmp_path / "cut.zip").write_bytes(content[: int(share * len(content))])
        with pytest.raises(UserError, match=r"copy the file again, or pack the model anew"):
            unpacked(tmp_path / "cut.zip", tmp_path / "cache")
    assert tree(tmp_path) <= {"cut.zip", "cache/packed/.lock"}


def test_flipped_bits_are_noticed(file, tmp_path):
    """Or lie where nothing is read: between the entries."""
    rng, content = np.random.default_rng(0), file.read_bytes()
    refused = 0
    for at in rng.integers(len(content), size=40):
        changed = bytearray(content)
        changed[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "flipped.zip").write_bytes(changed)
        try:
            folder, _ = unpacked(tmp_path / "flipped.zip", tmp_path / "cache")
        except UserError:
            refused += 1
            assert tree(tmp_path) <= {"flipped.zip", "cache/packed/.lock"}
        else:
            assert (folder / "language_model.json").is_file()
            shutil.rmtree(tmp_path / "cache")
    assert refused > 30


def test_where_there_is_no_room_nothing_is_begun(file, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"expected room for [\d,]+ bytes in .*, saw 1,000 free"):
        unpacked(file, tmp_path)
    assert tree(tmp_path) == {"packed/.lock"}


def test_a_file_or_a_cache_of_another_user(file, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "/somebody/elses")

    monkeypatch.setattr(packed, "hold", refuse)
    with pytest.raises(UserError, match="saw Permission denied: /somebody/elses; give this user"):
        unpacked(file, tmp_path)
    with pytest.raises(UserError, match="saw No such file or directory"):
        unpacked(tmp_path / "none.zip", tmp_path)
    with pytest.raises(UserError, match="saw no such folder"):
        Recognizer.load(tmp_path / "none.zip", cache=tmp_path)
    assert os.listdir(tmp_path) == []
