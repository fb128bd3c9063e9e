import json
import shutil

import pytest

from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.io.known_places import digest, first_place, known_places, place, remember
from llmar_pipeline.settings import CONFIG_LOADER_ARGS


@pytest.fixture
def recordings(tmp_path):
    (tmp_path / "own" / "deep").mkdir(parents=True)
    for name in ("corpus.yml", "clips.csv", "deep/a.npz"):
        (tmp_path / "own" / name).write_text(f"content of {name}", encoding="utf-8")
    remember(str(tmp_path), [tmp_path / "own", "a/hub-id"])
    return tmp_path / "own"


def test_what_was_moved_copied_or_linked_is_known_by_its_content(recordings, tmp_path, caplog):
    known = known_places(str(tmp_path))
    assert list(known) == [str(recordings)]
    copied = shutil.copytree(recordings, tmp_path / "copied", copy_function=shutil.copyfile)
    (copied / ".DS_Store").write_bytes(b"x")
    (tmp_path / "linked").symlink_to(recordings)
    moved = recordings.rename(tmp_path / "moved")
    for folder in (copied, moved):
        assert first_place(folder, known) == str(recordings)
    recordings.symlink_to(moved)  # at the old place a link to the new one
    assert first_place(recordings, known) == first_place(tmp_path / "linked", known) == str(recordings)
    with caplog.at_level("INFO"):
        remember(str(tmp_path), [copied])
    assert f"{copied} holds what was in {recordings}" in caplog.text
    assert known_places(str(tmp_path)) == known


@pytest.mark.parametrize("change", ["clips.csv", "deep/a.npz", "new.npz", "longer"])
def test_other_content_is_another_folder(recordings, tmp_path, change):
    other = shutil.copytree(recordings, tmp_path / "other")
    if change == "longer":
        (other / "clips.csv").write_text("content of clips.csv ", encoding="utf-8")
    else:
        (other / change).write_text(f"Content of {change}", encoding="utf-8")
    known = known_places(str(tmp_path))
    assert first_place(other, known) == str(other)
    remember(str(tmp_path), [other])
    assert known_places(str(tmp_path)) == {**known, str(other): digest(other)}


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_a_list_that_cannot_be_read_knows_nothing(tmp_path, content):
    (tmp_path / "known_places.json").write_text(content, encoding="utf-8")
    assert known_places(str(tmp_path)) == {}


def test_folders_of_a_run_stay_where_recordings_and_model_were_renamed(conf, recordings, tmp_path):
    def names(raw_dir, model):
        chosen = {"size": "laptop", "data_dir": str(tmp_path), "raw_dir": str(raw_dir)}
        loader = StackedConfigLoader(
            str(conf), "custom", {**chosen, "llm": {"model": str(model)}}, **CONFIG_LOADER_ARGS
        )
        remember(str(tmp_path), loader.places.values())
        return loader["globals"]["run_folder"], loader["globals"]["recordings_folder"]

    model = tmp_path / "llama"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"hidden_size": 2}), encoding="utf-8")
    before = names(recordings, model)
    after = names(recordings.rename(tmp_path / "moved"), model.rename(tmp_path / "models"))
    assert after == before
    usual = tmp_path / "01_raw" / "custom"
    shutil.copytree(tmp_path / "moved", usual)
    (usual / "more.npz").write_bytes(b"more")
    there = names(usual, tmp_path / "models")
    assert "-" not in there[1]
    assert names(usual.rename(tmp_path / "elsewhere"), tmp_path / "models") == there


def test_a_name_that_is_no_folder_is_itself():
    assert place("a/hub-id") == first_place("a/hub-id", {"/x": "y"}) == "a/hub-id"
