"""`kedro ablations` over conf/experiments: the table, and what each experiment changes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient
from safetensors.numpy import load_file
from workplaces import BEST

from llmar_pipeline.io.run_names import leaves

ALIKE = {"best_zipf", "best_context", "best_mmd"}  # but for weights that are 0
FILES = [
    file
    for file in sorted((Path(__file__).parents[2] / "conf" / "experiments").glob("*.yml"))
    if file.stem not in ALIKE
]
EXPERIMENTS = [file.stem for file in FILES]
TERMS = {"reconstruction", "embedding", "commitment", "zipf", "context", "mmd"}
STEPS = 16  # W: a quarter of 64 frames


@pytest.fixture(scope="module")
def ablations(many_runs, workplace):
    rows = f"--rows={workplace.folder / 'rows'}"
    return lambda *options: many_runs(rows, *options, command="ablations")


@pytest.fixture(scope="module")
def table(ablations):
    """What is printed for all experiments."""
    code, output = ablations(f"--experiments={','.join(EXPERIMENTS)}")
    assert code == 0, output
    return output


@pytest.fixture
def written(workplace, table):
    """The folder of a layer that an experiment wrote; what it left there by name."""
    return lambda experiment, layer, name: workplace.file(layer, name, run=f"{experiment}-tiny")


def nested(workplace, parent):
    """The MLflow runs in the one of that name."""
    client = MlflowClient(tracking_uri=workplace.tracking_uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    (outer,) = (run.info.run_id for run in runs if run.info.run_name == parent)
    return [run for run in runs if run.data.tags.get("mlflow.parentRunId") == outer]


def test_the_table_has_a_row_for_each(workplace, table):
    assert [f"| {name} | 1 | " in table for name in EXPERIMENTS] == [True] * len(EXPERIMENTS)
    file = workplace.folder / "data" / "08_reporting" / "demo" / "xsub" / "ablations" / "tiny-full.csv"
    rows = pd.read_csv(file)
    assert rows["experiment"].tolist() == EXPERIMENTS
    assert rows["accuracy"].between(0, 1).all()


def test_recordings_are_read_and_normalised_once(workplace, table):
    for layer in ("02_intermediate", "03_primary"):
        assert len(list((workplace.folder / "data" / layer).rglob("manifest.json"))) == 1, layer


def test_each_runs_with_what_its_file_says(workplace, table):
    params = {
        run.data.tags["experiment"]: run.data.params for run in nested(workplace, "ablations tiny full")
    }
    assert sorted(params) == EXPERIMENTS
    for file in FILES:
        own = yaml.safe_load(file.read_text())
        assert file.stem == "llm_ar" or own.pop("from") in ("llm_ar", "best")
        for section in ("sizes", "environments"):  # of which none is called tiny or demo
            own.pop(section, None)
        tiny = leaves(yaml.safe_load(BEST)["sizes"]["tiny"]) if file.stem == "best" else {}
        asked = {name: str(value) for name, value in (leaves(own) | tiny).items()}
        assert asked.items() <= params[file.stem].items(), file.stem


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_each_ends_with_answers_of_its_own(written, experiment):
    metrics = json.loads(written(experiment, "08_reporting", "metrics.json").read_text())
    answers = pd.read_parquet(written(experiment, "07_model_output", "predictions.parquet"))
    assert metrics["n_test"] == len(answers) == 16
    assert (metrics["class_list"], metrics["unseen_classes"]) == ("trained", [])
    assert metrics["accuracy"] == pytest.approx((answers["true"] == answers["predicted"]).mean())
    probabilities = answers.filter(regex="^p:")
    assert probabilities.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-4)
    method = f"{experiment}, adapted to size tiny" if experiment.startswith("best") else experiment
    assert f"{method}</dd>" in written(experiment, "08_reporting", "report.html").read_text()
    if experiment not in ("llm_ar", "class_list_known"):  # this differs where there are unseen classes
        paper = pd.read_parquet(written("llm_ar", "07_model_output", "predictions.parquet"))
        assert not paper.filter(regex="^p:").equals(probabilities)


@pytest.mark.parametrize(
    ("experiment", "left_out"),
    [
        ("llm_ar", set()),
        ("no_biases", {"zipf", "context", "mmd"}),
        ("no_zipf", {"zipf"}),
        ("no_context", {"context"}),
        ("no_mmd", {"mmd"}),
    ],
)
def test_the_terms_of_the_loss(written, experiment, left_out):
    history = pd.read_parquet(written(experiment, "06_models", "vqvae_history.parquet"))
    terms = TERMS - left_out | {"validation"}
    assert set(history.filter(regex="_loss$").columns.str.removesuffix("_loss")) == terms


def test_best_reads_out_on_both_sides_of_the_codebook(written):
    history = pd.read_parquet(written("best", "06_models", "vqvae_history.parquet"))
    assert history["commitment_loss"].isna().tolist() == [True] * 8 + [False] * 4  # continuous steps first
    sentences = pd.read_parquet(written("best", "04_feature", "action_sentences.parquet"))
    assert set(map(len, sentences["head"])) == {sentences["action"].nunique()}
    asked = sentences[sentences["split"] == "test"]
    assert asked.groupby("name")["reading"].count().eq(3).all()
    metrics = json.loads(written("best", "08_reporting", "metrics.json").read_text())
    for name in ("head", "code_transformer", "bag_of_codes"):
        assert 0 <= metrics[f"{name}_accuracy"] <= 1
        assert metrics[f"minus_{name}_low"] <= metrics[f"minus_{name}"] <= metrics[f"minus_{name}_high"]


@pytest.mark.parametrize("experiment", ["supervised", "text_aligned"])
def test_the_auxiliary_loss(written, experiment):
    history = pd.read_parquet(written(experiment, "06_models", "vqvae_history.parquet"))
    assert history["auxiliary_loss"].gt(0).all()


@pytest.mark.parametrize(
    ("experiment", "codes"), [("llm_ar", 1), ("residual_codes", 2), ("body_parts", 5), ("euclidean", 1)]
)
def test_the_codes_of_a_time_step(written, experiment, codes):
    sentences = pd.read_parquet(written(experiment, "04_feature", "action_sentences.parquet"))["codes"]
    assert set(sentences.map(len)) == {STEPS * codes}
    tokens = load_file(written(experiment, "06_models", "recognizer/action_tokens.safetensors"))
    assert {len(rows) for rows in tokens.values()} == {32 * codes}
    assert sentences.map(max).max() >= 32 * (codes - 1)


@pytest.mark.parametrize(
    ("experiment", "geometry", "plane"),
    [
        ("llm_ar", "hyperbolic", "Poincaré disc"),
        ("ball", "hyperbolic", "Poincaré disc"),
        ("euclidean", "euclidean", "Euclidean plane"),
    ],
)
def test_the_geometry_of_the_codes(written, experiment, geometry, plane):
    settings = json.loads(written(experiment, "06_models", "vqvae/config.json").read_text())
    assert settings["config"]["geometry"] == geometry
    drawn = json.loads(written(experiment, "08_reporting", "code_map.json").read_text())
    assert drawn["layout"]["title"]["text"].startswith(plane)


@pytest.mark.parametrize(("experiment", "kept"), [("llm_ar", "tangent"), ("ball", "points")])
def test_what_the_codes_are_kept_as(written, experiment, kept):
    weights = load_file(written(experiment, "06_models", "vqvae/model.safetensors"))
    names = {name.rsplit(".", 1)[1] for name in weights if name.startswith("quantizer.")}
    assert names & {"tangent", "points"} == {kept}


@pytest.mark.parametrize(("experiment", "adapters"), [("llm_ar", True), ("full_tuning", False)])
def test_what_is_tuned(written, tiny_llm_folder, experiment, adapters):
    recognizer = written(experiment, "06_models", "recognizer")
    assert bool(list(recognizer.glob("adapter*"))) == adapters
    assert (recognizer / "model.safetensors").exists() != adapters
    if not adapters:
        base, tuned = (load_file(folder / "model.safetensors") for folder in (tiny_llm_folder, recognizer))
        assert not any((base[name] == tuned[name]).all() for name in base)


def test_without_discretization_the_language_model_reads_features(written):
    sentences = pd.read_parquet(written("no_discretization", "04_feature", "action_sentences.parquet"))
    features = np.load(written("no_discretization", "04_feature", "action_sentences.features.npy"))
    assert features.shape == (len(sentences), STEPS, 32)
    assert features.dtype == np.float16
    assert np.isfinite(features).all()
    assert np.unique(features, axis=0).shape == features.shape  # not a few codes again
    recognizer = json.loads(
        written("no_discretization", "06_models", "recognizer/language_model.json").read_text()
    )
    assert recognizer["input"] == "features"
    metrics = json.loads(written("no_discretization", "08_reporting", "metrics.json").read_text())
    assert {"accuracy", "shuffled_accuracy", "bag_of_codes_accuracy"} <= set(metrics)


def test_features_too_are_trained_and_scored_once(kedro, written):
    scores = written("no_discretization", "07_model_output", "scores")
    kept = {file: file.stat().st_mtime_ns for file in scores.rglob("*.npz")}
    assert kept
    predictions = pd.read_parquet(written("no_discretization", "07_model_output", "predictions.parquet"))
    code, output = kedro("--pipelines=stage2", experiment="no_discretization")
    assert code == 0, output
    assert {file: file.stat().st_mtime_ns for file in scores.rglob("*.npz")} == kept
    again = pd.read_parquet(written("no_discretization", "07_model_output", "predictions.parquet"))
    pd.testing.assert_frame_equal(again, predictions)


def test_an_experiment_with_two_seeds(ablations, workplace):
    code, output = ablations("--experiments=no_mmd", "--seeds=0,1", "--pipelines=stage1,tokenization")
    assert code == 0, output
    assert "| no_mmd | 2 | " in output
    assert "JS(usage, Zipf), nats" in output
    folder = workplace.folder / "data" / "08_reporting" / "demo" / "xsub"
    rows = pd.read_csv(folder / "ablations" / "tiny-stage1-tokenization.csv")
    assert rows[["experiment", "seed"]].values.tolist() == [["no_mmd", 0], ["no_mmd", 1]]
    assert rows[["zipf_js", "mmd", "reconstruction_error"]].nunique().tolist() == [2, 2, 2]
    assert len(nested(workplace, "ablations tiny stage1,tokenization")) == 2


def test_a_mistyped_experiment_is_found_before_the_first_run(ablations):
    code, output = ablations("--experiments=llm_ar,no_zip")
    assert code == 1
    assert "unknown experiment 'no_zip'" in output
    assert "Traceback" not in output
