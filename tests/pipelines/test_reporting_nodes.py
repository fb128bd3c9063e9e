"""What the report says of a run, through the nodes that write it."""

import json
import re

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.evaluation.config import EvaluationConfig
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.llm_name import BUNDLED
from llmar_pipeline.pipelines.reporting.nodes import write_report, write_summary
from llmar_pipeline.pipelines.reporting.pipeline import create_pipeline
from llmar_pipeline.reporting.config import RunInfo
from llmar_pipeline.reporting.report_figures import FIGURES, ReportFigure
from llmar_pipeline.skeletons.normalization import NormalizationConfig
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.vqvae import trained

RUN = RunInfo(
    dataset="ntu60",
    protocol="xsub",
    experiment="euclidean",
    size="gpu",
    synthetic=False,
    revision="d822a5e-dirty",
    date="2027-01-02 03:04",
)
METRICS = {
    "headline": "accuracy",
    "accuracy": 0.5,
    "accuracy_low": 0.1,
    "accuracy_high": 0.9,
    "mean_class_accuracy": 0.5,
    "n_test": 2,
    "n_val": 0,
    "n_classes": 2,
    "chance": 0.5,
}
PREDICTIONS = pd.DataFrame(
    {"name": ["t0", "t1"], "true": ["sit", "jump"], "predicted": ["sit", "sit"]}
    | {"p:sit": [0.9, 0.8], "p:jump": [0.1, 0.2]}
)
SENTENCES = pd.DataFrame(
    [
        *(("a0", "train", 0, [1, 1]), ("v0", "val", 0, [2, 2])),
        *(("t0", "test", 0, [17, 400]), ("t1", "test", 0, [5, 6]), ("t1", "test", 1, [7, 7])),
    ],
    columns=["name", "split", "reading", "codes"],
)
SPLITS = pd.DataFrame({"split": ["train"] * 20 + ["val"] * 3 + ["test"] * 2 + ["unused"]})
QUARANTINE = pd.DataFrame({"expected": ["25 joints", "25 joints", "a number", "a file"]})
REFUSALS = pd.DataFrame({"name": ["t0"], "kind": ["test"], "distance": [1.0], "threshold": [np.inf]})
HISTORY = pd.DataFrame({"step": [1, 2], "loss": [2.0, 1.0]})
NORMALIZATION = {"fill_gaps": True, "center": True, "align_view": False, "scale_to_body": False}
PARAMETERS = {
    "normalization": NORMALIZATION,
    "vqvae": {"codes": 512},
    "llm": LLMConfig(model="smollm2", precision="auto"),
    "lora": AdapterConfig(),
    "vqvae_training": {"seed": 3},
    "lora_training": {"seed": 3},
}


@pytest.fixture
def sequences(tmp_path):
    """A store of the test clips."""
    folder = tmp_path / "sequences"
    with StoreWriter(folder, 2, CORPORA["ntu60"].topology) as writer, writer.shard({}) as shard:
        for name in PREDICTIONS["name"]:
            shard.append(Sequence(name, np.ones((2, 4, 25, 3), np.float32)))
    return folder


@pytest.fixture
def report(tmp_path, sequences):
    (tmp_path / "language_model.json").write_text(json.dumps({"llm": {"precision": "bfloat16"}}))

    def write(quarantine=QUARANTINE, normalization=NORMALIZATION, **lora):
        html = write_report(
            run=RUN,
            metrics=METRICS,
            predictions=PREDICTIONS,
            action_sentences=SENTENCES,
            splits=SPLITS,
            quarantine=quarantine,
            sequences=sequences,
            recognizer_model=tmp_path,
            model_card=tmp_path / "model_card.md",
            code_statistics={"used_codes": 7, "codes": 512, "reconstruction_error": 0.25},
            animation=b"GIF89a",
            film_strip=b"\x89PNG",
            parameters=PARAMETERS | {"normalization": normalization, "lora": AdapterConfig(**lora)},
        )
        bare = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.S)
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", bare)).replace("\u202f", " ")

    return write


def test_recordings_are_counted_as_they_are(report):
    text = report()
    assert "30 recordings: 26 read, 4 left out (quarantined)." in text
    assert "expected 25 joints 2 " in text
    for split, clips in (("train", 20), ("val", 3), ("test", 2), ("unused", 1)):
        assert f" {split} {clips} " in text
    assert "26 recordings read." in report(quarantine=QUARANTINE[:0])


