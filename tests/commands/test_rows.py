"""Rows of results: what they say, which of them is whose."""

import json
from pathlib import Path

import pandas as pd
import pytest

from llmar_pipeline import machine
from llmar_pipeline.commands.nested_runs import with_seed
from llmar_pipeline.commands.rows import (
    command_of,
    find_row,
    identity,
    machine_line,
    read_rows,
    right_clips,
    row_file,
    write_row,
)
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.records import record
from llmar_pipeline.settings import CONFIG_LOADER_ARGS

ROWS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture
def known(project, tmp_path):
    """The identity of a row."""

    def of(seed=0, pipelines="full", env="nwucla", **params):
        chosen = {"size": "laptop", "experiment": "best", "data_dir": str(tmp_path), **params}
        arguments = str(project / "conf"), env, with_seed(chosen, seed)
        return identity(StackedConfigLoader(*arguments, **CONFIG_LOADER_ARGS), seed, pipelines)

    return of


def test_every_kept_row_is_found_again_whoever_wrote_it(known):
    kept = [row for row in read_rows(ROWS) if "experiment" in row and "overrides" not in row]
    assert kept
    for row in kept:
        choice = {name: row[name] for name in ("size", "experiment", "protocol")}
        again = known(row["seed"], row.get("pipelines", "full"), row["environment"], **choice)
        assert find_row(kept, again) is row
        assert row_file(ROWS, row).is_file()


def test_a_row_that_was_written_by_hand_counts(known, tmp_path):
    row = known(1) | {"machine": "one thread", "revision": "1234567", "metrics": {"accuracy": 0.5}}
    write_row(tmp_path, row)
    assert find_row(read_rows(tmp_path), known(1)) == row


def test_folders_and_what_decides_nothing_tell_no_row_from_another(known, tmp_path):
    one = known(1)
    assert one == {
        "environment": "nwucla",
        "protocol": "xview",
        "experiment": "best",
        "size": "laptop",
        "seed": 1,
    }
    assert known(1, raw_dir=str(tmp_path / "there"), lora_training={"save_every": 7}) == one


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"pipelines": "stage1"},
        {"experiment": "llm_ar"},
        {"env": "utdmhad"},
        {"vqvae": {"width": 64}},
        {"val_share": 0.2},
        {"fold": "camera:1"},
        {"unseen": 3},
        {"unseen": 3, "unseen_seed": 1},
        {"shots": 5},
        {"shots": 5, "shots_seed": 1},
        {"vqvae_training": {"max_steps": 5}},
    ],
)
def test_all_else_does(known, changes, tmp_path):
    rows = [known(), known(**changes)]
    assert rows[0] != rows[1]
    for row in rows:
        write_row(tmp_path, row)
    assert [find_row(read_rows(tmp_path), row) for row in rows] == rows


def test_two_draws_of_unseen_classes_are_two_rows(known):
    assert known(unseen=3, unseen_seed=1) != known(unseen=3)


def test_two_draws_of_few_clips_are_two_rows(known):
    assert known(shots=5, shots_seed=1) != known(shots=5)
    assert "shots=5,shots_seed=0" in command_of(known(shots=5))


def test_one_seed_alone_is_no_seed_of_both_trainings(known):
    assert known(0, lora_training={"seed": 1})["overrides"] == {"lora_training.seed": 1}


def test_the_command_can_be_typed(known):
    assert command_of(known()) == (
        "kedro run --pipelines=full --env=nwucla --params=size=laptop,experiment=best,protocol=xview"
    )
    row = known(2, "stage1", vqvae={"width": 64}, fold="subject:1")
    assert command_of(row, allow_incomplete=True) == (
        "kedro run --pipelines=stage1 --env=nwucla --params=size=laptop,experiment=best,protocol=xview,"
        "fold=subject:1,vqvae.width=64,allow_incomplete=true,vqvae_training.seed=2,lora_training.seed=2"
    )


def test_a_machine_is_told_by_threads_processor_and_number_type(monkeypatch):
    monkeypatch.setattr(machine, "gpu", lambda: None)
    monkeypatch.setattr(machine, "processor", lambda: "a processor")
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(machine, "number_type", lambda: machine.NumberType("bfloat16", "it is fast"))
    assert machine_line("float32", 1) == "1 thread of a processor (AVX2); float32"
    monkeypatch.setattr(machine, "gpu", lambda: ("a GPU", 80.0))
    assert machine_line("auto", 2) == "2 threads of a processor (AVX2), a GPU; bfloat16: it is fast"


def test_right_clips_stand_in_the_order_of_names(tmp_path):
    table = pd.DataFrame(
        [("c", "sit", "sit"), ("a", "run", "sit"), ("b", "run", "run")],
        columns=["name", "true", "predicted"],
    )
    table.to_parquet(tmp_path / "predictions.parquet")
    found = right_clips(tmp_path / "predictions.parquet")
    assert found == {"right": "011", "clips": "ea7fb08b7a2d"}  # printf 'a\\nb\\nc' | sha256sum
    table.iloc[::-1].to_parquet(tmp_path / "predictions.parquet")
    assert right_clips(tmp_path / "predictions.parquet") == found
    table.assign(name=["c", "a", "d"]).to_parquet(tmp_path / "predictions.parquet")
    assert right_clips(tmp_path / "predictions.parquet")["clips"] != found["clips"]


def test_answers_that_were_changed_since_are_no_row(tmp_path):
    file = tmp_path / "predictions.parquet"
    pd.DataFrame({"name": ["a"], "true": ["x"], "predicted": ["x"]}).to_parquet(file)
    record(file)
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(UserError, match="as it was written"):
        right_clips(file)


def test_a_row_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "half.json").write_text('{"command": ')
    with pytest.raises(UserError, match=r"a row of results in .*half\.json"):
        read_rows(tmp_path)


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"peer": 1}))
    (tmp_path / "list.json").write_text("[]")
    assert read_rows(tmp_path) == read_rows(tmp_path / "none") == []
