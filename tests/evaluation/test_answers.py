import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_llm import CLASS_NAMES

from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation import answers
from llmar_pipeline.evaluation.answers import answer_clips
from llmar_pipeline.evaluation.config import EvaluationConfig
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import LabelTrie, generate_names, score_sentences
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.instructions import encode_answer, load_instruction
from llmar_pipeline.language.loading import load_llm
from llmar_pipeline.language.packing import pad_sentences
from llmar_pipeline.language.sentence import shuffle_across_clips
from llmar_pipeline.language.trained_model import load_model, save_model


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


def ask(recognizer, folder, sentences=None, class_names=None, **settings):
    config = EvaluationConfig(**{"batch_size": 2, "seed": 0, "table_rows": 1, "film_strips": 0} | settings)
    sentences = clips() if sentences is None else sentences
    return answer_clips(Path(recognizer), sentences, Path(folder), Path(folder), config, class_names)


def log_probabilities(table):
    return np.log(table.filter(regex="^p:").to_numpy())


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
    np.testing.assert_allclose(log_probabilities(plain.test), log_softmax(scores), atol=1e-4)
    assert plain.test["name"].tolist() == [f"c{i}" for i in range(10, 21)]
    assert plain.val["name"].tolist() == [f"c{i}" for i in range(6, 10)]
    best = [CLASS_NAMES[i] for i in scores.argmax(axis=1)]
    assert plain.test["predicted"].tolist() == best
    assert len(set(best)) > 1


def test_the_control_scores_the_sentence_of_another_clip(plain, model, codes):
    scores = score_sentences(model, shuffle_across_clips(codes, seed=0), 4).astype(np.float64)
    np.testing.assert_allclose(log_probabilities(plain.shuffled), log_softmax(scores), atol=1e-4)


def test_free_answers_stand_beside(plain, model, codes):
    expected = generate_names(model, *pad_sentences(codes), LabelTrie(CLASS_NAMES, model.tokenizer))
    assert plain.test["generated"].tolist() == expected
    assert list(plain.test.columns[:4]) == ["name", "true", "predicted", "generated"]


@pytest.mark.parametrize("batch_size", [1, 11])
def test_the_batch_size_does_not_matter(recognizer, plain, tmp_path, batch_size):
    other = ask(recognizer, tmp_path, batch_size=batch_size)
    np.testing.assert_allclose(log_probabilities(other.test), log_probabilities(plain.test), atol=1e-4)


def test_another_class_list_is_for_test_clips_only(recognizer, tmp_path, model, codes):
    names = ("hand", "throw")
    sentences = clips()
    sentences.loc[sentences["split"] == "test", "action"] = "hand"
    asked = ask(recognizer, tmp_path, sentences, names)
    drawn = answers.content_free_sentences(clips().query("split == 'train'")["codes"].tolist(), 0)
    scores = score_sentences(model, codes, 3, names).astype(np.float64)
    prior = score_sentences(model, drawn, 8, names).astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(log_probabilities(asked.test), log_softmax(scores - prior), atol=1e-4)
    raw = ask(recognizer, tmp_path, sentences, names, prior_correction="none")
    np.testing.assert_allclose(log_probabilities(raw.test), log_softmax(scores), atol=1e-4)
    assert asked.val.filter(regex="^p:").shape[1] == len(CLASS_NAMES)


def test_corrections_use_the_kept_scores(recognizer, tmp_path, model, codes, monkeypatch):
    ask(recognizer, tmp_path)
    asked = []
    score_classes = answers.score_classes
    monkeypatch.setattr(answers, "score_classes", lambda *a: asked.append(len(a[1])) or score_classes(*a))
    corrected = ask(recognizer, tmp_path, length_correction="mean")
    assert asked == []
    lengths = np.array([len(encode_answer(model.tokenizer, name)) for name in CLASS_NAMES])
    scores = score_sentences(model, codes, 4) / lengths
    np.testing.assert_allclose(log_probabilities(corrected.test), log_softmax(scores), atol=1e-4)

    corrected = ask(recognizer, tmp_path, prior_correction="always")
    assert sum(asked) == 2 * 32  # for test and for validation clips
    drawn = answers.content_free_sentences(clips().query("split == 'train'")["codes"].tolist(), 0)
    prior = score_sentences(model, drawn, 8).mean(axis=0)
    expected = log_softmax(score_sentences(model, codes, 4) - prior)
    np.testing.assert_allclose(log_probabilities(corrected.test), expected, atol=1e-4)


