import json
import shutil

import pytest
from damage import DAMAGES, cut, flip

from llmar_pipeline.errors import UserError
from llmar_pipeline.records import (
    announce,
    check_recorded,
    checksums,
    forget,
    read_sealed,
    record,
    write_sealed,
)


@pytest.fixture(params=["file", "folder"])
def place(request, tmp_path):
    """A file, or a folder with files, and of each the file to be damaged."""
    if request.param == "file":
        (tmp_path / "clips.parquet").write_bytes(b"0123456789" * 9)
        return tmp_path / "clips.parquet", tmp_path / "clips.parquet"
    folder = tmp_path / "model"
    (folder / "vqvae").mkdir(parents=True)
    for name in ("config.json", "vqvae/model.safetensors", "README.md"):
        (folder / name).write_bytes(name.encode() * 9)
    return folder, folder / "vqvae" / "model.safetensors"


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_longer_what_was_written_is_refused(place, damage):
    path, file = place
    record(path)
    check_recorded(path, "run it again")
    damage(file)
    with pytest.raises(UserError, match=rf"^expected {path} as it was written, saw that .*; run it again$"):
        check_recorded(path, "run it again")


def test_what_nobody_recorded_is_taken_as_it_is(place):
    path, file = place
    check_recorded(path, "")
    record(path)
    cut(path.with_name(f".{path.name}.written"))
    flip(file)
    check_recorded(path, "")


def test_what_was_not_written_to_its_end_is_refused(place):
    path, file = place
    announce(path)
    with pytest.raises(UserError, match="was not finished"):
        check_recorded(path, "")
    record(path)
    announce(path)  # the same again, as long as nothing is written
    check_recorded(path, "")
    cut(file)
    with pytest.raises(UserError, match="bytes"):
        check_recorded(path, "")


def test_a_copy_counts_whatever_its_time(place):
    path, _ = place
    record(path)
    copy = path.parent / "copy"
    shutil.copytree(path.parent, copy, copy_function=shutil.copyfile)
    check_recorded(copy / path.name, "")


def test_what_is_added_beside_a_model_is_not_part_of_it(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "README.md").write_text("by peft")
    record(tmp_path / "model")
    (tmp_path / "model" / "thresholds.json").write_text("{}")
    (tmp_path / "model" / "README.md").write_text("a better one")
    check_recorded(tmp_path / "model", "")


def test_a_file_is_recorded_whatever_its_name_ends_in(tmp_path):
    (tmp_path / "model_card.md").write_text("a card")
    record(tmp_path / "model_card.md")
    check_recorded(tmp_path / "model_card.md", "")
    assert list(checksums(tmp_path / "model_card.md")) == ["model_card.md"]


def test_what_is_forgotten_is_not_missed(tmp_path):
    file = tmp_path / "features.npy"
    file.write_text("x")
    record(file)
    forget(file)
    check_recorded(file, "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", DAMAGES[:3])
def test_a_sealed_file_is_read_as_it_was_written_or_not_at_all(tmp_path, damage):
    file, content = tmp_path / "complete.json", {"threads": 2, "files": {"é": [1.5, None]}}
    write_sealed(file, content)
    assert read_sealed(file) == content
    damage(file)
    with pytest.raises(ValueError):  # noqa: PT011  # of JSON, of UTF-8 or of ours
        read_sealed(file)
    for other in ([], 3, {"threads": 2}):
        file.write_text(json.dumps(other))
        with pytest.raises(ValueError, match="checksum"):
            read_sealed(file)
