import functools
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_llm import CLASS_NAMES
from tiny_training import schedule

from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation import answers
from llmar_pipeline.evaluation.answers import answer_clips
from llmar_pipeline.evaluation.config import EvaluationConfig
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import generate_names, score_sentences
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.instructions import encode_answer, load_instruction
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.loading import load_llm
from llmar_pipeline.language.packing import pad_sentences
from llmar_pipeline.language.sentence import shuffle_across_clips
from llmar_pipeline.language.trained_model import load_model, save_model
from llmar_pipeline.training import validation


@pytest.fixture(scope="module")
def recognizer(tiny_llm_folder, tmp_path_factory):
    """Folder of a saved model without adapters, which needs no peft."""
    folder = tmp_path_factory.mktemp("recognizer")
    config = LLMConfig(model=str(tiny_llm_folder), precision="float32")
    llm, tokenizer = load_llm(config, folder)
    codebook = torch.randn(16, 32, generator=torch.Generator().manual_seed(1))
    instruction = load_instruction("recognize")
    save_model(
        ActionLanguageModel(llm, tokenizer, codebook, instruction, CLASS_NAMES, config), folder / "model"
    )
    return folder / "model"


def clips(n_test=11):
    rng = np.random.default_rng(0)
    splits = ["train"] * 6 + ["val"] * 4 + ["test"] * n_test
    return pd.DataFrame(
        {
            "name": [f"c{i}" for i in range(len(splits))],
            "split": splits,
            "action": [CLASS_NAMES[i % len(CLASS_NAMES)] for i in range(len(splits))],
            "codes": [rng.integers(0, 16, rng.integers(1, 7)) for _ in splits],
        }
    )


def ask(recognizer, folder, sentences=None, class_names=None, training=None, **settings):
    config = EvaluationConfig(**{"batch_size": 2, "seed": 0, "table_rows": 1, "film_strips": 0} | settings)
    sentences = clips() if sentences is None else sentences
    folder = Path(folder)
    return answer_clips(Path(recognizer), sentences, folder, folder, config, class_names, training=training)


def log_probabilities(table):
    return np.log(table.filter(regex="^p:").to_numpy())


def check_probabilities(table, scores):
    """The five likeliest in their order, and no probability more wrong than its bound."""
    expected = np.exp(log_softmax(scores))
    found = table.filter(regex="^p:").to_numpy()
    assert (np.abs(found - expected).max(axis=1) <= table["bound"] + 1e-5).all()
    assert (table["bound"] <= 1e-3).all()
    ranked, best = (np.argsort(-values, axis=1, kind="stable")[:, :5] for values in (found, expected))
    np.testing.assert_array_equal(ranked, best)


