import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from llmar_pipeline.evaluation import baselines
from llmar_pipeline.evaluation.baselines import (
    bag_of_codes,
    code_answers,
    code_counts,
    head_answers,
    likeliest,
)
from llmar_pipeline.evaluation.code_transformer import code_transformer
from llmar_pipeline.evaluation.readings import mean_by_clip


def table(*rows):
    """Rows of (split, action, codes, number of such clips)."""
    clips = [(split, action, np.array(codes)) for split, action, codes, n in rows for _ in range(n)]
    return pd.DataFrame(
        [
            {"name": f"c{i}", "split": split, "label": ord(action[0]), "action": action, "codes": codes}
            for i, (split, action, codes) in enumerate(clips)
        ]
    )


def test_code_counts():
    counts = code_counts([np.array([2, 0, 2], dtype=np.int32), np.array([], dtype=np.int32)], 4)
    assert counts.toarray().tolist() == [[1, 0, 2, 0], [0, 0, 0, 0]]


def test_codes_tell_classes_apart():
    answers = bag_of_codes(
        table(
            ("train", "sit", [0, 0, 1], 20),
            ("train", "wave", [2, 3, 3], 20),
            ("test", "wave", [3, 2, 9], 1),  # a code that training lacks
            ("test", "sit", [1, 0, 0], 1),
        )
    )
    assert answers.to_dict("list") == {
        "name": ["c40", "c41"],
        "true": ["wave", "sit"],
        "predicted": ["wave", "sit"],
    }


def test_the_order_of_the_codes_is_not_seen():
    sentences = table(
        ("train", "sit", [0, 1], 20),
        ("train", "stand", [1, 0], 20),
        ("test", "sit", [0, 1], 3),
        ("test", "stand", [1, 0], 3),
    )
    assert bag_of_codes(sentences)["predicted"].nunique() == 1


@pytest.mark.parametrize(("val_class", "answer"), [("rare", "rare"), ("common", "common")])
def test_the_penalty_is_chosen_on_validation_clips(val_class, answer):
    # The strongest penalty leaves the class frequencies alone and answers "common" always; a weak one reads
    # the codes. The test clips are "rare" both times, so a choice on them would give "rare" both times.
    sentences = table(
        ("train", "common", [0], 90),
        ("train", "rare", [1], 10),
        ("val", val_class, [1], 5),
        ("test", "rare", [1], 5),
    )
    assert set(bag_of_codes(sentences)["predicted"]) == {answer}


