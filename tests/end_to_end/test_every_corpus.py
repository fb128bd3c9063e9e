"""Every corpus through `kedro run`, from raw files to a report."""

import csv
import json
import pickle
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from smarthome_files import write_smarthome

from llmar_pipeline.demo.recordings import DemoConfig, generate_recordings


@pytest.fixture
def finished(kedro, workplace):
    """Runs everything and returns the metrics."""

    def run(env: str, protocol: str, raw: Path, data: str = "") -> dict:
        data = data or f"data_{env}"
        code, output = kedro(
            "--pipelines=full",
            f"--env={env}",
            data=data,
            size="tiny_raw",
            protocol=protocol,
            raw_dir=raw,
            allow_incomplete="true",
        )
        assert code == 0, output
        reports = workplace.folder / data / "08_reporting" / env / protocol
        report = next(reports.glob("*/report.html"))
        assert "</html>" in report.read_text()
        metrics = json.loads((report.parent / "metrics.json").read_text())
        assert 0 <= metrics["accuracy"] <= 1
        return metrics

    return run


def intermediate(workplace, env: str, name: str) -> pd.DataFrame:
    return pd.read_parquet(workplace.folder / f"data_{env}" / "02_intermediate" / env / "recordings" / name)


def test_ntu60_on_made_up_files(finished, workplace, tmp_path):
    config = DemoConfig(subjects=(1, 2, 4, 3), cameras=(1, 2), actions=(8, 23, 59), damaged_files=0)
    generate_recordings(tmp_path, config)
    metrics = finished("ntu60", "xview", tmp_path)
    assert metrics["n_test"] == 4 * 3  # camera 1
    bodies = intermediate(workplace, "ntu60", "bodies.parquet")
    assert {"actor 1", "actor 2"} <= set(bodies["decision"])
    amiss = intermediate(workplace, "ntu60", "clips_amiss.parquet")
    assert (amiss["problem"] == "missing").sum() > 30_000


def test_ntu120_on_made_up_files(finished, tmp_path):
    config = DemoConfig(subjects=(1, 2, 4, 3), cameras=(1,), actions=(8, 23), damaged_files=0)
    generate_recordings(tmp_path, config)
    metrics = finished("ntu120", "xset", tmp_path)
    assert metrics["n_test"] == 2 * 2  # setup 1: subjects 1 and 3


def test_nwucla_on_made_up_files(finished, tmp_path):
    rng = np.random.default_rng(0)
    for action, subject, view in product([1, 2, 12], [1, 2, 3], [1, 2, 3]):
        skeletons = (rng.normal(size=(15, 20, 3)) + action).tolist()
        content = {"skeletons": skeletons, "label": {1: 1, 2: 2, 12: 10}[action]}
        (tmp_path / f"a{action:02}_s{subject:02}_e00_v{view:02}.json").write_text(json.dumps(content))
    metrics = finished("nwucla", "xview", tmp_path)
    assert metrics["n_test"] == 3 * 3  # view 3


@pytest.mark.parametrize("env", ["smarthome", "smarthome2d", "smarthome_refined"])
def test_smarthome_in_its_official_layout(finished, workplace, tmp_path, env):
    write_smarthome(tmp_path, ["Walk", "Sitdown", "Cutbread", "Laydown"], [3, 4, 10], [1, 2, 5])
    metrics = finished(env, "xview1", tmp_path)
    assert (metrics["n_test"], metrics["n_val"]) == (9, 9)  # camera 2 and 5; Laydown is no class of X-View
    splits = pd.read_parquet(
        workplace.folder / f"data_{env}/03_primary/{env}/xview1/recordings/splits.parquet"
    ).drop_duplicates("action")
    labels = dict(zip(splits["action"], splits["label"], strict=True))
    assert labels == {"cut bread": 0, "sit down": 13, "walk": 18, "lay down": -1}


@pytest.mark.parametrize("kind", ["files", "pickle"])
def test_recordings_of_a_users_own(finished, tmp_path, kind):
    rng = np.random.default_rng(0)
    clips = {f"clip{i}": (rng.normal(size=(1, 20, 17, 2)) + i % 2).astype(np.float32) for i in range(12)}
    (tmp_path / "corpus.yml").write_text("layout: coco17\nunits: pixels\n")
    if kind == "files":
        with (tmp_path / "clips.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file", "action", "subject"])
            for i, (name, keypoints) in enumerate(clips.items()):
                np.savez(tmp_path / f"{name}.npz", keypoints=keypoints)
                table.writerow([f"{name}.npz", ["wave", "clap"][i % 2], f"person {i // 3}"])
    else:
        annotations = [
            {"frame_dir": name, "label": i % 2, "total_frames": 20, "keypoint": keypoints}
            for i, (name, keypoints) in enumerate(clips.items())
        ]
        split = {"split_train": list(clips)[:9], "split_test": list(clips)[9:]}
        (tmp_path / "own.pkl").write_bytes(pickle.dumps({"split": split, "annotations": annotations}))
        with (tmp_path / "corpus.yml").open("a") as file:
            file.write("pickle: own.pkl\nclasses: [wave, clap]\n")
    metrics = finished("custom", "split", tmp_path, data=f"own_{kind}")
    assert metrics["n_test"] == 3


def test_uav_human(finished, shared_data):
    metrics = finished("uav", "csv2", shared_data / "uav_human")
    assert metrics["n_test"] == 160


def test_utd_mhad(finished, workplace, shared_data):
    metrics = finished("utdmhad", "xsub", shared_data / "utd_mhad")
    assert metrics["n_test"] == 430
    assert intermediate(workplace, "utdmhad", "clips_amiss.parquet").empty
