"""The trained recogniser's answers on validation and test clips, kept as they come."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from llmar_pipeline.code_digest import CODE, code_of
from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.config import EvaluationConfig
from llmar_pipeline.evaluation.correction import content_free_sentences, correct_scores
from llmar_pipeline.evaluation.metrics import build_predictions
from llmar_pipeline.evaluation.readings import mean_by_clip
from llmar_pipeline.files import file_checksum
from llmar_pipeline.kept_batches import in_kept_batches
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import find_names, generate_names, score_classes
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.model_folder import model_files
from llmar_pipeline.language.name_search import Ask
from llmar_pipeline.language.packing import pad_sentences
from llmar_pipeline.language.passes import Passes
from llmar_pipeline.language.probability import probabilities
from llmar_pipeline.language.sentence import read_clips, sentences_checksum, shuffle_across_clips
from llmar_pipeline.language.trained_model import load_scorer
from llmar_pipeline.language.validation import cost_of
from llmar_pipeline.training import processes
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.training.digests import tensor_checksum
from llmar_pipeline.training.validation import validated_behind
from llmar_pipeline.training.world import together

Item = TypeVar("Item")
Sentences = Sequence[np.ndarray]
_ASK = Ask(top=5, tolerance=1e-3)  # accuracies need these five, calibration the first one's probability


class Answers(NamedTuple):
    """Predictions tables.

    Attributes:
        test: Of the test clips; with a column `generated` where they were answered freely too, a column
            `uncorrected` where scores are corrected for the prior, with what they say without it, and a
            column `bound`, as the others: by how much any probability may be wrong.
        val: Of the validation clips, or those drawn of them; empty where there are none.
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
    training: TrainingConfig | None = None,
) -> Answers:
    """Score the class list for every test and validation clip, and for the shuffled control.

    Where a clip is read several times, its scores are the mean over its readings; free answers are given to
    the first one. Names are read best first: the five likeliest are exact, and no probability is wrong by
    more than the column `bound` says. With a correction for the prior all names are read. The control gives
    every test clip the sentences of another one: where the model reads them, its accuracy falls to chance. A
    score depends on the sentence alone, so the control's are those of the test clips in another order.

    Args:
        recognizer: Folder of the trained `ActionLanguageModel`.
        sentences: Columns name, split, action, codes; features where the model was trained with them.
        llm_cache: Folder of converted language models.
        folder: Where scores are kept as they come from the model; those of the same model, sentences, classes
            and batch size are not computed again.
        config: Batch size, corrections, free generation.
        class_names: The class list of the test clips; that of the training by default.
        llm: Where the language model may lie by now, if not where it lay in training.
        training: The schedule of stage 2, by whose cost validation clips are drawn (`validated_behind`);
            None: all are answered.

    Raises:
        UserError: The model is incomplete, the sentences are of another codebook, a code is not in it,
            features are missing, or there are fewer than two test clips.

    Source: "Testing" of Sec. 3.2 of the paper, scored exactly; the control is ours.
    """
    model = load_scorer(recognizer, llm_cache, processes.device(), llm=llm)
    if sentences.attrs.get("codebook", model.codebook_checksum) != model.codebook_checksum:
        raise UserError(
            f"expected action sentences of the codebook that {recognizer} was trained for, saw those of "
            "another; run `kedro run --pipelines=stage2` with the same parameters."
        )
    train, val, test_readings = (sentences[sentences["split"] == part] for part in ("train", "val", "test"))
    known = read_clips(train, model.input)
    passes = Passes(model, config.clips_at_once)
    asking = _Asking(model, model_fingerprint(recognizer, model), known, folder, config, passes)
    trained = LabelTrie(model.class_names, model.tokenizer)
    asked = trained if class_names is None else LabelTrie(class_names, model.tokenizer)

    test, chances = asking.probabilities("test", test_readings, asked)
    predictions = _table(test, chances, asked)
    if asking.corrects(asked):
        raw = mean_by_clip(test_readings, asking.by_length("test", test_readings, asked))[1].argmax(axis=1)
        predictions.insert(3, "uncorrected", [asked.class_names[best] for best in raw])
    shuffled = _table(test, np.stack(shuffle_across_clips(list(chances), config.seed)), asked)
    if config.generate:
        generated = asking.generated("test_generated", read_clips(test, model.input), asked)
        predictions.insert(3, "generated", generated)
    predictions_val = predictions[:0]
    if len(val := _cheap_enough(val, model, trained, training)):
        predictions_val = _table(*asking.probabilities("val", val, trained), trained)
    return Answers(predictions, predictions_val, shuffled)


