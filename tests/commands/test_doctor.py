import json
import re
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmar_pipeline.commands.doctor import examine
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.machine import usable_processors
from llmar_pipeline.pipeline_registry import stages
from llmar_pipeline.settings import CONFIG_LOADER_ARGS


@pytest.fixture
def selection(tmp_path: Path) -> dict[str, Any]:
    raw = tmp_path / "raw"
    raw.mkdir()
    skeletons = np.random.default_rng(0).normal(size=(10, 20, 3)).tolist()
    (raw / "a01_s01_e00_v01.json").write_text(json.dumps({"skeletons": skeletons, "label": 1}))
    return {
        "corpus": "nwucla",
        "raw_dir": str(raw),
        "data_dir": str(tmp_path / "data"),
        "llm_cache": str(tmp_path / "llm"),
        "allow_incomplete": False,
        "protocol": "xview",
        "size": "laptop",
        "recordings_folder": "nwucla/recordings",
        "run_folder": "nwucla/xview/llm_ar-laptop",
    }


PARAMETERS = {
    "demo_recordings": None,
    "ingestion": {"max_quarantined_share": 0.1},
    "val_share": 0.1,
    "fold": "none",
    "unseen": {"classes": "none", "seed": 0},
    "shots": {"clips": "all", "seed": 0},
    "init_from": None,
    "llm": {"model": "/no/such/folder", "precision": "float32"},
    "lora": {"method": "lora"},
    "vqvae": {"code_dim": 576},
    "vqvae_training": {"max_steps": 2, "batch_size": 4, "micro_batch_size": 2, "seed": 0},
    "lora_training": {"max_steps": 2, "batch_size": 4, "micro_batch_size": 2, "seed": 0},
    "evaluation": {"seed": 0},
}


def examined(selection: dict[str, Any], **changes: Any) -> dict[str, tuple[str, str]]:
    return {f.subject: (f.state, f.text) for f in examine(selection, PARAMETERS | changes)}


def test_every_need_is_looked_at(selection: dict[str, Any]) -> None:
    found = examined(selection)
    state, text = found["recordings"]
    assert state == "missing"
    assert text.startswith(
        f"1 clips ({_length(selection)} KB) in {selection['raw_dir']}: nwucla is not complete: "
    )
    assert "expected 1,484 clips, saw 1" in text
    assert text.endswith("--params=allow_incomplete=true")
    assert found["disk"][0] == "ok"
    assert found["disk"][1].startswith(
        "about 4.8 KB for the sequences, as read and normalised;"
    )  # 2 x 10 frames x 20 joints x 3 x 4 bytes
    assert found["language model"][0] == "missing"
    assert "no/such/folder" in found["language model"][1]


def test_a_model_to_start_from_is_looked_at(selection: dict[str, Any], tmp_path: Path) -> None:
    state, text = examined(selection, init_from=str(tmp_path))["model to start from"]
    assert state == "missing"
    assert "expected the folder of a trained recogniser with recognizer.json" in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"protocol": "nosuch"}, "unknown protocol 'nosuch': choose one of xview"),
        ({}, "leaves no test clip"),
    ],
)
def test_what_the_run_would_refuse_is_found(
    selection: dict[str, Any], change: dict[str, Any], expected: str
) -> None:
    state, text = examined(selection | {"allow_incomplete": True} | change)["recordings"]
    assert state == "missing"
    assert expected in text


def test_an_incomplete_corpus_may_be_allowed(selection: dict[str, Any]) -> None:
    raw = Path(selection["raw_dir"])
    first = (raw / "a01_s01_e00_v01.json").read_text()
    (raw / "a01_s01_e00_v03.json").write_text(first)
    (raw / "a01_s02_e00_v02.json").write_text(first)
    (raw / "a01_s02_e00_v03.json").write_text(first)
    found = examined(selection | {"allow_incomplete": True})
    assert found["recordings"][0] == "ok"
    assert found["recordings"][1].endswith("xview: 1 train, 1 val, 2 test")
    assert found["completeness"][0] == "note"
    (raw / "readme.json").write_text("{}")
    state, text = examined(selection | {"allow_incomplete": True})["recordings"]
    assert state == "missing"
    assert "1 of 5 recordings" in text


