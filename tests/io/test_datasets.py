import errno
import inspect
import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from damage import DAMAGES, cut
from kedro.io import DatasetError
from kedro_datasets.pandas import ParquetDataset

from llmar_pipeline.error_lines import explain
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.folder_dataset import FolderDataset
from llmar_pipeline.io.image_dataset import ImageDataset
from llmar_pipeline.io.page_dataset import PageDataset
from llmar_pipeline.io.sentences_dataset import ActionSentencesDataset
from llmar_pipeline.language.sentence import read_clips
from llmar_pipeline.records import checksums, record


def test_a_folder_exists_once_its_manifest_does(tmp_path):
    dataset = FolderDataset(str(tmp_path / "model"), manifest="config.json")
    assert not dataset.exists()
    with pytest.raises(DatasetError) as error:
        dataset.load()
    assert isinstance(error.value.__cause__, UserError)

    def write(folder):
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    dataset.save(write)
    assert dataset.load() == tmp_path / "model"


def test_a_folder_that_its_function_leaves_incomplete_is_refused(tmp_path):
    dataset = FolderDataset(str(tmp_path / "model"), manifest="config.json")
    with pytest.raises(DatasetError) as error:
        dataset.save(Path.mkdir)
    assert f"expected a complete folder at {tmp_path / 'model'}" in explain(error.value)


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (UserError("loss=nan at step 3"), "loss=nan at step 3"),
        (OSError(errno.ENOSPC, "No space left on device", "model.bin"), "cannot write model.bin: No space"),
        (KeyError("a bug"), None),
    ],
)
def test_an_error_of_the_function_reaches_the_user_as_any_other(tmp_path, raised, line):
    def fail(folder):
        raise raised

    with pytest.raises(DatasetError) as error:
        FolderDataset(str(tmp_path / "model")).save(fail)
    said = explain(error.value)
    assert said is None if line is None else said.startswith(line)


def test_a_handle_needs_nothing(tmp_path):
    assert FolderDataset(str(tmp_path / "new")).load() == tmp_path / "new"


def test_an_image_comes_back_and_previews(tmp_path):
    dataset = ImageDataset(str(tmp_path / "deep" / "a.gif"))
    dataset.save(b"image")
    assert dataset.load() == b"image"
    assert dataset.preview() == "aW1hZ2U="
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.gif"]


def test_a_page_is_saved_as_text_and_loaded_as_its_place(tmp_path):
    dataset = PageDataset(str(tmp_path / "deep" / "a.html"))
    assert not dataset.exists()
    dataset.save("<p>é</p>")
    assert dataset.load().read_text(encoding="utf-8") == "<p>é</p>"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.html"]


def test_action_sentences_preview_as_readable_json(tmp_path):
    table = pd.DataFrame(
        {
            "name": ["a", "a", "b"],
            "split": ["train", "train", "test"],
            "label": [4, 4, 7],
            "action": ["sit", "sit", "jump"],
            "reading": [0, 1, 0],
            "codes": [np.array(codes, dtype=np.int32) for codes in ([3, 500], [1, 2], [7, 7])],
        }
    )
    dataset = ActionSentencesDataset(filepath=str(tmp_path / "sentences.parquet"))
    dataset.save(table)
    preview = dataset.preview(nrows=2)
    assert json.loads(json.dumps(preview)) == preview
    assert preview["columns"] == ["name", "split", "action", "codes"]
    assert preview["data"] == [["a", "train", "sit", "3 500"], ["b", "test", "jump", "7 7"]]
    assert len(dataset.preview(nrows=1)["data"]) == 1
    # What nodes read is untouched.
    assert dataset.load()["codes"].map(list).tolist() == [[3, 500], [1, 2], [7, 7]]


