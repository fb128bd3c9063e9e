"""Picking among candidates, and their tables, without runs."""

import math
from pathlib import Path

import pandas as pd
import pytest

from llmar_pipeline.commands import folds, tune
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.io.params_text import read_params, write_params
from llmar_pipeline.settings import CONFIG_LOADER_ARGS

FOLDS = ("camera:1", "camera:2")


def table(**accuracies):
    """Candidate -> its accuracy on each fold."""
    return pd.DataFrame(
        {"candidate": name, "fold": fold, "seed": 0, folds.SECONDS: 60.0, "accuracy": values[place]}
        for place, fold in enumerate(FOLDS)
        for name, values in accuracies.items()
    )


@pytest.fixture
def loading(project):
    return lambda env: (
        lambda chosen: StackedConfigLoader(str(project / "conf"), env, chosen, **CONFIG_LOADER_ARGS)
    )


def test_the_best_mean_wins_not_the_best_fold():
    assert tune.pick(table(base=(0.6, 0.6), uneven=(0.9, 0.2), better=(0.6, 0.7)), "accuracy") == "better"


def test_of_equal_ones_the_first_wins_whatever_the_order_of_adding():
    assert tune.pick(table(base=(0.1, 0.7), same=(0.7, 0.1), other=(0.3, 0.5)), "accuracy") == "base"
    three = pd.DataFrame(
        {"candidate": ["a"] * 3 + ["b"] * 3, "accuracy": [0.1, 0.2, 0.3, 0.3, 0.2, 0.1]}
    )  # 0.1 + 0.2 + 0.3 is less than 0.3 + 0.2 + 0.1 in floating point, or more
    assert tune.pick(three, "accuracy") == "a"


def test_one_that_failed_somewhere_is_out():
    assert tune.pick(table(base=(0.6, 0.6), failed=(1.0, math.nan)), "accuracy") == "base"
    with pytest.raises(UserError, match="no candidate came to its end"):
        tune.pick(table(base=(math.nan, 0.6)), "accuracy")


def test_the_table_has_mean_deviation_and_each_fold():
    lines = tune.as_markdown(table(base=(0.5, 0.7), failed=(1.0, math.nan)), "accuracy").splitlines()
    assert lines[0] == "| candidate | accuracy, % | camera:1 | camera:2 | processor seconds |"
    assert lines[2] == "| base | 60.0 ± 14.1 | 50.0 | 70.0 | 120 |"
    assert lines[3] == "| failed | failed | 100.0 | failed | 120 |"


def test_a_mean_over_folds_says_which_failed():
    rows = pd.DataFrame(
        {
            "fold": ["1of3", "2of3", "3of3"],
            "n_test": [4, 5, math.nan],
            "mean_class_accuracy": [0.5, 0.7, math.nan],
            folds.SECONDS: [1000.0, 1000.0, 0.0],
        }
    )
    lines = folds.as_markdown(rows, "mean_class_accuracy").splitlines()
    assert lines[0] == "| fold | test clips | mean class accuracy, % | processor seconds |"
    assert lines[2] == "| 1of3 | 4 | 50.0 | 1,000 |"
    assert lines[4:] == ["| 3of3 |  | failed | 0 |", "| mean of 2, 1 failed | 9 | 60.0 ± 14.1 | 2,000 |"]


@pytest.mark.parametrize("env", ["nwucla", "utdmhad", "ntu60", "demo"])
def test_the_candidates_of_the_project_can_be_run(project, loading, env):
    for file in (project / "conf" / "tune").glob("*.yml"):
        candidates, _ = tune.read_candidates(project / "conf", file.stem, env)
        assert next(iter(candidates.values())) == {}
        runs = set()
        for values in candidates.values():
            chosen = read_params(write_params({"experiment": file.stem, "size": "laptop", **values}))
            runs.add(loading(env)(chosen)["globals"]["run"])
        assert len(runs) == len(candidates)


def test_folds_of_an_environment_go_before_those_of_all(tmp_path):
    (tmp_path / "tune").mkdir()
    text = "candidates: {base: }\nfolds: [1of2]\nenvironments:\n  nwucla:\n    folds: [camera:1]\n"
    (tmp_path / "tune" / "best.yml").write_text(text + "    candidates: {more: {lora.rank: 2}}\n")
    assert tune.read_candidates(tmp_path, "best", "uav") == ({"base": {}}, ("1of2",))
    assert tune.read_candidates(tmp_path, "best", "nwucla") == (
        {"base": {}, "more": {"lora.rank": 2}},
        ("camera:1",),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("candidates: {}", "expected candidates for demo, saw none"),
        ("candidates: {a: {fold: camera:1}}", "candidates: a: .* saw fold: give it by --params="),
        ("candidates: {a: {val_share: 0}}", "saw val_share"),
        ("candidate: {a: {}}", r"its keys: candidates, folds, environments"),
        ("candidates: [a]", "saw "),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, text, expected):
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune" / "best.yml").write_text(text)
    with pytest.raises(UserError, match=expected):
        tune.read_candidates(tmp_path, "best", "demo")
    with pytest.raises(UserError, match="choose one of best"):
        tune.read_candidates(tmp_path, "llm_ar", "demo")


@pytest.mark.parametrize("name", ["fold", "experiment", "unseen"])
def test_what_the_command_sets_itself(loading, name):
    with pytest.raises(UserError, match=f"`kedro tune` sets {name} itself"):
        tune.tune(Path(), None, {name: "x"}, "best", (), (0,), "full", loading("demo"), print)


def test_the_first_training_subjects_where_no_fold_is_named(loading, tmp_path):
    loader = loading("demo")({"size": "demo", "data_dir": str(tmp_path)})
    named = folds.subject_folds(loader)
    assert len(named) > 2
    assert folds.subject_folds(loader, 2) == named[:2]
    with pytest.raises(UserError, match="runs every fold"):
        folds.run_folds(Path(), None, {"fold": "subject:1"}, 5, loading("custom"), print)
    with pytest.raises(UserError, match="--k=1: expected at least 2"):
        folds.run_folds(Path(), None, {"protocol": "k_fold"}, 1, loading("custom"), print)


def test_the_command_for_the_final_run():
    params = {"experiment": "best", "vqvae": {"max_norm": 2.0}, "val_share": 0}
    assert tune.final_command("conf", "nwucla", params) == (
        "kedro run --pipelines=full --env=nwucla --params=experiment=best,vqvae.max_norm=2.0,val_share=0"
    )
    assert "--conf-source=other --params" in tune.final_command("other", None, params)