def test_no_clip_validates_where_none_is_asked_for(selection: dict[str, Any]) -> None:
    raw = Path(selection["raw_dir"])
    for name in ("a01_s02_e00_v02", "a01_s01_e00_v02", "a01_s01_e00_v03", "a01_s02_e00_v03"):
        (raw / f"{name}.json").write_text((raw / "a01_s01_e00_v01.json").read_text())
    selection = selection | {"allow_incomplete": True}
    assert "validation" not in examined(selection)
    found = examined(selection, val_share=0)
    assert found["recordings"][1].endswith("xview: 3 train, 0 val, 2 test")
    assert found["validation"] == ("note", "no clip validates: val_share is 0")
    found = examined(selection, fold="camera:2")
    assert found["recordings"][1].endswith("xview: 1 train, 0 val, 2 test")
    assert found["validation"] == ("note", "no clip validates: fold camera:2 tests training clips")


def test_unseen_classes_are_drawn_and_counted_as_the_run_would(selection: dict[str, Any]) -> None:
    raw = Path(selection["raw_dir"])
    first = (raw / "a01_s01_e00_v01.json").read_text()
    for action in (1, 2, 3, 4):
        for subject, view in ((1, 1), (2, 2), (1, 3)):
            name = f"a{action:02}_s{subject:02}_e00_v{view:02}.json"
            (raw / name).write_text(first.replace('"label": 1', f'"label": {action}'))
    selection = selection | {"allow_incomplete": True}
    assert examined(selection)["recordings"][1].endswith("xview: 4 train, 4 val, 4 test")
    found = examined(selection, unseen={"classes": 2, "seed": 0})
    assert found["recordings"][1].endswith("xview: 2 train, 2 val, 2 test")
    state, text = found["unseen classes"]
    assert state == "note"
    assert text.endswith(": tested alone; 2 others train and validate")
    assert examined(selection, unseen={"classes": 2, "seed": 1})["unseen classes"] != (state, text)
    state, text = examined(selection, unseen={"classes": 3, "seed": 0})["recordings"]
    assert state == "missing"
    assert "unseen=3: expected at most 2" in text


def test_features_in_place_of_codes_are_counted(selection: dict[str, Any]) -> None:
    """NTU RGB+D 120 X-Set at the paper's size, by official counts."""
    project = Path(__file__).parents[2]
    chosen = {"experiment": "no_discretization", "size": "paper", "protocol": "xset"}
    chosen |= {"data_dir": selection["data_dir"], "llm": {"model": "/no/such/folder"}}
    loader = StackedConfigLoader(str(project / "conf"), "ntu120", chosen, **CONFIG_LOADER_ARGS)
    told = {f.subject: f.text for f in examine(loader["globals"], loader["parameters"])}
    features = re.search(r"and ([\d.]+) GB for features in place of codes", told["disk"])
    # 113,945 clips, 7 of 12 train: 9 readings of each, one of the others; 16 steps of 5,120 x 2 bytes
    trained = sum(7 if k == 12 else min(7, k) for k in (12,) * (113_945 // 12) + (113_945 % 12,))
    needed = (9 * trained + 113_945 - trained) * 16 * 5120 * 2
    assert features is not None
    assert float(features[1]) == pytest.approx(needed / 1e9, rel=0.01)
    chosen["experiment"] = "llm_ar"
    plain = StackedConfigLoader(str(project / "conf"), "ntu120", chosen, **CONFIG_LOADER_ARGS)
    told = {f.subject: f.text for f in examine(plain["globals"], plain["parameters"])}
    assert "features in place" not in told["disk"]


def test_missing_recordings_and_a_full_disk(
    selection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 100, 0))
    assert examined(selection)["disk"][0] == "missing"
    state, text = examined(selection | {"raw_dir": "nowhere"})["recordings"]
    assert state == "missing"
    assert "nowhere: expected nwucla files (*.json) or one pickle of pyskl (*.pkl), saw no such" in text


@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ("nwucla", "about 28.1 MB for the sequences of 1,484 clips, the official number, as read"),
        ("utdmhad", "about 28 MB for the sequences of 861 clips"),
        ("ntu60", "about 3.09 GB for the sequences of 56,578 clips"),
        ("ntu120", "about 6.4 GB for the sequences of 113,945 clips"),
    ],
)
def test_the_disk_is_known_from_official_numbers_where_no_recording_is(
    selection: dict[str, Any], corpus: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection = selection | {"corpus": corpus, "raw_dir": "nowhere"}
    state, text = examined(selection)["disk"]
    assert state == "ok"
    assert text.startswith(expected)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 100, 10**6))
    state, text = examined(selection)["disk"]
    assert state == "missing"
    assert text.startswith(expected)


