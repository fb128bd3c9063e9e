"""Nodes that are passed over because their outputs stand, on a pipeline of two nodes."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from kedro_datasets.json import JSONDataset

from llmar_pipeline import code_digest
from llmar_pipeline.hooks import RecordHook, reuse
from llmar_pipeline.io.folder_dataset import FolderDataset
from llmar_pipeline.io.sentences_dataset import ActionSentencesDataset


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "raw" / "below").mkdir(parents=True)
    (tmp_path / "raw" / "below" / "numbers.json").write_text("[1, 2]")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "module.py").write_text("a = 1")
    monkeypatch.setattr(code_digest, "_ROOT", tmp_path / "code")
    return tmp_path


def run(place, factor=2, date="today"):
    """Names of the nodes that ran."""
    ran = []

    def read(folder, run):
        ran.append("read")
        return json.loads((folder / "below" / "numbers.json").read_text())

    def multiply(numbers, factor, checkpoints):
        ran.append("multiply")
        return {"numbers": [factor * n for n in numbers]}, pd.DataFrame(
            {"name": ["a"], "features": [np.ones(1)]}
        )

    catalog = DataCatalog(
        {
            "raw_recordings": FolderDataset(str(place / "raw")),
            "lora_checkpoints": FolderDataset(str(place / "checkpoints")),
            "numbers": JSONDataset(filepath=str(place / "numbers.json")),
            "product": JSONDataset(filepath=str(place / "product.json")),
            "sentences": ActionSentencesDataset(filepath=str(place / "sentences.parquet")),
        }
    )
    catalog["params:factor"], catalog["params:run"] = factor, {"date": date, "dataset": "demo"}
    inputs = ["numbers", "params:factor", "lora_checkpoints"]
    pipeline = Pipeline(
        [
            Node(read, ["raw_recordings", "params:run"], "numbers", name="read"),
            Node(multiply, inputs, ["product", "sentences"], name="multiply"),
        ]
    )
    hooks, record = _create_hook_manager(), RecordHook()
    hooks.register(record)
    record.before_pipeline_run(catalog)
    reuse.look(pipeline, catalog)
    reuse.ReusingRunner().run(pipeline, catalog, hooks)
    return ran


def again(folder, name, text):
    """Write a file as an editor does, at another time."""
    file = folder / name
    file.write_text(text)
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def test_what_stands_is_not_made_again(place):
    assert run(place) == ["read", "multiply"]
    assert run(place) == []
    (place / "checkpoints").mkdir()
    (place / "checkpoints" / "from a killed run").write_text("decides nothing")
    (place / "code" / "__pycache__").mkdir()
    (place / "code" / "__pycache__" / "module.nbi").write_text("what a compiler keeps")
    assert run(place, date="tomorrow") == []
    assert json.loads((place / "product.json").read_text()) == {"numbers": [2, 4]}


EDITS = {
    "a parameter": (lambda place: None, ["multiply"]),
    "a file that is read": (
        lambda place: again(place / "raw" / "below", "numbers.json", "[3, 4]"),
        ["read", "multiply"],
    ),
    "a file more": (lambda place: again(place / "raw", "other.json", "1"), ["read"]),
    "the package": (lambda place: again(place / "code", "prompt.txt", "Which action?"), ["read", "multiply"]),
    "an output": (lambda place: again(place, "product.json", '{"numbers": [9, 9]}'), ["multiply"]),
    "an output between": (lambda place: again(place, "numbers.json", "[9]"), ["read"]),
    "an output that is gone": (lambda place: (place / "numbers.json").unlink(), ["read"]),
    "a file beside an output": (
        lambda place: (place / "sentences.features.npy").write_bytes(b""),
        ["multiply"],
    ),
    "no record of an output": (lambda place: (place / ".numbers.json.written").unlink(), ["read"]),
    "no word of what it was made from": (lambda place: (place / ".read.made").unlink(), ["read"]),
    "half of such words": (lambda place: (place / ".read.made").write_text('{"made'), ["read"]),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_is_another_is_made_again_and_what_it_does_not_change_is_not(place, name):
    edit, expected = EDITS[name]
    run(place)
    edit(place)
    factor = 3 if name == "a parameter" else 2
    assert run(place, factor) == expected
    assert run(place, factor) == []
    numbers = json.loads((place / "raw" / "below" / "numbers.json").read_text())
    assert json.loads((place / "product.json").read_text()) == {"numbers": [factor * n for n in numbers]}


def test_an_output_of_other_parameters_does_not_count_when_they_come_back(place):
    run(place)
    words = (place / ".multiply.made").read_bytes()
    run(place, factor=3)
    (place / ".multiply.made").write_bytes(words)  # as if that run had been killed before its last word
    assert run(place) == ["multiply"]
    assert json.loads((place / "product.json").read_text()) == {"numbers": [2, 4]}