def test_features_lie_beside_action_sentences(tmp_path):
    features = np.random.default_rng(0).normal(size=(3, 2, 3)).astype(np.float16)
    table = pd.DataFrame(
        {"name": list("abc"), "split": "test", "action": "sit", "reading": 0, "codes": [[1, 2]] * 3}
    )
    dataset = ActionSentencesDataset(filepath=str(tmp_path / "sentences.parquet"))
    dataset.save(with_features(table, tmp_path / "made.npy", features))
    loaded = dataset.load()
    dataset.save(loaded)  # they stay where they are
    read = read_clips(dataset.load().iloc[[2, 0]], "features")
    for rows in (read, pickle.loads(pickle.dumps(read)), read[:]):
        assert len(pickle.dumps(rows)) < 1000  # the place, not what lies there
        assert [f.tolist() for f in rows] == features[[2, 0]].tolist()
        assert rows[0].dtype == np.float16
        assert rows[0].base is rows[1].base  # one mapped file, none of it in memory
        assert isinstance(rows[0].base.base, np.memmap)
    assert dataset.preview()["columns"] == ["name", "split", "action", "codes"]
    assert {p.name for p in tmp_path.glob("[!.]*")} == {"sentences.parquet", "sentences.features.npy"}
    dataset.save(table)
    assert "features" not in dataset.load()


def with_features(table, file, features):
    """As `tokenize_clips` returns it."""
    np.save(file, features)
    made = table.assign(features=range(len(table)))
    made.attrs["features"] = str(file)
    return made


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_features_are_refused(tmp_path, damage):
    dataset = ActionSentencesDataset(filepath=str(tmp_path / "sentences.parquet"))
    table = pd.DataFrame({"name": list("ab"), "codes": [[1, 2]] * 2})
    dataset.save(with_features(table, tmp_path / "made.npy", np.ones((2, 4, 8), np.float16)))
    damage(tmp_path / "sentences.features.npy")
    with pytest.raises(DatasetError) as error:
        dataset.load()
    assert "sentences.features.npy as it was written, saw" in explain(error.value)


def test_a_table_that_cannot_be_read_is_one_line(tmp_path):
    dataset = ParquetDataset(filepath=str(tmp_path / "clips.parquet"))
    dataset.save(pd.DataFrame({"name": ["a"]}))
    cut(tmp_path / "clips.parquet")
    with pytest.raises(DatasetError) as error:
        dataset.load()
    assert explain(error.value).startswith(f"expected {tmp_path / 'clips.parquet'} as a run wrote it, saw ")
    assert "\n" not in explain(error.value)


def test_kedro_viz_knows_how_to_show_them():
    for dataset, kind in ((ActionSentencesDataset, "TablePreview"), (ImageDataset, "ImagePreview")):
        assert inspect.signature(dataset.preview).return_annotation.__name__ == kind


def test_a_folder_that_is_made_has_no_link_to_write_through(tmp_path: Path) -> None:
    folder, precious = tmp_path / "model", tmp_path / "precious"
    precious.write_text("precious")
    (folder / "part").mkdir(parents=True)
    for name in ("weights", "part/weights", "config.json"):
        (folder / name).symlink_to(precious)

    def make(folder: Path) -> None:
        for name in ("weights", "part/weights", "config.json"):
            (folder / name).write_text(name)

    FolderDataset(str(folder), manifest="config.json").save(make)
    assert precious.read_text() == "precious"
    (folder / "weights").unlink()
    (folder / "weights").symlink_to(precious)
    FolderDataset(str(folder)).save(lambda _: None)  # recordings of the user's: theirs to link
    assert (folder / "weights").is_symlink()


def test_a_page_and_its_copy_are_the_same_and_the_copy_is_no_part_of_its_folder(tmp_path):
    model, page = tmp_path / "recognizer", tmp_path / "run" / "model_card.md"
    model.mkdir()
    (model / "weights").write_text("weights")
    record(model)
    before = checksums(model)
    dataset = PageDataset(str(page), copy=str(model / "README.md"))
    dataset.save("a card")
    assert (dataset.load(), page.read_text(), (model / "README.md").read_text()) == (page, "a card", "a card")
    assert checksums(model) == before
    record(model)  # as when the model is trained anew
    assert checksums(model) == before
    dataset.save("another card")
    assert checksums(model) == before
    assert dataset.beside == [model / "README.md"]
    assert checksums(model / "README.md")
    (model / "README.md").unlink()
    assert checksums(model / "README.md") is None  # so that the node that wrote it runs again


def test_a_page_without_a_copy_has_nothing_beside(tmp_path):
    dataset = PageDataset(str(tmp_path / "report.html"))
    dataset.save("<p>")
    assert dataset.beside == []
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
