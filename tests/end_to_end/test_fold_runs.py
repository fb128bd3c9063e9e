"""`kedro tune` and `kedro folds`: runs on folds, and what they leave unread."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

TUNE = """\
candidates:
  base: {}
  narrow: {vqvae: {width: 8}, lora.rank: 2}
  broken: {vqvae: {continuous_steps: 50}}
environments:
  demo: {folds: ["subject:1", "subject:4"]}
"""


@pytest.fixture(scope="module")
def tuned(workplace, many_runs):
    (workplace.conf / "tune" / "llm_ar.yml").write_text(TUNE)
    code, output = many_runs("--experiment=llm_ar", "--final", command="tune")
    assert code == 0, output
    return output


def test_every_candidate_runs_on_every_fold_and_the_best_of_them_is_trained(workplace, tuned):
    file = workplace.folder / "data/08_reporting/demo/xsub/tune/llm_ar-tiny.csv"
    table = pd.read_csv(file)
    rows = table[["candidate", "fold"]].apply(tuple, axis=1).tolist()
    assert rows == [(c, f) for f in ("subject:1", "subject:4") for c in ("base", "narrow", "broken")]
    assert table["accuracy"].isna().tolist() == [False, False, True] * 2
    assert "candidate broken, fold subject:1, seed 0 failed: " in tuned
    assert "expected vqvae.continuous_steps below" in tuned
    assert "| broken | failed | failed | failed |" in tuned
    means = table.groupby("candidate")["accuracy"].mean()
    best = "narrow" if means["narrow"] > means["base"] else "base"
    assert f"The best is {best}. On all training clips, for 12 and 12 steps:" in tuned
    command = re.search(r"^kedro run (.*)$", tuned, re.MULTILINE)[1]
    assert ("vqvae.width=8,lora.rank=2" in command) == (best == "narrow")
    assert command.endswith("val_share=0")
    assert "fold" not in command
    report = Path(tuned.strip().splitlines()[-1].partition("%: ")[2])
    metrics = json.loads(report.with_name("metrics.json").read_text())
    assert (metrics["n_val"], metrics["val_share"]) == (0, 0)
    assert metrics["chosen_on"] == "subject:1+subject:4"
    trained = f"{metrics['n_train']:,} clips trained"
    assert f"{trained}, 0 validated" in tuned
    said = f"{trained}, all of the training part (val_share 0); the settings were chosen on folds of the "
    assert f"{said}training part (subject:1, subject:4)." in " ".join(
        report.read_text(encoding="utf-8").split()
    )
    assert f"accuracy {100 * metrics['accuracy']:.1f} %: {report}" in tuned


def test_no_run_but_the_final_one_reads_a_test_clip(workplace, tuned):
    read = {}
    for file in workplace.folder.glob("data/04_feature/demo/xsub/*/action_sentences.parquet"):
        sentences = pd.read_parquet(file)
        read[file.parent.name] = {
            split: {name[8:12] for name in rows["name"]} for split, rows in sentences.groupby("split")
        }
    subjects = {"P001", "P002", "P004", "P005"}
    assert len(read) == 2 * 2 + 1
    for run, splits in read.items():
        fold = re.search(r"-fold-subject(\d)", run)
        tested = {f"P00{fold[1]}"} if fold else {"P003", "P006"}
        assert splits == {"train": subjects - tested, "test": tested}


def test_the_runs_are_nested_in_one_and_not_repeated(workplace, tuned, many_runs):
    client = MlflowClient(tracking_uri=workplace.tracking_uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    (parent,) = (run.info.run_id for run in runs if run.info.run_name == "tune llm_ar-tiny")
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]
    assert {run.data.tags["fold"] for run in children} == {"subject:1", "subject:4"}
    assert sum(run.data.tags.get("fold") == "none" for run in runs) == 1
    steps = workplace.folder / "data/06_models/demo/xsub/llm_ar-tiny-fold-subject1"
    last = [steps / f"{stage}_checkpoints/checkpoint-12/complete.json" for stage in ("vqvae", "lora")]
    before = [file.stat().st_mtime_ns for file in last]
    code, output = many_runs("--experiment=llm_ar", "--folds=subject:1", command="tune")
    assert code == 0, output
    assert [file.stat().st_mtime_ns for file in last] == before
    assert "subject:4" not in output


@pytest.fixture
def own(tmp_path):
    """Two persons, two classes."""
    rng = np.random.default_rng(0)
    (tmp_path / "corpus.yml").write_text("layout: coco17\nunits: pixels\n")
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "action", "subject"])
        for i in range(12):
            np.savez(tmp_path / f"clip{i}.npz", keypoints=rng.normal(size=(1, 20, 17, 2)) + i % 2)
            table.writerow([f"clip{i}.npz", ["wave", "clap"][i % 2], f"person {i // 6}"])
    return tmp_path


def test_each_person_of_a_users_own_tests_once(workplace, many_runs, own):
    code, output = many_runs("--env=custom", command="folds", data="own", raw_dir=own)
    assert code == 0, output
    (file,) = workplace.folder.glob("own/08_reporting/custom/leave_one_subject_out/folds/llm_ar-tiny-*.csv")
    table = pd.read_csv(file)
    assert table["fold"].tolist() == ["subject:0", "subject:1"]
    assert table["n_test"].tolist() == [6, 6]
    mean, deviation = table["accuracy"].mean(), table["accuracy"].std()
    assert f"| mean of 2 | 12 | {100 * mean:.1f} ± {100 * deviation:.1f} |" in output


def test_parts_of_a_users_own_test_once_and_are_asked_for(many_runs, own):
    code, output = many_runs("--env=custom", data="own", raw_dir=own, protocol="k_fold")
    assert code == 1
    assert "run all its folds by `kedro folds --protocol=k_fold`" in output
    code, output = many_runs(
        *("--env=custom", "--protocol=k_fold", "--k=2"), command="folds", data="own", raw_dir=own
    )
    assert code == 0, output
    assert "| mean of 2 | 12 | " in output