def _cheap_enough(
    val: pd.DataFrame, model: ActionLanguageModel, classes: LabelTrie, training: TrainingConfig | None
) -> pd.DataFrame:
    """Readings of the validation clips that are answered."""
    if not len(val) or training is None:
        return val
    names = val["name"].unique()
    weight = cost_of(model, classes, len(val["codes"].iloc[0])) * len(val) / len(names)
    return val[val["name"].isin(names[validated_behind(len(names), training, weight)])]


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
        CODE: code_of(score_classes.__module__, load_scorer.__module__),
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
    passes: Passes

    def probabilities(
        self, title: str, readings: pd.DataFrame, classes: LabelTrie
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """First readings, and probabilities and their bound [clips, classes + 1], corrected as configured."""
        if self.corrects(classes):
            clips, chances = mean_by_clip(readings, self._corrected(title, readings, classes))
            return clips, np.pad(probabilities(chances), ((0, 0), (0, 1)))
        clips = readings.drop_duplicates("name")
        by_clip = list(readings.groupby("name", sort=False).indices.values())
        read = read_clips(readings, self.model.input)
        by_length = self.config.length_correction == "mean"

        def work(batch: Sequence[int]) -> np.ndarray:
            padded = pad_sentences([read[reading] for clip in batch for reading in by_clip[clip]])
            codes, mask = (part.unflatten(0, (len(batch), -1)) for part in padded)
            guesses = self.model.guesses(codes[:, 0], mask[:, 0], classes.class_names)
            found = find_names(self.model, codes, mask, classes, _ASK, by_length, guesses)
            return np.column_stack([found.probabilities, found.bounds])

        most = max(sum(len(read[reading]) for reading in group) for group in by_clip)
        digest = {"sentences": sentences_checksum(read), "by_length": by_length}
        digest |= {"ask": asdict(_ASK)}
        return clips, self._kept(title, range(len(clips)), classes, work, digest, most)

    def corrects(self, classes: LabelTrie) -> bool:
        """Whether scores are corrected for the prior."""
        return self.config.corrects(trained=classes.class_names == self.model.class_names)

    def by_length(
        self, title: str, readings: pd.DataFrame, classes: LabelTrie, content_free: np.ndarray | None = None
    ) -> np.ndarray:
        """Log-likelihoods [readings, classes], the whole tree read; corrected for length if so set.

        Where the scores of content-free sentences are given, they are corrected for the prior too.
        """
        lengths = None
        if self.config.length_correction == "mean":
            lengths = [len(answer) for answer in classes.answers]
        scores = self._scores(f"{title}_all", read_clips(readings, self.model.input), classes)
        return correct_scores(scores, lengths, content_free)

    def _corrected(self, title: str, readings: pd.DataFrame, classes: LabelTrie) -> np.ndarray:
        drawn = content_free_sentences(self.training_sentences, self.config.seed)
        content_free = self._scores(f"{title}_content_free", drawn, classes)
        return self.by_length(title, readings, classes, content_free)

    def generated(self, title: str, sentences: Sentences, classes: LabelTrie) -> list[str]:
        """Free answers."""

        def work(batch: Sentences) -> np.ndarray:
            return np.array(generate_names(self.model, *pad_sentences(batch), classes, len(batch)))

        digest = {"sentences": sentences_checksum(sentences)}
        return [
            str(name) for name in self._kept(title, sentences, classes, work, digest, _longest(sentences))
        ]

    def _scores(self, title: str, sentences: Sentences, classes: LabelTrie) -> np.ndarray:
        def work(batch: Sentences) -> np.ndarray:
            return score_classes(self.model, *pad_sentences(batch), classes, len(batch)).numpy()

        digest = {"sentences": sentences_checksum(sentences)}
        return self._kept(title, sentences, classes, work, digest, _longest(sentences))

    def _kept(
        self,
        title: str,
        items: Sequence[Item],
        classes: LabelTrie,
        work: Callable[[Sequence[Item]], np.ndarray],
        digest: Mapping[str, Any],
        codes: int,
    ) -> np.ndarray:
        fingerprint = {"model": self.fingerprint, **digest, "class_names": classes.class_names}
        folder, size = self.folder / title, self.config.clips_at_once
        title = title.replace("_", " ")

        def in_passes(batch: Sequence[Item]) -> np.ndarray:
            return np.concatenate(self.passes(batch, work, classes, codes))

        return in_kept_batches(items, size, in_passes, folder, fingerprint, title, team=together())


def _longest(sentences: Sentences) -> int:
    return max(map(len, sentences))


def _table(clips: pd.DataFrame, chances: np.ndarray, classes: LabelTrie) -> pd.DataFrame:
    names, actions = clips["name"].tolist(), clips["action"].tolist()
    with np.errstate(divide="ignore"):  # a name may be impossible
        scores = np.log(chances[:, :-1])
    return build_predictions(names, actions, classes.class_names, scores).assign(bound=chances[:, -1])
