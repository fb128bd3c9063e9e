"""Bag of codes: what a linear classifier reaches that only counts the codes of an action sentence."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from llmar_pipeline.evaluation.config import MOST_FITTED
from llmar_pipeline.evaluation.readings import mean_by_clip
from llmar_pipeline.recognition.stage1_answers import code_scores

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""scikit-learn's C, the inverse of the weight of the L2 penalty, from the strongest penalty on."""
FIXED_STRENGTH = 0.1
"""Where there are no validation clips to choose on."""
_ROUNDS = 10_000  # of L-BFGS: a fit ends at its tolerance, not here


def bag_of_codes(sentences: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Answer test clips by multinomial logistic regression on the counts of their codes.

    It sees which codes a sentence has and how often, but neither their order nor the names of the classes. It
    is trained on all readings of the training clips, or on `MOST_FITTED` of them, drawn; its penalty is the
    one of `STRENGTHS` with the highest accuracy on the validation clips, the strongest of several, and
    `FIXED_STRENGTH` without such clips. Each penalty's fit starts from that of the stronger one before it.

    Args:
        sentences: Columns name, split, action, codes.
        seed: Of the readings that are drawn.

    Returns:
        `name`, `true`, `predicted`, one row a test clip. A clip whose class has no training clip is answered
        wrongly. No row where that holds for all, or where there is but one class to train on.

    Source: ours.
    """
    train, val, test = (sentences[sentences["split"] == split] for split in ("train", "val", "test"))
    if not answerable(train, test):
        return answer_table(test[:0], [])
    train = drawn_to_fit(train, seed)
    n_codes = 1 + int(max(codes.max(initial=0) for codes in sentences["codes"]))
    counted, counted_val, counted_test = (
        code_counts(part["codes"].tolist(), n_codes) for part in (train, val, test)
    )
    model = LogisticRegression(warm_start=True, max_iter=_ROUNDS)

    def ask(readings: pd.DataFrame, counts: csr_matrix) -> pd.DataFrame:
        return likeliest(readings, model.classes_, model.predict_log_proba(counts))

    best, answers = -1.0, answer_table(test[:0], [])
    for strength in STRENGTHS if len(val) else (FIXED_STRENGTH,):
        model.set_params(C=strength).fit(counted, train["action"])
        told = ask(val, counted_val) if len(val) else answers
        right = float((told["true"] == told["predicted"]).mean()) if len(val) else 0.0
        if right > best:
            best, answers = right, ask(test, counted_test)
    return answers


def drawn_to_fit(train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """At most `MOST_FITTED` rows of a table of clips or readings, drawn, in their order.

    One of each class comes first, so that none is lost.

    Args:
        train: With a column action.
        seed: Of the draw.

    Source: ours.
    """
    if len(train) <= MOST_FITTED:
        return train
    order = np.random.default_rng(seed).permutation(len(train))
    first = ~train["action"].iloc[order].duplicated().to_numpy()
    return train.iloc[np.sort(np.concatenate([order[first], order[~first]])[:MOST_FITTED])]


def answerable(train: pd.DataFrame, test: pd.DataFrame) -> bool:
    """Whether there are two classes to train on, and a test clip of one that trains. Source: ours."""
    classes = set(train["action"])
    return len(classes) > 1 and bool(classes & set(test["action"]))


def likeliest(
    readings: pd.DataFrame, classes: Sequence[str] | np.ndarray, scores: np.ndarray
) -> pd.DataFrame:
    """What is answered to clips, from the mean of their readings' scores.

    Args:
        readings: Columns name, action, a row a reading.
        classes: Their names.
        scores: Log-probabilities, `[readings, classes]`.

    Returns:
        `name`, `true`, `predicted`, one row a clip.

    Source: ours.
    """
    clips, means = mean_by_clip(readings, scores)
    predicted = np.asarray(classes)[means.argmax(axis=1)]
    return answer_table(clips, predicted.tolist())


def answer_table(test: pd.DataFrame, predicted: Sequence[str]) -> pd.DataFrame:
    """What was answered to test clips: columns `name`, `true`, `predicted`. Source: ours."""
    columns = {"name": test["name"].tolist(), "true": test["action"].tolist(), "predicted": predicted}
    return pd.DataFrame(columns, dtype=str)


def head_answers(sentences: pd.DataFrame) -> pd.DataFrame:
    """What the class head of stage 1 answers to test clips, from features before the codebook.

    Args:
        sentences: Columns name, split, label, action; `head`, as `tokenize_clips` makes it, where stage 1 has
            such a head.

    Returns:
        `name`, `true`, `predicted`, one row a test clip; no row where there is no head.

    Source: ours.
    """
    test = sentences[sentences["split"] == "test"]
    train = sentences[sentences["split"] == "train"].drop_duplicates("label").sort_values("label")
    if "head" not in test or not set(train["action"]) & set(test["action"]):
        return answer_table(test[:0], [])
    return likeliest(test, train["action"].to_numpy(), np.stack(test["head"]))


def code_answers(sentences: pd.DataFrame, votes: Tensor | None, class_names: Sequence[str]) -> pd.DataFrame:
    """What the codes answer to test clips, each by what it said in training: `kedro predict --read=codes`.

    Args:
        sentences: Columns name, split, action, codes.
        votes: As `trained_votes` gives them, `[codes, classes]`; None where the model keeps none.
        class_names: Those of the training.

    Returns:
        `name`, `true`, `predicted`, one row a test clip; no row where the model cannot be asked so, or where
        no test clip is of a class that was trained.

    Source: see `code_chances`.
    """
    test = sentences[sentences["split"] == "test"]
    if votes is None or not set(class_names) & set(test["action"]):
        return answer_table(test[:0], [])
    scores = [code_scores(votes, torch.tensor(codes)).log_softmax(-1).numpy() for codes in test["codes"]]
    return likeliest(test, class_names, np.stack(scores))


def code_counts(sentences: Sequence[np.ndarray], n_codes: int) -> csr_matrix:
    """Count the codes of every sentence.

    Args:
        sentences: Codes of each clip.
        n_codes: Number of codes that there are.

    Returns:
        Counts [clips, n_codes], float64, sparse.

    Source: ours.
    """
    ends = np.cumsum([0, *(len(codes) for codes in sentences)])
    codes = np.concatenate([np.empty(0, dtype=np.int64), *sentences])
    counts = csr_matrix((np.ones(len(codes)), codes, ends), shape=(len(sentences), n_codes))
    counts.sum_duplicates()
    return counts