@pytest.mark.parametrize("corpus", ["custom", "uav", "smarthome"])
def test_a_disk_that_nobody_can_know_is_no_0_bytes(selection: dict[str, Any], corpus: str) -> None:
    state, text = examined(selection | {"corpus": corpus, "raw_dir": "nowhere"})["disk"]
    assert state == "note"
    assert text.startswith("how much the sequences need is not known")
    assert " free at " in text


def test_what_the_demo_needs_is_known(selection: dict[str, Any]) -> None:
    found = examined(selection, demo_recordings={})
    assert found["recordings"] == ("ok", "360 synthetic ones are made up by the run")
    assert found["disk"][1].startswith("about 16.6 MB for the sequences, as read and normalised;")


def test_the_machine_and_how_long_each_stage_takes(
    project: Path, tmp_path: Path, tiny_llm_folder: Path
) -> None:
    runtime = {"data_dir": str(tmp_path), "llm": {"model": str(tiny_llm_folder)}}
    loader = StackedConfigLoader(str(project / "conf"), "demo", runtime, **CONFIG_LOADER_ARGS)
    findings = {f.subject.strip(): f for f in examine(dict(loader["globals"]), loader["parameters"])}
    assert findings["size"].text == "demo, as asked for"
    assert f"{usable_processors()} processors to use" in findings["machine"].text
    assert "GFLOP/s in float32" in findings["number type"].text
    for stage in stages():
        assert re.match(r"[\d.]+ (s|min|h) ", findings[stage].text), stage
    assert findings["vqvae"].text.endswith("s a step")
    assert re.fullmatch(
        r"about [\d.]+ (s|min) in all, from 360 clips to be made up; .*", findings["time"].text
    )


def test_official_counts_stand_for_recordings_that_are_not_there(project: Path, tmp_path: Path) -> None:
    runtime = {"data_dir": str(tmp_path), "size": "laptop", "llm": {"model": "/no/such/folder"}}
    loader = StackedConfigLoader(str(project / "conf"), "ntu60", runtime, **CONFIG_LOADER_ARGS)
    findings = {f.subject.strip(): f for f in examine(dict(loader["globals"]), loader["parameters"])}
    assert findings["recordings"].state == "missing"
    assert "56,578 clips officially" in findings["time"].text
    assert "/no/such/folder" in findings["lora"].text


def _length(selection: dict[str, Any]) -> str:
    return f"{next(Path(selection['raw_dir']).iterdir()).stat().st_size / 1000:.3g}"


def test_4_bit_weights_that_are_to_be_tuned_are_refused(
    selection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PARAMETERS, "llm", PARAMETERS["llm"] | {"quantization": "nf4"})
    monkeypatch.setitem(PARAMETERS, "lora", {"method": "full"})
    state, text = examined(selection)["language model"]
    assert state == "missing"
    assert "llm.quantization=none, or lora.method=lora" in text


def test_full_tuning_that_memory_cannot_hold_is_refused(
    project: Path, tmp_path: Path, tiny_llm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = {"data_dir": str(tmp_path), "llm": {"model": str(tiny_llm_folder)}, "vqvae": {"code_dim": 32}}
    runtime |= {"experiment": "full_tuning"}
    loader = StackedConfigLoader(str(project / "conf"), "demo", runtime, **CONFIG_LOADER_ARGS)

    def found() -> dict[str, tuple[str, str]]:
        return {f.subject: (f.state, f.text) for f in examine(loader["globals"], loader["parameters"])}

    assert found()["memory"][0] == "ok"
    memory = namedtuple("memory", ["total"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("llmar_pipeline.training.sharding.psutil.virtual_memory", lambda: memory(1000))
    state, text = found()["language model"]
    assert state == "missing"
    assert "for all" in text
    assert "lora.method=lora" in text
