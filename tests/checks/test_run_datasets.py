"""Folders that cannot be written, and disks that are too small."""

import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.io import AbstractDataset, DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from llmar_pipeline.checks.datasets import check_folders, check_outputs, disk
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.folder_dataset import FolderDataset
from llmar_pipeline.pipeline_registry import stages

MADE = Pipeline([Node(lambda x: x, inputs="params:x", outputs="made", name="make")])


@pytest.mark.parametrize("under", ["/proc/nowhere/made", "{}/file/made"])
def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, under: str) -> None:
    (tmp_path / "file").write_text("")
    catalog = DataCatalog({"made": FolderDataset(under.format(tmp_path))})
    with pytest.raises(UserError, match=r"cannot write .*data_dir"):
        check_outputs(MADE, catalog)


def _write_a_folder(x: object) -> Callable[[Path], object]:
    return Path.mkdir


@pytest.mark.parametrize(
    ("datasets", "seen"),
    [({}, "no entry"), ({"made": MemoryDataset()}, "MemoryDataset")],
    ids=["gone", "of another type"],
)
def test_what_has_a_folder_written_needs_one(
    datasets: dict[str, AbstractDataset[Any, Any]], seen: str
) -> None:
    writing = Pipeline([Node(_write_a_folder, inputs="params:x", outputs="made", name="make")])
    with pytest.raises(UserError, match=rf"catalog entry 'made': .*FolderDataset, saw {seen}; restore"):
        check_folders(writing, DataCatalog(datasets))
    check_folders(writing, DataCatalog({"made": FolderDataset("x")}))
    check_folders(MADE, DataCatalog({}))


def test_our_nodes_say_that_they_write_folders() -> None:
    for name, stage in stages().items():
        for node in stage.nodes:
            written = node.func.__annotations__.get("return") == Callable[[Path], object]
            folders = {"raw_recordings", "recordings", "sequences", "vqvae_model", "recognizer_model"}
            assert written == bool(folders & set(node.outputs)), (name, node.name)


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_outputs(MADE, DataCatalog({"made": FolderDataset(str(tmp_path / "a" / "b" / "made"))}))
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_need_space_too_and_what_is_written_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 4000))
    assert disk(tmp_path, 1000, "", 0, []).state == "ok"
    found = disk(tmp_path, 1000, "", 100, [])
    assert found.state == "missing"
    assert "2 KB for the sequences, as read and normalised, and 3.6 KB for checkpoints" in found.text
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "shard").write_bytes(b"0" * 2000)
    assert disk(tmp_path, 1000, "", 100, [tmp_path / "store"]).state == "ok"