def test_an_interrupted_evaluation_goes_on(recognizer, plain, tmp_path, monkeypatch):
    score_classes, asked = answers.score_classes, []

    def interrupted(*arguments):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(len(arguments[1]))
        return score_classes(*arguments)

    monkeypatch.setattr(answers, "score_classes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask(recognizer, tmp_path, generate=True)
    asked.clear()
    monkeypatch.setattr(answers, "score_classes", lambda *a: asked.append(len(a[1])) or score_classes(*a))
    resumed = ask(recognizer, tmp_path, generate=True)
    assert asked == [2, 2, 1, 2, 2]  # what is left of 11 test clips, and the validation clips
    for table, whole in zip(resumed, plain, strict=True):
        pd.testing.assert_frame_equal(table, whole, check_exact=True)


def test_another_sentence_or_model_starts_over(recognizer, tmp_path, monkeypatch):
    ask(recognizer, tmp_path)
    asked, score_classes = [], answers.score_classes
    monkeypatch.setattr(answers, "score_classes", lambda *a: asked.append(len(a[1])) or score_classes(*a))
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


def test_features_are_answered_and_kept_like_codes(recognizer_of_features, tmp_path, monkeypatch):
    sentences = clips_with_features()
    asked, score_classes = [], answers.score_classes
    monkeypatch.setattr(answers, "score_classes", lambda *a: asked.append(len(a[1])) or score_classes(*a))
    first = ask(recognizer_of_features, tmp_path, sentences, generate=True)
    model = load_model(recognizer_of_features, tmp_path, dtype="float32")
    features = sentences.query("split == 'test'")["features"].tolist()
    scores = score_sentences(model, features, 4).astype(np.float64)
    np.testing.assert_allclose(log_probabilities(first.test), log_softmax(scores), atol=1e-4)
    assert sum(asked) == 15

    sentences["codes"] = [codes[::-1].copy() for codes in sentences["codes"]]
    ask(recognizer_of_features, tmp_path, sentences)
    assert sum(asked) == 15  # the codes are not read
    sentences.at[20, "features"] = sentences.at[20, "features"] + 1e-3
    ask(recognizer_of_features, tmp_path, sentences, prior_correction="always")
    assert sum(asked) == 15 + 11 + 2 * 32  # the test clips, and content-free ones for both splits


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
def test_killed_amid_the_clips(recognizer, tmp_path, monkeypatch):
    call = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]; "
        f"from test_answers import ask, clips; "
        f"ask({str(recognizer)!r}, {str(tmp_path / 'killed')!r}, clips(200), batch_size=1)"
    )
    begun = tmp_path / "killed" / "test" / "part-00000.begun"

    def kept():
        return begun.read_bytes().count(b"\x93NUMPY") - 1 if begun.exists() else 0

    for wanted in (5, 60):
        process = subprocess.Popen([sys.executable, "-c", call], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 240
        while kept() < wanted and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -9
    before, asked, score_classes = kept(), [], answers.score_classes
    assert 60 <= before < 200
    monkeypatch.setattr(answers, "score_classes", lambda *a: asked.append(len(a[1])) or score_classes(*a))
    resumed = ask(recognizer, tmp_path / "killed", clips(200), batch_size=1)
    of_test = len(resumed.test) - before
    assert of_test <= sum(asked) - len(resumed.val) <= of_test + 1  # the last one may have been cut off
    whole = ask(recognizer, tmp_path / "whole", clips(200), batch_size=1)
    for table, expected in zip(resumed, whole, strict=True):
        pd.testing.assert_frame_equal(table, expected, check_exact=True)
