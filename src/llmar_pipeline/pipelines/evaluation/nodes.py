"""The recogniser's answers on clips it was not trained on, the controls, and the numbers."""

from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.corpora.unseen import told_apart
from llmar_pipeline.evaluation.calibration import expected_calibration_error, reliability
from llmar_pipeline.evaluation.config import MOST_FITTED, EvaluationConfig
from llmar_pipeline.evaluation.metrics import (
    accuracies,
    class_list,
    metrics,
    paired_difference,
    seen_and_unseen,
)
from llmar_pipeline.evaluation.refusals import refusal_metrics
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.vqvae.config import VQVAEConfig


def predict(
    recognizer_model: Path,
    action_sentences: pd.DataFrame,
    class_lists: dict[str, Any],
    llm_cache: Path,
    evaluation_scores: Path,
    evaluation: EvaluationConfig,
    llm: LLMConfig,
    lora_training: TrainingConfig,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Score the class list for test and validation clips and the shuffled control; go on where killed."""
    from llmar_pipeline.evaluation.answers import answer_clips
    from llmar_pipeline.recognizer_folder import check_recognizer
    from llmar_pipeline.training.launch import launch

    check_recognizer(recognizer_model)
    asked = class_lists["asked"] or None
    answers = launch(
        answer_clips,
        1,
        recognizer_model,
        action_sentences,
        llm_cache,
        evaluation_scores,
        evaluation,
        asked,
        llm,
        lora_training,
    )
    return answers.test, answers.val, answers.shuffled


def read_out(
    recognizer_model: Path, action_sentences: pd.DataFrame, evaluation: EvaluationConfig
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """What is read without a language model: counts of codes, codes in order, codes alone, and features."""
    from llmar_pipeline.evaluation.baselines import bag_of_codes, code_answers, head_answers
    from llmar_pipeline.evaluation.code_transformer import code_transformer
    from llmar_pipeline.language.model_folder import trained_classes, trained_votes

    return (
        bag_of_codes(action_sentences, evaluation.seed),
        code_transformer(action_sentences, evaluation.seed),
        code_answers(action_sentences, trained_votes(recognizer_model), trained_classes(recognizer_model)),
        head_answers(action_sentences),
    )


def find_neighbours(
    sequences: Path, splits: pd.DataFrame, vqvae: VQVAEConfig, evaluation: EvaluationConfig
) -> pd.DataFrame:
    """What is read without any learning."""
    from llmar_pipeline.evaluation.nearest_neighbour import nearest_neighbour

    return nearest_neighbour(sequences, splits, vqvae.frames, evaluation.seed)


def read_texts(
    sequences: Path,
    splits: pd.DataFrame,
    class_lists: dict[str, Any],
    corpus: dict[str, Any],
    llm_cache: Path,
    llm: LLMConfig,
    vqvae: VQVAEConfig,
    evaluation: EvaluationConfig,
) -> pd.DataFrame:
    """What is read of unseen classes by their descriptions, in the language model's words, without it."""
    from llmar_pipeline.corpora.descriptions import descriptions
    from llmar_pipeline.evaluation.text_read_out import text_read_out
    from llmar_pipeline.language.words import class_texts, word_embeddings

    if not class_lists["unseen"]:
        return text_read_out(sequences, splits, {}, (), vqvae.frames)
    known, words = descriptions(corpus["name"]), word_embeddings(llm, llm_cache)

    names = [*class_lists["seen"], *class_lists["unseen"]]
    made = class_texts(words, llm, llm_cache, [known.get(name, name) for name in names])
    texts = dict(zip(names, made.double().numpy(), strict=True))
    asked, frames = class_lists["asked"], vqvae.frames
    return text_read_out(sequences, splits, texts, asked, frames, evaluation.seed)


def find_unknown(
    recognizer_model: Path,
    sequences: Path,
    splits: pd.DataFrame,
    action_sentences: pd.DataFrame,
    evaluation: EvaluationConfig,
) -> pd.DataFrame:
    """How far test clips, and sentences that are no action, are from the known classes."""
    from llmar_pipeline.evaluation.unknown import find_unknown as find

    return find(recognizer_model, sequences, splits, action_sentences, evaluation.seed)


def score(
    predictions: pd.DataFrame,
    predictions_val: pd.DataFrame,
    predictions_shuffled: pd.DataFrame,
    predictions_bag_of_codes: pd.DataFrame,
    predictions_code_transformer: pd.DataFrame,
    predictions_codes: pd.DataFrame,
    predictions_nearest_neighbour: pd.DataFrame,
    predictions_head: pd.DataFrame,
    predictions_text: pd.DataFrame,
    refusals: pd.DataFrame,
    action_sentences: pd.DataFrame,
    class_lists: dict[str, Any],
    corpus: dict[str, Any],
    evaluation: EvaluationConfig,
    val_share: float,
    chosen_on: str | None,
) -> dict[str, Any]:
    """Accuracy with its interval and its controls; the validation accuracy is the one to tune on."""
    validating = action_sentences.loc[action_sentences["split"] == "val", "name"].nunique()
    train = action_sentences[action_sentences["split"] == "train"]
    frequent = str(train.drop_duplicates("name")["action"].mode()[0])
    majority = frequent if frequent in class_list(predictions) else None  # none of unseen classes trains
    others = {
        column: predictions[["true"]].assign(predicted=predictions[column]) if column in predictions else None
        for column in ("uncorrected", "generated")
    }
    read_outs = {
        "bag_of_codes": predictions_bag_of_codes,
        "code_transformer": predictions_code_transformer,
        "codes": predictions_codes,
        "nearest_neighbour": predictions_nearest_neighbour,
        "head": predictions_head,
        "text": predictions_text,
        "transductive": predictions_text.assign(predicted=predictions_text["transductive"]),
    }
    clips, raw = train["name"].nunique(), others["uncorrected"]
    unseen = told_apart(class_lists)
    read_out_metrics: dict[str, float | None] = {}
    for name, answers in read_outs.items():
        read_out_metrics |= accuracies(answers, f"{name}_")
        read_out_metrics |= seen_and_unseen(answers, unseen, f"{name}_")
        read_out_metrics |= paired_difference(predictions, answers, name, evaluation.seed)
    return {
        "headline": corpus["metric"],
        **metrics(predictions, majority, evaluation.seed),
        **seen_and_unseen(predictions, unseen),
        "calibration_error": expected_calibration_error(reliability(predictions)),
        **accuracies(others["uncorrected"], "uncorrected_"),
        **(seen_and_unseen(raw, unseen, "uncorrected_") if raw is not None else {}),
        **accuracies(others["generated"], "generated_"),
        **accuracies(predictions_shuffled, "shuffled_"),
        **read_out_metrics,
        "bag_of_codes_drawn": MOST_FITTED if len(train) > MOST_FITTED else None,
        "nearest_neighbour_drawn": MOST_FITTED if clips > MOST_FITTED else None,
        **refusal_metrics(refusals),
        **accuracies(predictions_val, "val_"),
        "n_val": len(predictions_val),
        "val_drawn_from": validating if validating > len(predictions_val) else None,
        "n_train": clips,
        "val_share": val_share,
        "chosen_on": chosen_on,
        "class_list": "all" if unseen else "unseen" if class_lists["unseen"] else "trained",
        "unseen_classes": class_lists["unseen"],
    }
