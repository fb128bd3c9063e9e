"""`kedro ablations` as a grid: kept rows, shared stages, failing runs, grids that are killed."""

import json
import random
import time
from contextlib import suppress

import pandas as pd
import psutil
import pytest
from mlflow.tracking import MlflowClient

GRID = ("--experiments=llm_ar,no_discretization", "--seeds=0,1")  # which differ in stage 2 alone
IDENTITIES = [(name, seed) for name in ("llm_ar", "no_discretization") for seed in (0, 1)]


def rows(workplace, folder="rows"):
    """The rows of a folder, in the order of experiment and seed."""
    kept = [json.loads(file.read_text()) for file in (workplace.folder / folder).glob("*.json")]
    return sorted(kept, key=lambda row: (row["experiment"], row["seed"]))


def reports(workplace, data="data"):
    return workplace.folder / data / "08_reporting" / "demo" / "xsub" / "ablations"


def table(workplace, data="data"):
    """What is compared, but for its seconds."""
    compared = pd.read_csv(reports(workplace, data) / "tiny-full-table.csv")
    return compared[[name for name in compared if not name.startswith("processor_seconds")]]


@pytest.fixture(scope="module")
def ablations(many_runs, workplace):
    def run(*options, folder="rows", **more):
        return many_runs(f"--rows={workplace.folder / folder}", *options, command="ablations", **more)

    return run


@pytest.fixture(scope="module")
def output(ablations):
    code, output = ablations(*GRID)
    assert code == 0, output
    return output


def test_every_run_leaves_a_row(workplace, output):
    kept = rows(workplace)
    assert [(row["experiment"], row["seed"]) for row in kept] == IDENTITIES
    for row in kept:
        assert (row["environment"], row["protocol"], row["size"]) == ("demo", "xsub", "tiny")
        assert row["command"].startswith(
            "kedro run --pipelines=full --env=demo --params=size=tiny,experiment="
        )
        assert str(workplace.folder) not in json.dumps(row)
        assert len(row["right"]) == row["metrics"]["n_test"] == 16
        assert row["right"].count("1") / 16 == row["metrics"]["accuracy"]
        assert row["processor_seconds"] > 0
        assert "thread" in row["machine"]
        assert row["code_statistics"].keys() >= {"zipf_js", "mmd"}
    assert len({row["clips"] for row in kept}) == 1
    names = {file.name for file in (workplace.folder / "rows").iterdir()}
    assert {f"{name}-demo-xsub-tiny-seed{seed}.json" for name, seed in IDENTITIES} == names


def test_stage_1_is_shared(workplace, output):
    assert ["note" in row for row in rows(workplace)] == [False, False, True, True]
    assert rows(workplace)[2]["note"].startswith("stage 1 is that of llm_ar-tiny, ")
    weights = [
        workplace.file("06_models", "vqvae/model.safetensors", run=f"{name}-tiny").read_bytes()
        for name in ("llm_ar", "no_discretization")
    ]
    assert weights[0] == weights[1]
    client = MlflowClient(tracking_uri=workplace.tracking_uri)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    tags = {run.data.tags.get("run"): run.data.tags.get("stage1_taken_from") for run in runs}
    assert tags["no_discretization-tiny"] == "llm_ar-tiny"
    assert tags["llm_ar-tiny"] is None
    (parent,) = (run.info.run_id for run in runs if run.info.run_name == "ablations tiny full")
    assert sum(run.data.tags.get("mlflow.parentRunId") == parent for run in runs) == 4
    kept = {file.path for file in client.list_artifacts(parent)}
    assert kept == {"tiny-full.html", "tiny-full.csv", "tiny-full-table.csv", "tiny-full.svg"}


