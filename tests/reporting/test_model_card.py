"""The model card: Hugging Face's form, numbers of metrics.json alone, what is not known said so."""

import json
import re
from dataclasses import asdict

import pytest
from huggingface_hub import ModelCard

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.llm_name import BUNDLED, llm_licence
from llmar_pipeline.records import write_sealed
from llmar_pipeline.reporting.config import RunInfo
from llmar_pipeline.reporting.model_card import model_card
from llmar_pipeline.skeletons.topology import Body

RUN = RunInfo(
    **{"dataset": "ntu60", "protocol": "xview", "experiment": "best", "size": "gpu", "synthetic": False},
    **{"revision": "d822a5e", "date": "2027-01-02 03:04"},
)
METRICS = {
    "headline": "accuracy",
    **{"accuracy": 0.912, "accuracy_low": 0.88, "accuracy_high": 0.941, "mean_class_accuracy": 0.9},
    **{"n_test": 1234, "n_val": 99, "n_classes": 2, "chance": 0.5, "val_accuracy": 0.893, "top5": None},
    **{"shuffled_accuracy": 0.017, "head_accuracy": 0.9501, "majority_accuracy": None},
    **{"minus_head": -0.0381, "minus_head_low": -0.06, "minus_head_high": -0.01},
}


@pytest.fixture
def folder(tmp_path):
    """A recogniser's folder, as far as a card reads it."""
    corpus = CORPORA["ntu60"]
    (tmp_path / "vqvae").mkdir()
    body = asdict(Body(corpus.topology, corpus.persons))
    (tmp_path / "vqvae" / "config.json").write_text(
        json.dumps({"body": body, "config": {"geometry": "hyperbolic"}})
    )
    names = ["sit down", "put [something] on | off\n# not a heading <b>"]
    language = {"class_names": names, "llm": {"precision": "bfloat16"}, "llm_sha256": "ab" * 32}
    (tmp_path / "language_model.json").write_text(json.dumps(language))
    write_sealed(tmp_path / "recognizer.json", {"corpus": "ntu60", "units": "metres"})
    return tmp_path


@pytest.fixture
def card(folder):
    def write(metrics=METRICS, run=RUN, llm="smollm2", **lora):
        config = LLMConfig(model=llm, precision="auto")
        counts = {"train": 20_000, "test": 1234}
        return model_card(run, metrics, folder, counts, 7, config, AdapterConfig(**lora), folder)

    return write


def words(text):
    return " ".join(text.replace("\u202f", " ").split())


def test_the_hub_reads_its_metadata_and_its_result(card):
    data = ModelCard(card()).data
    assert (data.library_name, data.datasets, data.license) == ("llmar_pipeline", ["ntu60"], "other")
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    [result] = data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == (
        "ntu60, xview",
        "accuracy",
        91.2,
    )
    assert ModelCard(card(llm="someone/model")).data.base_model == "someone/model"


def test_results_stand_with_interval_and_controls(card):
    text = words(card())
    assert "Top-1 accuracy **91.2 %** (95 % interval 88.0 to 94.1 %) on 1,234 test clips, 2 classes" in text
    assert "| shuffled action sentences | 1.7 % | |" in text
    head = "class head: linear, on stage 1's features; kedro predict --read=head"
    assert f"| {head} | 95.0 % | the LLM is 3.8 points below it " in text
    assert "(-6.0 to -1.0) |" in text
    assert "| chance, one of 2 classes | 50.0 % | |" in text
    assert "| on validation clips | 89.3 % | 99 clips |" in text
    assert "answers worse than the class head" in text
    assert "most frequent training class" not in text  # there is no such number


def test_every_number_of_the_results_is_one_of_metrics_json(card):
    known = {f"{abs(100 * value):.1f}" for value in METRICS.values() if isinstance(value, float)}
    results = re.search(r"## Results(.*?)^## ", card(), re.DOTALL | re.MULTILINE)[1]
    assert "91.2" in re.findall(r"\d+\.\d", results)
    assert set(re.findall(r"\d+\.\d", results)) <= known


def test_what_was_not_measured_has_no_number(card):
    assert "| on validation clips | not measured | 0 clips |" in words(
        card(METRICS | {"val_accuracy": None, "n_val": 0})
    )


def test_names_stay_words_whatever_is_in_them(card):
    text = card()
    assert r"sit down, put \[something\] on \| off \# not a heading \<b\>." in text
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    assert headings == [
        *("LLM-AR on ntu60, xview", "How to load it", "Intended use", "Training data", "Results"),
        *("Language model", "Limits", "Where it comes from"),
    ]


def test_it_tells_data_language_model_and_licence(card):
    text = words(card(rank=8, target_modules=("q_proj",)))
    assert "train 20,000, test 1,234; 7 damaged recordings were left out." in text
    assert words(re.sub(r"[\\]", "", text)).count(" ".join(CORPORA["ntu60"].citation.split())[:40]) == 1
    assert BUNDLED.replace("_", r"\_") in text
    assert f"SHA-256 `{'ab' * 32}`" in text
    assert "adapters (LoRA, rank 8, alpha 16, on q_proj) were trained, in bfloat16" in text
    assert "Licence: Apache-2.0." in text
    assert "25 joints of 3 coordinates in metres" in text
    assert "All its weights were tuned" in card(method="full")
    assert "git revision `d822a5e`, 2027-01-02 03:04" in text


def test_it_does_not_tell_where_a_language_model_lies_on_this_machine(card, tmp_path):
    place = tmp_path / "some-model"
    place.mkdir()
    text = card(llm=str(place))
    assert "- some-model; weights of" in text
    assert str(tmp_path) not in text


def test_it_warns_of_made_up_recordings_of_few_clips_and_of_what_was_started_from(card):
    assert "Made-up" not in card()
    run = RUN.model_copy(update={"synthetic": True, "shots": 5, "init_from": "models/other"})
    text = words(card(run=run))
    assert "**Made-up recordings.**" in text
    assert "made up by a generator" in text
    assert "xview, 5 training clips a class" in text
    assert "started from the trained model models/other" in text


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": "---\nlicense: llama2\n---\n# A model"}, "llama2"),
        (
            {"README.md": "license: none of the header", "LICENSE": "\nMIT License\nmore"},
            "LICENSE: MIT License",
        ),
        ({}, "not stated beside its weights: see where they come from"),
    ],
)
def test_a_licence_is_what_the_files_of_a_language_model_say(tmp_path, files, licence):
    for name, text in {"config.json": "{}", **files}.items():
        (tmp_path / name).write_text(text)
    assert llm_licence(LLMConfig(model=str(tmp_path), precision="auto"), tmp_path) == licence
    assert llm_licence(LLMConfig(model="smollm2", precision="auto"), tmp_path) == "Apache-2.0"
    elsewhere = LLMConfig(model="nobody/has-it-here", precision="auto")
    assert llm_licence(elsewhere, tmp_path) == "not stated beside its weights: see where they come from"