def log_softmax(scores):
    return (
        scores
        - np.log(np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
        - (scores.max(axis=1, keepdims=True))
    )


@pytest.fixture(scope="module")
def model(recognizer):
    return load_model(recognizer, recognizer, dtype="float32")


@pytest.fixture(scope="module")
def codes():
    return clips().query("split == 'test'")["codes"].tolist()


@pytest.fixture(scope="module")
def plain(recognizer, tmp_path_factory):
    return ask(recognizer, tmp_path_factory.mktemp("scores"), generate=True)


def test_the_answers_are_the_exact_scores(plain, model, codes):
    scores = score_sentences(model, codes, len(codes)).astype(np.float64)
    check_probabilities(plain.test, scores)
    assert plain.test["name"].tolist() == [f"c{i}" for i in range(10, 21)]
    assert plain.val["name"].tolist() == [f"c{i}" for i in range(6, 10)]
    best = [CLASS_NAMES[i] for i in scores.argmax(axis=1)]
    assert plain.test["predicted"].tolist() == best
    assert len(set(best)) > 1


def test_of_many_validation_clips_those_are_answered_that_cost_little(
    recognizer, plain, tmp_path, monkeypatch
):
    training = schedule(max_steps=1, batch_size=1)
    assert ask(recognizer, tmp_path / "all", training=training).val["name"].tolist() == list(
        plain.val["name"]
    )
    monkeypatch.setattr(validation, "MOST", 2)
    drawn = ask(recognizer, tmp_path / "drawn", training=training)
    names = [list(plain.val["name"])[number] for number in validation.validated_behind(4, training, 1.0)]
    assert len(names) == 2
    assert drawn.val["name"].tolist() == names
    pd.testing.assert_frame_equal(drawn.test, plain.test.drop(columns="generated"))


def test_the_control_scores_the_sentence_of_another_clip(plain, model, codes):
    scores = score_sentences(model, shuffle_across_clips(codes, seed=0), 4).astype(np.float64)
    check_probabilities(plain.shuffled, scores)


def test_free_answers_stand_beside(plain, model, codes):
    expected = generate_names(model, *pad_sentences(codes), LabelTrie(CLASS_NAMES, model.tokenizer))
    assert plain.test["generated"].tolist() == expected
    assert list(plain.test.columns[:4]) == ["name", "true", "predicted", "generated"]


@pytest.mark.parametrize("batch_size", [1, 11, "auto"])
def test_the_batch_size_does_not_matter(recognizer, plain, tmp_path, monkeypatch, batch_size):
    if batch_size == "auto":  # and memory for no more than two clips, which shows only when it runs out
        read = answers.find_names

        def find_names(model, codes, *arguments):
            if len(codes) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return read(model, codes, *arguments)

        monkeypatch.setattr(answers, "find_names", find_names)
    other = ask(recognizer, tmp_path, batch_size=batch_size)
    bounds = other.test["bound"].to_numpy() + plain.test["bound"].to_numpy()
    tables = [answers.test.filter(regex="^p:").to_numpy() for answers in (other, plain)]
    assert (np.abs(tables[0] - tables[1]).max(axis=1) <= bounds + 1e-5).all()
    assert other.test["predicted"].tolist() == plain.test["predicted"].tolist()


def test_another_class_list_is_for_test_clips_only(recognizer, tmp_path, model, codes):
    names = ("hand", "throw")
    sentences = clips()
    sentences.loc[sentences["split"] == "test", "action"] = "hand"
    asked = ask(recognizer, tmp_path, sentences, names, prior_correction="unseen")
    drawn = answers.content_free_sentences(clips().query("split == 'train'")["codes"].tolist(), 0)
    scores = score_sentences(model, codes, 3, names).astype(np.float64)
    prior = score_sentences(model, drawn, 8, names).astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(log_probabilities(asked.test), log_softmax(scores - prior), atol=1e-4)
    raw = ask(recognizer, tmp_path, sentences, names)
    check_probabilities(raw.test, scores)
    assert asked.test["uncorrected"].tolist() == raw.test["predicted"].tolist()
    assert "uncorrected" not in raw.test
    assert asked.val.filter(regex="^p:").shape[1] == len(CLASS_NAMES)


def test_scores_are_corrected_for_length_and_prior(recognizer, tmp_path, model, codes):
    corrected = ask(recognizer, tmp_path, length_correction="mean")
    lengths = np.array([len(encode_answer(model.tokenizer, name)) for name in CLASS_NAMES])
    scores = score_sentences(model, codes, 4).astype(np.float64)
    check_probabilities(corrected.test, scores / lengths)

    drawn = answers.content_free_sentences(clips().query("split == 'train'")["codes"].tolist(), 0)
    prior = score_sentences(model, drawn, 8).astype(np.float64)
    corrected = ask(recognizer, tmp_path, prior_correction="always")
    expected = log_softmax(scores - prior.mean(axis=0))
    np.testing.assert_allclose(log_probabilities(corrected.test), expected, atol=1e-4)
    assert (corrected.test["bound"] == 0).all()


def test_the_correction_for_the_prior_keeps_all_scores(recognizer, tmp_path, asked):
    ask(recognizer, tmp_path, prior_correction="always")
    assert sum(asked) == 15 + 2 * 32  # for test and for validation clips
    asked.clear()
    ask(recognizer, tmp_path, prior_correction="always", length_correction="mean")
    assert asked == []


def with_readings(sentences, count=3):
    """Each clip read several times, the other times without its last code."""
    crop = sentences.assign(codes=[codes[: max(1, len(codes) - 1)] for codes in sentences["codes"]])
    return pd.concat([sentences, *[crop] * (count - 1)], ignore_index=True)


@pytest.mark.parametrize("length_correction", ["none", "mean"])
def test_several_readings_of_a_clip_are_one_answer(recognizer, tmp_path, model, length_correction):
    readings = with_readings(clips())
    answered = ask(recognizer, tmp_path, readings, length_correction=length_correction).test
    test = readings.query("split == 'test'")
    scores = score_sentences(model, test["codes"].tolist(), 8).astype(np.float64)
    if length_correction == "mean":
        scores /= [len(encode_answer(model.tokenizer, name)) for name in CLASS_NAMES]
    mean = np.stack([scores[(test["name"] == name).to_numpy()].mean(axis=0) for name in answered["name"]])
    check_probabilities(answered, mean)
    assert len(answered) == 11


def test_what_codes_say_of_the_class_is_read_first_and_changes_nothing(
    recognizer, tmp_path, plain, monkeypatch
):
    find_names, guessed = answers.find_names, []

    def spied(*arguments):
        guessed.append(arguments[-1])
        return find_names(*arguments)

    monkeypatch.setattr(answers, "find_names", spied)
    model = load_model(recognizer, tmp_path)
    model.class_votes = torch.randn(16, len(CLASS_NAMES), generator=torch.Generator().manual_seed(0))
    save_model(model, tmp_path / "voting")
    answered = ask(tmp_path / "voting", tmp_path / "scores").test
    test = clips().query("split == 'test'")["codes"]
    expected = [int(model.class_votes[codes].sum(dim=0).argmax()) for codes in test]
    assert [guess for batch in guessed[:6] for guess in batch] == expected
    assert len(set(expected)) > 2
    assert answered["predicted"].tolist() == plain.test["predicted"].tolist()


@pytest.fixture
def asked(monkeypatch):
    """How many clips, or sentences, each call of the model reads."""
    counts = []
    for name in ("find_names", "score_classes"):
        monkeypatch.setattr(answers, name, spy(getattr(answers, name), counts))
    return counts


def spy(function, counts):
    @functools.wraps(function)
    def spied(*arguments):
        counts.append(len(arguments[1]))
        return function(*arguments)

    return spied


def test_an_interrupted_evaluation_goes_on(recognizer, plain, tmp_path, monkeypatch, asked):
    counted = answers.find_names

    def interrupted(*arguments):
        if len(asked) == 3:
            raise KeyboardInterrupt
        return counted(*arguments)

    monkeypatch.setattr(answers, "find_names", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask(recognizer, tmp_path, generate=True)
    asked.clear()
    monkeypatch.setattr(answers, "find_names", counted)
    resumed = ask(recognizer, tmp_path, generate=True)
    assert asked == [2, 2, 1, 2, 2]  # what is left of 11 test clips, and the validation clips
    for table, whole in zip(resumed, plain, strict=True):
        pd.testing.assert_frame_equal(table, whole, check_exact=True)


def test_another_sentence_or_model_starts_over(recognizer, tmp_path, monkeypatch, asked):
    ask(recognizer, tmp_path)
    asked.clear()
    sentences = clips()
    sentences.at[20, "codes"] = np.array([1, 2, 3])
    ask(recognizer, tmp_path, sentences)
    assert asked == [2, 2, 2, 2, 2, 1]  # the validation clips are the same

    fingerprint = answers.model_fingerprint
    monkeypatch.setattr(answers, "model_fingerprint", lambda *a: fingerprint(*a) | {"words": "others"})
    asked.clear()
    ask(recognizer, tmp_path, sentences)
    assert sum(asked) == 15


@pytest.fixture(scope="module")
def recognizer_of_features(tiny_llm_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recognizer_of_features")
    config = LLMConfig(model=str(tiny_llm_folder), precision="float32")
    parts = (
        *load_llm(config, folder),
        torch.randn(16, 32),
        load_instruction("recognize"),
        CLASS_NAMES,
        config,
    )
    save_model(ActionLanguageModel(*parts, word_norm=True, input="features"), folder / "model")
    return folder / "model"


def clips_with_features():
    rng = np.random.default_rng(1)
    return clips().assign(features=lambda table: [rng.normal(size=(len(c), 32)) for c in table["codes"]])


def test_features_are_answered_and_kept_like_codes(recognizer_of_features, tmp_path, asked):
    sentences = clips_with_features()
    first = ask(recognizer_of_features, tmp_path, sentences, generate=True)
    model = load_model(recognizer_of_features, tmp_path, dtype="float32")
    features = sentences.query("split == 'test'")["features"].tolist()
    scores = score_sentences(model, features, 4).astype(np.float64)
    check_probabilities(first.test, scores)
    assert sum(asked) == 15

    sentences["codes"] = [codes[::-1].copy() for codes in sentences["codes"]]
    ask(recognizer_of_features, tmp_path, sentences)
    assert sum(asked) == 15  # the codes are not read
    sentences.at[20, "features"] = sentences.at[20, "features"] + 1e-3
    ask(recognizer_of_features, tmp_path, sentences, prior_correction="always")
    assert sum(asked) == 15 + 15 + 2 * 32  # all names now, and content-free sentences for both splits


def test_a_recogniser_of_features_misses_them(recognizer_of_features, tmp_path):
    with pytest.raises(UserError, match="expected features"):
        ask(recognizer_of_features, tmp_path)


def test_the_order_of_a_set_that_peft_wrote_does_not_matter(model, tmp_path):
    fingerprints = []
    for layers in ('["q_proj", "v_proj"]', '["v_proj", "q_proj"]', '["v_proj"]'):
        (tmp_path / "adapter_config.json").write_text(f'{{"target_modules": {layers}, "lora_alpha": 16}}')
        fingerprints.append(answers.model_fingerprint(tmp_path, model))
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.slow
def test_killed_amid_the_clips(recognizer, tmp_path, asked):
    call = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]; "
        f"from test_answers import ask, clips; "
        f"ask({str(recognizer)!r}, {str(tmp_path / 'killed')!r}, clips(200), batch_size=1)"
    )
    folder = tmp_path / "killed" / "test"

    def kept():
        whole = 0
        for file in folder.glob("part-*.npz"):
            with suppress(OSError, ValueError, zipfile.BadZipFile), np.load(file) as part:
                whole += len(part["rows"])
        begun = 0
        for file in folder.glob("part-*.begun"):
            with suppress(OSError):  # it may just have become a whole one
                begun += file.read_bytes().count(b"\x93NUMPY") - 1
        return whole + begun

    for wanted in (5, 60):
        process = subprocess.Popen([sys.executable, "-c", call], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 240
        while kept() < wanted and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -9
    before = kept()
    assert 60 <= before < 200
    resumed = ask(recognizer, tmp_path / "killed", clips(200), batch_size=1)
    of_test = len(resumed.test) - before
    assert of_test <= sum(asked) - len(resumed.val) <= of_test + 1  # the last one may have been cut off
    whole = ask(recognizer, tmp_path / "whole", clips(200), batch_size=1)
    for table, expected in zip(resumed, whole, strict=True):
        pd.testing.assert_frame_equal(table, expected, check_exact=True)