def test_the_table_stands_on_the_terminal_and_in_files(workplace, output):
    assert "| experiment | seeds | accuracy, % | less llm_ar, points | " in output
    compared = table(workplace)
    assert compared["experiment"].tolist() == ["llm_ar", "no_discretization"]
    assert compared["less_first_low"].notna().tolist() == [False, True]
    every_run = pd.read_csv(reports(workplace) / "tiny-full.csv")
    assert every_run[["experiment", "seed"]].apply(tuple, axis=1).tolist() == IDENTITIES
    assert compared["accuracy"].tolist() == pytest.approx(
        every_run.groupby("experiment")["accuracy"].mean().tolist()
    )
    assert "<td>no_discretization</td>" in (reports(workplace) / "tiny-full.html").read_text()


def test_rows_that_are_there_are_not_made_again(workplace, ablations, output):
    """By the same command, and by the one for the table alone, which needs no run of its own."""
    before = {file: file.stat().st_mtime_ns for file in (workplace.folder / "rows").iterdir()}
    wanted = output[output.index("\n| experiment") :]
    for only in ((), ("--table-only",)):
        code, again = ablations(*GRID, *only)
        assert (code, again) == (0, wanted)
    code, elsewhere = ablations(*GRID, "--table-only", data="empty")
    assert code == 0
    assert elsewhere.splitlines()[1:5] == wanted.splitlines()[1:5]
    assert {file: file.stat().st_mtime_ns for file in (workplace.folder / "rows").iterdir()} == before


def test_a_table_of_nothing(ablations):
    code, output = ablations(*GRID, "--table-only", folder="none")
    assert code == 1
    assert "expected a row of one of 4 runs at least" in output


def test_a_run_that_fails_is_named_and_the_rest_goes_on(workplace, ablations):
    broken = workplace.conf / "experiments" / "broken.yml"
    broken.write_text("from: llm_ar\nvqvae: {continuous_steps: 50}\n")
    code, output = ablations("--experiments=broken,llm_ar", folder="failing")
    assert code == 1
    line = next(line for line in output.splitlines() if line.startswith("| broken | 0 |"))
    assert "seed 0: " in line
    assert "expected vqvae.continuous_steps below" in line
    assert [row["experiment"] for row in rows(workplace, "failing")] == ["llm_ar"]
    assert "| llm_ar | 1 | " in output


def test_an_environment_and_environments_exclude_each_other(ablations):
    code, output = ablations("--env=demo", "--envs=demo,nwucla")
    assert code == 1
    assert "expected --env or --envs, saw both" in output


@pytest.mark.timeout(1500)  # a dozen processes that import everything
def test_a_grid_that_is_killed_twice_ends_in_the_same_table(workplace, output, ablations):
    """Two runs at a time, from raw files; once the grid alone is killed, once its runs too."""
    draw, rows_of_it = random.Random(0), workplace.folder / "killed_rows"
    command = workplace.arguments(
        *GRID, f"--rows={rows_of_it}", "--jobs=2", command="ablations", data="killed"
    )
    moments = (
        (workplace.folder / "killed" / "06_models", "**/complete.json", False),  # the first training
        (rows_of_it, "*.json", True),  # the first row
    )
    for folder, sign, with_its_runs in moments:
        grid, deadline = workplace.start(*command), time.monotonic() + 300
        while not list(folder.glob(sign)) and grid.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 5))
        assert grid.poll() is None, grid.communicate()
        runs = psutil.Process(grid.pid).children(recursive=True)
        for process in [grid, *(runs if with_its_runs else [])]:
            with suppress(psutil.NoSuchProcess):  # one that has just ended
                process.kill()
        grid.communicate()
    grid = workplace.start(*command)
    said, _ = grid.communicate(timeout=900)
    assert grid.returncode == 0, said
    code, said = ablations(*GRID, "--table-only")  # other tests make tables of their own there
    assert code == 0, said
    pd.testing.assert_frame_equal(table(workplace, "killed"), table(workplace))
    right = [[row["right"] for row in rows(workplace, each)] for each in ("killed_rows", "rows")]
    assert right[0] == right[1]