def test_the_report_names_its_run_and_what_it_was_trained_in(report):
    text = report()
    assert "LLM-AR on ntu60, xsub" in text
    assert "There are no validation clips." in text
    for label, value in (("experiment", "euclidean"), ("size", "gpu"), ("language model in", "bfloat16")):
        assert f"{label} {value}" in text
    assert "git revision d822a5e-dirty date 2027-01-02 03:04" in text
    assert "vqvae.codes 512" in text
    assert "seed 3" in text
    assert "trained model model card" in text
    assert "kedro 1." in text.replace("&nbsp;", " ")
    assert "normalization.center True" in text
    assert "A test clip beside its reconstruction" in text
    assert "Test clips above their reconstruction, with their action sentence" in text


def test_the_report_says_which_language_model_it_is_and_what_its_rows_know_of_labels(report):
    assert f"language model {BUNDLED}" in report().replace("&#39;", "'")
    told = "their rows start half way to the words of the training classes"
    assert told in report(action_rows="classes")
    assert told not in report()
    assert told not in report(action_rows="classes", input="features")  # then no row is read
    learnt = "The language model has learnt the probabilities that the class head of stage 1 gives"
    assert learnt in report(answers="head")
    assert learnt not in report()


def test_sentences_are_those_of_the_test_clips_and_lengths_have_their_unit(report):
    text = report()
    assert " t0 17 400 sit " in text
    assert "mean joint error 0.25 m" in text
    scaled = NormalizationConfig(**NORMALIZATION | {"scale_to_body": True})
    assert "mean joint error 0.25 body units" in report(normalization=scaled)


def test_an_added_figure_is_drawn_kept_and_shown(tmp_path, sequences, monkeypatch):
    """One entry of `FIGURES` is all that it takes."""
    added = ReportFigure(lambda seen: go.Figure(layout_title_text=f"{len(seen.predictions)} clips"),
                         "stage2", "An added figure", "Nothing is drawn in it.")  # fmt: skip
    monkeypatch.setitem(FIGURES, "added", added)
    codebook = trained.CodebookFacts(512, 1, np.eye(512), np.arange(512), "hyperbolic", 1.0)
    monkeypatch.setattr(trained, "load_vqvae", lambda folder: folder)
    monkeypatch.setattr(trained, "codebook_facts", lambda folder: codebook)
    (tmp_path / "language_model.json").write_text(json.dumps({"llm": {"precision": "float32"}}))
    inputs = {"params:run": RUN, "metrics": METRICS, "predictions": PREDICTIONS, "splits": SPLITS,
              "action_sentences": SENTENCES, "quarantine": QUARANTINE, "recognizer_model": tmp_path,
              "sequences": sequences, "model_card": tmp_path / "model_card.md",
              "code_statistics": {}, "animation": b"GIF89a", "film_strip": b"PNG", "vqvae_history": HISTORY,
              "lora_history": HISTORY, "parameters": PARAMETERS, "refusals": REFUSALS}  # fmt: skip
    figure = {"type": "plotly.JSONDataset", "filepath": str(tmp_path / "{name}.json")}
    catalog = DataCatalog.from_config({"{name}_figure": figure})
    for name, value in inputs.items():
        catalog[name] = MemoryDataset(value)
    catalog["report"] = MemoryDataset()
    nodes = create_pipeline().only_nodes("reporting.draw_figures", "reporting.write_report")
    SequentialRunner().run(nodes, catalog)
    report = catalog.load("report")
    assert '<h3>An added figure</h3>\n<p class="note">Nothing is drawn in it.</p>' in report
    assert "2 clips" in report
    assert report.count("Plotly.newPlot(") == len(FIGURES)
    assert {file.stem for file in tmp_path.glob("*.json")} == {*FIGURES, "language_model"}
    usage = json.loads((tmp_path / "code_usage.json").read_text())
    assert "4 of 512 codes used" in usage["layout"]["title"]["text"]  # of test clips as they are


def test_the_summary_counts_what_was_left_out_and_names_the_report(tmp_path):
    evaluation = EvaluationConfig(batch_size=8, seed=0, table_rows=1, film_strips=1)
    file = tmp_path / "report.html"
    text = write_summary(RUN, METRICS, PREDICTIONS, QUARANTINE, file, evaluation)
    assert "4 damaged recordings were left out (quarantine.parquet)." in text
    assert "... 1 more clips" in text
    assert text.endswith(f"Report: {file}")
    assert "left out" not in write_summary(RUN, METRICS, PREDICTIONS, QUARANTINE[:0], file, evaluation)


def test_the_summary_is_written_after_the_report_that_it_names():
    nodes = {node.name: node for node in create_pipeline().nodes}
    needed = create_pipeline().node_dependencies[nodes["reporting.write_summary"]]
    assert needed == {nodes["reporting.write_report"]}
    linked = create_pipeline().node_dependencies[nodes["reporting.write_report"]]
    assert nodes["reporting.write_model_card"] in linked


def test_the_same_report_comes_out_whenever_it_is_written(report):
    assert report() == report()
