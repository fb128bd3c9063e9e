"""The trained recogniser's answers on validation and test clips, kept as they come."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from llmar_pipeline.code_digest import CODE, code_of
from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.config import EvaluationConfig
from llmar_pipeline.evaluation.correction import content_free_sentences, correct_scores
from llmar_pipeline.evaluation.metrics import build_predictions
from llmar_pipeline.evaluation.readings import mean_by_clip
from llmar_pipeline.files import file_checksum
from llmar_pipeline.kept_batches import in_kept_batches
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import LabelTrie, generate_names, score_classes
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.packing import pad_sentences
from llmar_pipeline.language.sentence import read_clips, sentences_checksum, shuffle_across_clips
from llmar_pipeline.language.trained_model import load_model, model_files
from llmar_pipeline.training.digests import tensor_checksum

Sentences = Sequence[np.ndarray]


class Answers(NamedTuple):
    """Predictions tables.

    Attributes:
        test: Of the test clips; with a column `generated` where they were answered freely too.
        val: Of the validation clips; empty where there are none.
        shuffled: Of the test clips, each with the sentence of another one.
    """

    test: pd.DataFrame
    val: pd.DataFrame
    shuffled: pd.DataFrame


def answer_clips(
    recognizer: Path,
    sentences: pd.DataFrame,
    llm_cache: Path,
    folder: Path,
    config: EvaluationConfig,
    class_names: Sequence[str] | None = None,
    llm: LLMConfig | None = None,
) -> Answers:
    """Score the class list for every test and validation clip, and for the shuffled control.

    Where a clip is read several times, its scores are the mean over its readings; free answers are given to
    the first one. The control gives every test clip the sentences of another one: where the model reads
    them, its accuracy falls to chance. A score depends on the sentence alone, so the control's are those of
    the test clips in another order.

    Args:
        recognizer: Folder of the trained `ActionLanguageModel`.
        sentences: Columns name, split, action, codes; features where the model was trained with them.
        llm_cache: Folder of converted language models.
        folder: Where scores are kept as they come from the model; those of the same model, sentences, classes
            and batch size are not computed again.
        config: Batch size, corrections, free generation.
        class_names: The class list of the test clips; that of the training by default.
        llm: Where the language model may lie by now, if not where it lay in training.

    Raises:
        UserError: The model is incomplete, the sentences are of another codebook, a code is not in it,
            features are missing, or there are fewer than two test clips.

    Source: "Testing" of Sec. 3.2 of the paper, scored exactly; the control is ours.
    """
    model = load_model(recognizer, llm_cache, dtype="float32", llm=llm)
    if sentences.attrs.get("codebook", model.codebook_checksum) != model.codebook_checksum:
        raise UserError(
            f"expected action sentences of the codebook that {recognizer} was trained for, saw those of "
            "another; run `kedro run --pipelines=stage2` with the same parameters."
        )
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    train, val, test = (sentences[sentences["split"] == split] for split in ("train", "val", "test"))
    known = read_clips(train, model.input)
    asking = _Asking(model, model_fingerprint(recognizer, model), known, folder, config)
    trained = LabelTrie(model.class_names, model.tokenizer)
    asked = trained if class_names is None else LabelTrie(class_names, model.tokenizer)

    def answered(title: str, readings: pd.DataFrame, classes: LabelTrie) -> tuple[pd.DataFrame, np.ndarray]:
        scores = asking.corrected_scores(title, read_clips(readings, model.input), classes)
        return mean_by_clip(readings, scores)

    test, scores = answered("test", test, asked)
    predictions = _table(test, asked, scores)
    shuffled = _table(test, asked, np.stack(shuffle_across_clips(list(scores), config.seed)))
    if config.generate:
        predictions.insert(
            3, "generated", asking.generated("test_generated", read_clips(test, model.input), asked)
        )
    predictions_val = predictions[:0]
    if len(val):
        val, scores = answered("val", val, trained)
        predictions_val = _table(val, trained, scores)
    return Answers(predictions, predictions_val, shuffled)


def model_fingerprint(recognizer: Path, model: ActionLanguageModel) -> dict[str, Any]:
    """What the scores of a recogniser depend on, as far as it is not in the clips.

    Args:
        recognizer: Its folder.
        model: As it was loaded from there.

    Returns:
        Checksums of its weights, its settings (that of the base model among them), the checksum of the word
        embeddings, and the code that scores.

    Source: ours.
    """
    fingerprint: dict[str, Any] = {
        "words": tensor_checksum(model.words.weight),
        CODE: code_of(LabelTrie.__module__, load_model.__module__),
    }
    for file in model_files(recognizer):
        if file.suffix != ".json":
            fingerprint[file.name] = file_checksum(file)
            continue
        content = json.loads(file.read_text(encoding="utf-8"))
        for place in ("base_model_name_or_path", "revision"):  # they decide nothing, the weights do
            content.pop(place, None)
        if "llm_sha256" in content:
            content["llm"] = {k: v for k, v in content["llm"].items() if k not in ("model", "revision")}
        # peft writes a set of layers in an order that changes from process to process.
        fingerprint[file.name] = {
            k: sorted(v, key=str) if isinstance(v, list) else v for k, v in content.items()
        }
    return fingerprint


@dataclass(frozen=True)
class _Asking:
    """A model, and where its answers are kept."""

    model: ActionLanguageModel
    fingerprint: dict[str, Any]
    training_sentences: Sentences
    folder: Path
    config: EvaluationConfig

    def corrected_scores(self, title: str, sentences: Sentences, classes: LabelTrie) -> np.ndarray:
        """Log-likelihoods [clips, classes], with the corrections that the configuration asks for."""
        lengths = content_free = None
        if self.config.length_correction == "mean":
            lengths = [len(answer) for answer in classes.answers]
        trained = classes.class_names == self.model.class_names
        if self.config.prior_correction == "always" or (
            self.config.prior_correction == "unseen" and not trained
        ):
            drawn = content_free_sentences(self.training_sentences, self.config.seed)
            content_free = self._scores(f"{title}_content_free", drawn, classes)
        return correct_scores(self._scores(title, sentences, classes), lengths, content_free)

    def generated(self, title: str, sentences: Sentences, classes: LabelTrie) -> list[str]:
        """Free answers."""

        def work(batch: Sentences) -> np.ndarray:
            return np.array(generate_names(self.model, *pad_sentences(batch), classes, len(batch)))

        return [str(name) for name in self._kept(title, sentences, classes, work)]

    def _scores(self, title: str, sentences: Sentences, classes: LabelTrie) -> np.ndarray:
        def work(batch: Sentences) -> np.ndarray:
            return score_classes(self.model, *pad_sentences(batch), classes, len(batch)).numpy()

        return self._kept(title, sentences, classes, work)

    def _kept(
        self, title: str, sentences: Sentences, classes: LabelTrie, work: Callable[[Sentences], np.ndarray]
    ) -> np.ndarray:
        digest = sentences_checksum(sentences)
        fingerprint = {"model": self.fingerprint, "sentences": digest, "class_names": classes.class_names}
        folder, size = self.folder / title, self.config.batch_size
        return in_kept_batches(sentences, size, work, folder, fingerprint, title.replace("_", " "))


def _table(clips: pd.DataFrame, classes: LabelTrie, scores: np.ndarray) -> pd.DataFrame:
    return build_predictions(clips["name"].tolist(), clips["action"].tolist(), classes.class_names, scores)
