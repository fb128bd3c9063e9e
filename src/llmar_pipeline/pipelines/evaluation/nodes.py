"""The recogniser's answers on clips it was not trained on, the controls, and the numbers."""

from pathlib import Path

import numpy as np
import pandas as pd

from llmar_pipeline.evaluation.config import EvaluationConfig
from llmar_pipeline.evaluation.metrics import build_predictions, metrics


def predict(
    recognizer_model: Path, action_sentences: pd.DataFrame, llm_cache: Path, evaluation: EvaluationConfig
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Score the class list for every test clip, every validation clip, and the shuffled control.

    The control gives every test clip the sentence of another one: where the model reads the sentences, its
    accuracy falls to chance.
    """
    from llmar_pipeline.language.action_language_model import ActionLanguageModel
    from llmar_pipeline.language.answer import score_sentences
    from llmar_pipeline.language.sentence import shuffle_across_clips

    model = ActionLanguageModel.load(recognizer_model, llm_cache, dtype="float32")

    def answers(clips: pd.DataFrame, codes: list[np.ndarray]) -> pd.DataFrame:
        scores = score_sentences(model, codes, evaluation.batch_size)
        return build_predictions(clips["name"].tolist(), clips["action"].tolist(), model.class_names, scores)

    test, val = (action_sentences[action_sentences["split"] == split] for split in ("test", "val"))
    codes = test["codes"].tolist()
    predictions = answers(test, codes)
    shuffled = answers(test, shuffle_across_clips(codes, evaluation.seed))
    return predictions, answers(val, val["codes"].tolist()) if len(val) else predictions[:0], shuffled


def score(
    predictions: pd.DataFrame,
    predictions_val: pd.DataFrame,
    predictions_shuffled: pd.DataFrame,
    action_sentences: pd.DataFrame,
    evaluation: EvaluationConfig,
) -> dict[str, float | int | None]:
    """Accuracy with its interval and its controls; the validation accuracy is the one to tune on."""
    train = action_sentences[action_sentences["split"] == "train"]
    majority = str(train.drop_duplicates("name")["action"].mode()[0])
    return {
        **metrics(predictions, majority, evaluation.seed),
        "shuffled_accuracy": metrics(predictions_shuffled)["accuracy"],
        "val_accuracy": metrics(predictions_val)["accuracy"] if len(predictions_val) else None,
        "n_val": len(predictions_val),
    }
