import pytest
from kedro.io import DatasetError

from llmar_pipeline.errors import UserError
from llmar_pipeline.io.folder_dataset import FolderDataset
from llmar_pipeline.io.png_dataset import PNGDataset


def test_a_folder_exists_once_its_manifest_does(tmp_path):
    dataset = FolderDataset(str(tmp_path / "model"), manifest="config.json")
    assert not dataset.exists()
    with pytest.raises(DatasetError) as error:
        dataset.load()
    assert isinstance(error.value.__cause__, UserError)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert dataset.load() == tmp_path / "model"
    dataset.save(tmp_path / "model")


def test_a_folder_written_elsewhere_is_refused(tmp_path):
    dataset = FolderDataset(str(tmp_path / "a"))
    with pytest.raises(DatasetError):
        dataset.save(tmp_path / "b")


def test_a_handle_needs_nothing(tmp_path):
    assert FolderDataset(str(tmp_path / "new")).load() == tmp_path / "new"


def test_a_png_comes_back_and_previews(tmp_path):
    dataset = PNGDataset(str(tmp_path / "deep" / "a.png"))
    dataset.save(b"image")
    assert dataset.load() == b"image"
    assert dataset.preview() == "aW1hZ2U="
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.png"]
