"""benchmarks/peer.py from a store to its page, on made-up recordings."""

import json
import sys

import pytest


@pytest.fixture(scope="module")
def run(benchmarks, workplace, kedro):
    code, output = kedro("--pipelines=ingestion,normalization", experiment="best")
    assert code == 0, output
    with pytest.MonkeyPatch.context() as patch:
        peer = benchmarks("peer")
        patch.setattr(peer, "CONF", workplace.conf)
        patch.setattr(peer, "BLOCKS", ((8, 2), (8, 2)))
        patch.setattr(peer, "one_thread", lambda: None)  # it would be so for all later tests of this process

        def of(*options, folder="peers"):
            params = f"size=tiny,experiment=best,data_dir={workplace.folder / 'data'}"
            where = ("--rows", workplace.folder / folder, "--out", workplace.folder / "peer.md")
            arguments = ("peer.py", "--env", "demo", "--params", params, *where, *options)
            patch.setattr(sys, "argv", [str(argument) for argument in arguments])
            peer.main()
            rows = {f.name: json.loads(f.read_text()) for f in sorted((workplace.folder / folder).iterdir())}
            return rows, (workplace.folder / "peer.md").read_text()

        of.peer, of.patch = peer, patch
        yield of


def test_a_row_a_seed_and_none_twice(run):
    options = ("--seeds", "0", "1", "--streams", "joints", "bone_motion", "--steps", "10")
    rows, page = run(*options)
    assert list(rows) == [f"peer-demo-xsub-joints+bone_motion-10steps-seed{seed}.json" for seed in (0, 1)]
    first, _ = rows.values()
    assert first["steps"] == 10
    assert len(first["right"]) == first["metrics"]["n_test"]
    assert first["metrics"]["accuracy"] == first["right"].count("1") / len(first["right"])
    assert set(first["accuracy_of_streams"]) == {"joints", "bone_motion"}
    assert page.count("\n| demo xsub") == 3

    again, _ = run(*options, "--seeds", "1", folder="others")  # the same steps, the same answers
    changing = {"command": "", "processor_seconds": 0}
    assert [row | changing for row in again.values()] == [list(rows.values())[1] | changing]
    with run.patch.context() as patch:
        patch.setattr(run.peer, "train", None)
        assert run(*options)[0] == rows
        assert run("--table-only")[1] == page


def test_steps_are_told_from_seconds(run):
    rows, _ = run("--seeds", "0", "--seconds", "1", folder="seconds")
    (row,) = rows.values()
    assert row["budget"] == "1 s"
    assert row["steps"] >= 10
    assert row["best_epoch_accuracy"] >= row["one_reading_accuracy"]


def test_what_is_not_there_is_named(run, workplace, tmp_path):
    with pytest.raises(SystemExit, match="--seconds"):
        run("--seeds", "0", folder="none")
