"""Tables of `kedro protocols` and `kedro unseen`, without runs."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from llmar_pipeline.commands import published
from llmar_pipeline.commands import unseen as unseen_classes
from llmar_pipeline.commands.protocols import as_markdown, collect, our_cell, protocol_loaders
from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.unseen import LITERATURE
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.settings import CONFIG_LOADER_ARGS


@pytest.fixture
def loading(project):
    def of(env):
        return lambda chosen: StackedConfigLoader(str(project / "conf"), env, chosen, **CONFIG_LOADER_ARGS)

    return of


def write_metrics(loader, **numbers):
    selection = loader["globals"]
    file = Path(selection["data_dir"], "08_reporting", selection["run_folder"], "metrics.json")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(numbers), encoding="utf-8")


def test_published_numbers_are_about_protocols_that_exist():
    for line in published.PROTOCOLS:
        for corpus, numbers in line.accuracy.items():
            assert set(numbers) <= set(CORPORA[corpus].protocols)
    for line in published.UNSEEN:
        for corpus, numbers in line.accuracy.items():
            assert set(numbers) <= {"3", *LITERATURE[corpus]}


def test_our_numbers_stand_beside_the_published_ones(loading, tmp_path):
    loaders = protocol_loaders({"size": "laptop", "data_dir": str(tmp_path)}, loading("ntu60"))
    empty, no_file = collect(loaders)
    assert no_file is None
    assert as_markdown(empty, loaders["xsub"]).count("not run") == 2
    write_metrics(loaders["xview"], accuracy=0.7, accuracy_low=0.659, accuracy_high=0.741)
    table, file = collect(loaders)
    assert file == tmp_path / "08_reporting/ntu60/protocols/llm_ar-laptop.csv"
    assert pd.read_csv(file)["protocol"].tolist() == ["xsub", "xview"]
    lines = as_markdown(table, loaders["xsub"]).splitlines()
    assert lines[0] == "accuracy on ntu60, %"
    assert lines[4] == "| ours: llm_ar-laptop | local | smollm2 | not run | 70.0 (65.9 to 74.1) |"
    assert lines[5] == "| LLM-AR (the paper, CVPR 2024) | joints | LLaMA-13B | 95.0 | 98.4 |"
    assert len(lines) == 9


@pytest.mark.parametrize("env", ["smarthome", "smarthome2d", "smarthome_refined"])
def test_mean_class_accuracy_is_the_headline_of_smarthome(loading, tmp_path, env):
    loaders = protocol_loaders({"data_dir": str(tmp_path)}, loading(env))
    write_metrics(loaders["xsub"], accuracy=0.9, accuracy_low=0.8, accuracy_high=1.0, mean_class_accuracy=0.5)
    text = as_markdown(collect(loaders)[0], loaders["xsub"])
    assert text.startswith("mean class accuracy on smarthome")
    assert "| 50.0 | not run | not run |" in text
    assert "| 67.0 | 36.1 | 66.6 |" in text


def test_a_corpus_that_a_method_did_not_test_and_the_demo(loading, tmp_path):
    uav = protocol_loaders({"data_dir": str(tmp_path)}, loading("uav"))
    text = as_markdown(collect(uav)[0], uav["csv1"])
    assert "| LLaMA-13B | 46.3 | - |" in text
    assert "SUGAR" not in text
    demo = protocol_loaders({"data_dir": str(tmp_path)}, loading("demo"))
    assert "LLM-AR" not in as_markdown(collect(demo)[0], demo["xsub"])


@pytest.mark.parametrize("chosen", [{"protocol": "xsub"}, {"unseen": 3}, {"shots": 5}])
def test_all_protocols_and_one_protocol_exclude_each_other(loading, chosen):
    with pytest.raises(UserError, match="runs all protocols"):
        protocol_loaders(chosen, loading("ntu60"))


def test_a_protocol_that_was_not_run():
    assert our_cell({}, "accuracy") == our_cell({"accuracy": math.nan}, "accuracy") == "not run"


def test_the_interval_over_draws():
    # t(0.975, 4 degrees) = 2.776445; the deviation of 1..5 is sqrt(2.5), its standard error sqrt(0.5).
    mean, low, high = unseen_classes.mean_and_interval([0.1, 0.2, 0.3, 0.4, 0.5])
    half = 0.1 * 2.776445 * math.sqrt(0.5)
    assert (mean, low, high) == pytest.approx((0.3, 0.3 - half, 0.3 + half), abs=1e-6)
    assert unseen_classes.mean_and_interval([0.5])[0] == 0.5
    assert all(map(math.isnan, unseen_classes.mean_and_interval([0.5])[1:]))


def draws(unseen, experiments, accuracies):
    return pd.DataFrame(
        {"experiment": experiment, "unseen": unseen, "seed": seed, "classes": "drop; throw; reading"}
        | {"accuracy": accuracy, "accuracy_low": 0.1, "accuracy_high": 0.9, "chance": 1 / 3}
        | {"uncorrected_accuracy": accuracy / 2}
        for experiment in experiments
        for seed, accuracy in enumerate(accuracies)
    )


def test_draws_stand_beside_chance_and_table_8(loading):
    text = unseen_classes.as_markdown(
        draws("3", ["llm_ar", "euclidean"], [0.4, 0.6]), loading("ntu120")({"size": "paper"})
    )
    assert "| experiment | seed | LLM, raw scores, % | LLM, corrected for the prior, % | classes |" in text
    assert "| llm_ar | 1 | 30.0 | 60.0 (10.0 to 90.0) | drop; throw; reading |" in text
    # t(0.975, 1 degree) = 12.7062, standard error 0.1: cut at 0 and 1.
    ours = "| ours: euclidean-paper, 2 draws"
    llm = "local | huggyllama/llama-13b"
    assert f"{ours}: LLM, corrected for the prior | {llm} | 50.0 (0.0 to 100.0) |" in text
    assert f"{ours}: LLM, raw scores | {llm} | 25.0 (0.0 to 88.5) |" in text
    alone = unseen_classes.as_markdown(
        draws("3", ["llm_ar"], [0.4, 0.6]).drop(columns="uncorrected_accuracy"),
        loading("ntu120")({"size": "paper"}),
    )
    assert "| experiment | seed | LLM, % | classes |" in alone
    assert "| chance |  |  | 33.3 |" in text
    assert "| LLaMA-13B by LoRA | 62.4 |" in text
    assert "| LLaMA-13B, all weights | 37.7 |" in text


def test_descriptions_stand_there_alone_where_nothing_was_trained(loading):
    """Of 1/2 and 1/4 the harmonic mean is 1/3; the table has the mean over draws of each number."""
    told = {"text_accuracy": 0.4, "transductive_accuracy": 0.5}
    parts = {"text_seen_accuracy": 0.5, "text_unseen_accuracy": 0.25, "text_harmonic_mean": 1 / 3}
    table = (
        draws("3", ["best"], [0.4]).drop(columns=["accuracy", "uncorrected_accuracy"]).assign(**told, **parts)
    )
    text = unseen_classes.as_markdown(
        table, loading("nwucla")({"size": "laptop", "unseen": 3, "generalized": True})
    )
    both = "descriptions without the LLM, %", "descriptions and the test clips without labels, %"
    assert f"| experiment | seed | {both[0]} | {both[1]} | classes |" in text
    assert "| best | 0 | 40.0 | 50.0 | drop; throw; reading |" in text
    name = "| ours: best-laptop-generalized, 1 draw: descriptions without the LLM"
    assert f"{name}, harmonic mean |  |  | 33.3 (seen 50.0, unseen 25.0) |" in text.replace(
        "llm_ar-", "best-"
    )


def test_a_split_of_the_literature_stands_beside_its_own_numbers(loading):
    text = unseen_classes.as_markdown(draws("48-12", ["llm_ar"], [0.4]), loading("ntu60")({"size": "paper"}))
    assert (
        "| ours: llm_ar-paper, 1 draw: LLM, corrected for the prior | local | huggyllama/llama-13b | 40.0 |"
        in text
    )
    assert "| 56.0 |" in text
    assert "62.4" not in text


@pytest.mark.parametrize(
    ("params", "count", "expected"),
    [
        ({"unseen": 3}, 5, "use --classes="),
        ({"experiment": "llm_ar"}, 5, "--experiments="),
        ({}, 0, "at least one draw"),
    ],
)
def test_what_the_command_sets_itself(loading, params, count, expected):
    with pytest.raises(UserError, match=expected):
        unseen_classes.run_draws(Path(), None, params, 3, count, ["llm_ar"], loading("ntu60"), print)
