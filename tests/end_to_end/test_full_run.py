"""The whole demo through the real command."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from huggingface_hub import ModelCard
from mlflow.tracking import MlflowClient
from nbclient import NotebookClient

from llmar_pipeline.pipeline_registry import stages
from llmar_pipeline.recognizer import Recognizer
from llmar_pipeline.recognizer_folder import check_recognizer

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
SHOWN = {"execute_result", "display_data", "stream"}


@pytest.fixture(scope="module")
def full_run(workplace):
    code, output = workplace.kedro()
    assert code == 0, output
    return output


def read(workplace, layer, name):
    return pd.read_parquet(workplace.file(layer, name))


def test_the_terminal_shows_the_result(workplace, full_run):
    assert re.search(r"clip +true +predicted +probability", full_run)
    assert re.search(r"^accuracy +\d+\.\d %", full_run, re.MULTILINE)
    assert re.search(r"^control: shuffled +\d+\.\d %", full_run, re.MULTILINE)
    assert f"Report: {workplace.file('08_reporting', 'report.html')}" in full_run
    assert "synthetic" in full_run


def test_the_log_of_a_whole_demo_has_neither_gaps_nor_bars(full_run):
    """It is compared with what was made up, not with NTU RGB+D, and goes through a pipe here."""
    assert "not complete" not in full_run
    assert "56," not in full_run
    assert "\r" not in full_run
    assert "it/s" not in full_run


def test_how_long_it_takes_is_said_once_before_the_first_training(full_run):
    lines = full_run.splitlines()
    said = [
        number for number, line in enumerate(lines) if re.match(r"about .*: start [\d.]+ s, ingestion ", line)
    ]
    assert len(said) == 1
    assert all(f"{stage} " in lines[said[0]] for stage in stages())
    assert said[0] < next(number for number, line in enumerate(lines) if "vqvae.train_vqvae" in line)


def test_the_number_type_is_told_and_kept(workplace, full_run):
    assert "language model in float32, as llm.precision asks for" in full_run
    report = workplace.file("08_reporting", "report.html").read_text()
    assert re.search(r"<dt>language model in</dt><dd>float32</dd>", report)
    client = MlflowClient(tracking_uri=workplace.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    assert "float32" in {run.data.tags.get("number_type") for run in runs}


def test_a_run_with_nothing_to_do_says_so_and_imports_neither_torch_nor_mlflow(workplace, full_run):
    report = workplace.file("08_reporting", "report.html")
    written = report.stat().st_mtime_ns
    code = (
        "import atexit, sys; from kedro.framework.cli import main; "
        "atexit.register(lambda: print('imported:', sorted({'torch', 'mlflow'} & set(sys.modules)))); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *workplace.arguments()],
        cwd=workplace.project, env=workplace.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to do" in done.stdout
    assert "imported: []" in done.stdout
    assert re.search(r"^accuracy +\d+\.\d %", done.stdout, re.MULTILINE)
    assert report.stat().st_mtime_ns == written


def test_the_report_needs_no_other_file(workplace, full_run):
    html = workplace.file("08_reporting", "report.html").read_text()
    assert "</html>" in html
    assert not re.search(r"<(script|link|img|iframe)[^>]*\b(src|href)=[\"']?(?!data:)[^\"'> ]", html)


def test_the_quarantine_says_where_each_file_is_damaged(workplace, full_run):
    folder = workplace.folder / "data" / "02_intermediate" / "demo" / "recordings"
    quarantine = pd.read_parquet(folder / "quarantine.parquet")
    manifest = json.loads((workplace.folder / "data" / "01_raw" / "demo" / "manifest.json").read_text())
    damaged = {row["name"] for row in manifest["files"] if row["damaged"]}
    assert len(damaged) == 4
    assert set(quarantine["name"]) == damaged
    for column in ("file", "expected", "seen"):
        assert quarantine[column].astype(str).str.len().gt(0).all(), column
    assert (quarantine["line"] >= 0).all()


def test_the_tables(workplace, full_run):
    sentences = read(workplace, "04_feature", "action_sentences.parquet")
    assert {"name", "split", "label", "codes"} <= set(sentences.columns)
    assert sentences["codes"].map(len).gt(0).all()
    assert sentences["codes"].map(max).lt(32).all()

    splits = sentences.drop_duplicates("name").set_index("name")["split"]
    predictions = read(workplace, "07_model_output", "predictions.parquet")
    assert set(predictions["name"]) == set(splits[splits == "test"].index)
    probabilities = predictions.filter(regex="^p:")
    assert {"name", "true", "predicted"} <= set(predictions.columns)
    assert probabilities.sum(axis=1).sub(1).abs().lt(1e-4).all()
    assert (probabilities.idxmax(axis=1).str.removeprefix("p:") == predictions["predicted"]).all()


def test_the_metrics_are_those_of_the_predictions(workplace, full_run):
    metrics = json.loads(workplace.file("08_reporting", "metrics.json").read_text())
    predictions = read(workplace, "07_model_output", "predictions.parquet")
    assert {"accuracy", "mean_class_accuracy", "n_test", "shuffled_accuracy"} <= set(metrics)
    assert "top5" not in metrics  # there are four classes
    assert metrics["untested_classes"] == metrics["untrained_classes"] == []
    assert metrics["n_test"] == len(predictions)
    refusals = read(workplace, "07_model_output", "refusals.parquet")
    tested, threshold = refusals[refusals["kind"] == "test"], metrics["refusal_threshold"]
    assert set(tested["name"]) == set(predictions["name"])
    assert metrics["refusal_kept_test"] == pytest.approx((tested["distance"] <= threshold).mean())
    assert (refusals.loc[refusals["kind"] == "held_out", "distance"] <= threshold).mean() >= 0.95
    assert metrics["accuracy"] == pytest.approx((predictions["true"] == predictions["predicted"]).mean())


def test_the_trained_model_answers_alone_as_the_evaluation_does(workplace, full_run, tmp_path):
    """In an empty folder, by the two lines of the docs."""
    folder = workplace.file("06_models", "recognizer")
    predictions = read(workplace, "07_model_output", "predictions.parquet").set_index("name")
    sentences = read(workplace, "04_feature", "action_sentences.parquet")
    codes = sentences[sentences["reading"] == 0].set_index("name")["codes"]
    name = predictions.index[0]
    program = (
        "from llmar_pipeline.recognizer import Recognizer; "
        f"r = Recognizer.load({str(folder)!r}); "
        f"print(r.predict({str(workplace.folder / 'data' / '01_raw' / 'demo' / f'{name}.skeleton')!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=workplace.environment() | {"PYTHONPATH": str(workplace.project / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    clip, *rows, sentence = done.stdout.splitlines()
    assert clip == name
    assert sentence == "sentence: " + " ".join(f"<a{code}>" for code in codes[name])
    shown = (
        predictions.loc[name].filter(regex="^p:").astype(float).sort_values(ascending=False, kind="stable")
    )
    rows = [row for row in rows if not row.startswith("none of these (nearest: ")]
    assert rows == [f"{value:7.1%}  {column.removeprefix('p:')}" for column, value in shown.items()]
    assert not list(tmp_path.iterdir())

    recognizer = Recognizer.load(folder)
    for name, row in predictions.iterrows():
        answer = recognizer.predict(workplace.folder / "data" / "01_raw" / "demo" / f"{name}.skeleton")
        assert answer.codes == tuple(codes[name])
        assert answer.names[0] == row["predicted"]
        for shown_name, value in zip(answer.names, answer.probabilities, strict=True):
            assert value == pytest.approx(row[f"p:{shown_name}"], abs=1e-5)


def test_mlflow_keeps_the_run(workplace, full_run):
    client = MlflowClient(tracking_uri=workplace.tracking_uri)
    (experiment,) = client.search_experiments(filter_string="name = 'demo'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["vqvae.code_dim"] == "32"
    assert run.data.params["lora_training.max_steps"] == "12"
    tags = run.data.tags
    chosen = {key: tags[key] for key in ("dataset", "protocol", "experiment", "size")}
    assert chosen == {"dataset": "demo", "protocol": "xsub", "experiment": "llm_ar", "size": "tiny"}
    assert run.info.run_name == "demo xsub llm_ar-tiny seed 0"
    assert tags["mlflow.source.name"] == "kedro run"
    assert {"git_revision", "command", "mlflow.user", "mlflow.source.type"} <= tags.keys()
    seen = {(each.tags[0].value, each.dataset.name) for each in run.inputs.dataset_inputs}
    splits = {(split, f"demo xsub {split}") for split in ("train", "val", "test")}
    assert seen == {*splits, ("output", "vqvae"), ("output", "recognizer")}
    copied = list((workplace.folder / "mlruns").rglob("*.safetensors"))  # once, as a model that can be served
    assert {path.relative_to(workplace.folder / "mlruns").parts[1] for path in copied} == {"models"}
    assert len(copied) == len(list(workplace.file("06_models", "recognizer").rglob("*.safetensors")))
    assert not any(name.startswith("table") for name in run.data.metrics)  # made-up recordings are in none
    assert tags["language_model"] == run.data.params["llm.model"]
    metrics = json.loads(workplace.file("08_reporting", "metrics.json").read_text())
    assert run.data.metrics["accuracy"] == pytest.approx(metrics["accuracy"])
    validation = ("vqvae/validation_loss", "lora/validation_loss", "lora/validation_accuracy")
    for curve in ("vqvae/loss", "lora/loss", *validation):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, curve)]
        assert steps == list(range(1, 13)), curve  # a checkpoint, and with it a record, each step
    kept = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "model_card.md"} <= kept
    assert tags["registered_model"] == "models:/demo-xsub-llm_ar-tiny/1"
    assert client.get_model_version("demo-xsub-llm_ar-tiny", "1").run_id == run.info.run_id


def test_the_trained_model_has_its_card_which_is_no_part_of_it(workplace, full_run):
    folder = workplace.file("06_models", "recognizer")
    card = ModelCard.load(folder / "README.md")
    metrics = json.loads(workplace.file("08_reporting", "metrics.json").read_text())
    [result] = card.data.eval_results
    assert result.metric_value == pytest.approx(100 * metrics["accuracy"], abs=0.051)
    assert (folder / "README.md").read_text() == workplace.file("08_reporting", "model_card.md").read_text()
    assert '<a href="model_card.md">' in workplace.file("08_reporting", "report.html").read_text()
    assert "README.md" not in check_recognizer(folder).files


@pytest.fixture(scope="module")
def kernel(workplace, project):
    """One for all notebooks, which spares imports; each gets it empty."""
    client = NotebookClient(
        nbformat.v4.new_notebook(),
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": project}},
    )
    with pytest.MonkeyPatch.context() as patch:
        for key, value in workplace.environment().items():
            patch.setenv(key, value)
        with client.setup_kernel():
            yield client


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_notebooks_show_something_in_every_cell(workplace, full_run, project, kernel, file):
    notebook = nbformat.read(file, as_version=4)
    place = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    params = {"size": "tiny", "data_dir": str(workplace.folder / "data")}
    chosen = f"PROJECT, PARAMS, CONF = {str(project)!r}, {params!r}, {str(workplace.conf)!r}"
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(chosen))
    notebook.cells.append(nbformat.v4.new_code_cell("%reset -f"))
    kernel.nb = notebook
    for index, cell in enumerate(notebook.cells):
        kernel.execute_cell(cell, index)
    for cell in notebook.cells[place + 3 : -1]:
        if cell.cell_type == "code":
            assert {output.output_type for output in cell.outputs} & SHOWN, cell.source


def test_the_stages_one_after_the_other(workplace):
    code, output = workplace.kedro("--pipelines=stage1", data="staged")
    assert code == 0, output
    assert workplace.file("06_models", "vqvae/config.json", data="staged").exists()
    assert not workplace.file("04_feature", "action_sentences.parquet", data="staged").exists()
    trained = workplace.file("06_models", "vqvae/model.safetensors", data="staged").read_bytes()

    code, output = workplace.kedro("--pipelines=stage2", data="staged")
    assert code == 0, output
    assert re.search(r"^accuracy +\d+\.\d %", output, re.MULTILINE)
    assert workplace.file("06_models", "vqvae/model.safetensors", data="staged").read_bytes() == trained


def test_each_stage_by_itself(workplace, full_run, kedro):
    for stage in stages():
        code, output = kedro(f"--pipelines={stage}", data="seven")
        assert code == 0, (stage, output)
    assert re.search(r"^accuracy +\d+\.\d %", output, re.MULTILINE)
    whole, by_stages = (
        json.loads(workplace.file("08_reporting", "metrics.json", data=data).read_text())
        for data in ("data", "seven")
    )
    assert list(whole) == list(by_stages)
    differing = {name for name in whole if whole[name] != by_stages[name]}
    assert all("code_transformer" in name for name in differing)  # which has few steps in this process


def test_the_doctor_finds_all_that_the_demo_needs(workplace, kedro):
    code, output = kedro(command="doctor")
    assert code == 0, output
    assert re.search(r"^ok +recordings +48 synthetic ones", output, re.MULTILINE)
    code, output = kedro("--env=nwucla", command="doctor", size="tiny_raw")
    assert code == 1
    assert re.search(r"^missing +recordings +.*01_raw/nwucla: expected nwucla files", output, re.MULTILINE)
    assert re.search(r"^ok +language model", output, re.MULTILINE)


def test_a_run_without_validation_clips(workplace, full_run, kedro):
    code, output = kedro(val_share=0)
    assert code == 0, output
    assert "There are no validation clips." in output
    (splits,) = workplace.folder.glob("data/03_primary/demo/xsub/recordings-val0/splits.parquet")
    assert set(pd.read_parquet(splits)["split"]) == {"train", "test"}
    (metrics,) = workplace.folder.glob("data/08_reporting/demo/xsub/llm_ar-tiny-*/metrics.json")
    found = json.loads(metrics.read_text())
    assert (found["n_val"], found["val_accuracy"]) == (0, None)
    assert found["bag_of_codes_accuracy"] is not None
    assert "There are no validation clips." in metrics.with_name("report.html").read_text()


def test_a_size_that_is_not_named_is_the_one_that_lies_there(workplace, full_run):
    code, output = workplace.kedro("--pipelines=reporting", size="auto")
    assert code == 0, output
    first = output.splitlines()[0]
    assert first.startswith(
        f"size: tiny, which lies in {workplace.folder}/data/06_models/demo/xsub/llm_ar-tiny"
    )