def test_of_many_sentences_some_are_drawn_and_no_class_is_lost(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_FITTED", 8)
    fitted, fit = [], LogisticRegression.fit
    monkeypatch.setattr(
        LogisticRegression,
        "fit",
        lambda model, counts, labels: (
            fitted.append((counts.toarray(), list(labels))) or fit(model, counts, labels)
        ),
    )
    sentences = table(
        ("train", "common", [0], 90),
        ("train", "rare", [1], 1),
        ("train", "common", [2], 90),
        ("test", "rare", [1], 2),
    )
    answers = [bag_of_codes(sentences, seed) for seed in (0, 0, 1)]
    assert [len(labels) for _, labels in fitted] == [8, 8, 8]
    assert all(labels.count("rare") == 1 for _, labels in fitted)
    assert fitted[0][0].tolist() == fitted[1][0].tolist() != fitted[2][0].tolist()
    assert answers[0].equals(answers[1])
    codes = fitted[0][0].argmax(1).tolist()
    assert codes == sorted(codes)  # in the order of the table


def test_a_fit_that_starts_from_another_one_is_that_fit():
    rng = np.random.default_rng(0)
    rows = [("train", "abcde"[k], rng.integers(0, 4, 4) + k, 1) for k in rng.integers(0, 5, 400)]
    rows += [(split, "abcde"[k], rng.integers(0, 4, 4) + k, 1) for split in ("val", "test") for k in range(5)]
    sentences = table(*rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a fit that ends before its tolerance says so
        answers = bag_of_codes(sentences)
    parts = {split: sentences[sentences["split"] == split] for split in ("train", "val", "test")}
    counts = {split: code_counts(list(part["codes"]), 8) for split, part in parts.items()}
    models = [
        LogisticRegression(C=strength, max_iter=10_000).fit(counts["train"], parts["train"]["action"])
        for strength in baselines.STRENGTHS
    ]
    best = max(models, key=lambda model: model.score(counts["val"], parts["val"]["action"]))
    assert answers["predicted"].tolist() == best.predict(counts["test"]).tolist()


def test_classes_missing_from_training():
    sentences = table(
        ("train", "sit", [0], 9), ("train", "wave", [1], 9), ("test", "jump", [1], 2), ("test", "sit", [0], 1)
    )
    assert bag_of_codes(sentences)["predicted"].tolist() == ["wave", "wave", "sit"]
    assert bag_of_codes(sentences[sentences["action"] != "sit"]).empty  # one class to train on
    assert bag_of_codes(sentences[(sentences["split"] == "train") | (sentences["action"] == "jump")]).empty


def test_the_heads_answers_are_those_in_the_sentences():
    sentences = table(
        ("train", "sit", [0], 1), ("train", "wave", [0], 1), ("test", "sit", [0], 1), ("test", "wave", [0], 1)
    )
    assert head_answers(sentences).empty  # no head
    told = np.log([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])  # of "sit" and "wave"
    answers = head_answers(sentences.assign(head=list(told)))
    assert answers.to_dict("list") == {
        "name": ["c2", "c3"],
        "true": ["sit", "wave"],
        "predicted": ["wave", "sit"],
    }
    trained = sentences["split"].eq("train")
    untrained = sentences.assign(head=list(told))[trained ^ sentences["action"].eq("wave")]
    assert head_answers(untrained).empty  # no answer could be right


def test_several_readings_of_a_clip_are_answered_once():
    readings = pd.DataFrame({"name": ["b", "b", "a", "a"], "reading": [0, 1, 0, 1], "action": list("xxyy")})
    chances = np.log([[0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.6, 0.4]])
    clips, means = mean_by_clip(readings, chances)
    assert clips.to_dict("list") == {"name": ["b", "a"], "reading": [0, 0], "action": ["x", "y"]}
    np.testing.assert_allclose(np.exp(2 * means), [[0.08, 0.18], [0.18, 0.28]])
    assert likeliest(readings, ["x", "y"], chances).to_dict("list") == {
        "name": ["b", "a"],
        "true": ["x", "y"],
        "predicted": ["y", "y"],
    }


def test_codes_of_all_readings_are_counted():
    sentences = table(("train", "sit", [0, 0], 5), ("train", "wave", [1, 1], 5), ("test", "sit", [1, 0], 3))
    sentences.loc[10:, "name"] = "asked"  # three readings of one clip
    for row in (11, 12):
        sentences.at[row, "codes"] = np.array([0, 0])
    for answers in (bag_of_codes(sentences), code_transformer(sentences, 0)):
        assert answers.to_dict("list") == {"name": ["asked"], "true": ["sit"], "predicted": ["sit"]}


def test_codes_answer_by_what_they_said_in_training():
    """Two codes, two classes: p(0 | sit) = 3/4, p(0 | wave) = 1/4; of a head, logits, which are averaged."""
    votes = torch.tensor([[0.75, 0.25], [0.25, 0.75]]).log()
    sentences = table(
        ("train", "sit", [0, 0], 1), ("test", "sit", [0, 0, 1], 1), ("test", "sit", [1, 1, 0], 1)
    )
    names = ["sit", "wave"]
    assert code_answers(sentences, votes, names)["predicted"].tolist() == names
    assert code_answers(sentences, torch.tensor([[9.0, 1.0], [2.0, 5.0]]), names)["predicted"].tolist() == [
        "sit",  # (9 + 9 + 2) / 3 against (1 + 1 + 5) / 3
        "sit",  # 13 / 3 against 11 / 3
    ]
    assert code_answers(sentences, None, names).empty
    assert code_answers(sentences, votes, ["walk", "run"]).empty  # none of them was asked
