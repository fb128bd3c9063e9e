"""Stage 2 on validation clips: nothing is chosen by it, and nothing changed."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import find_names
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.name_search import Ask
from llmar_pipeline.language.packing import pad_sentences
from llmar_pipeline.language.passes import Passes
from llmar_pipeline.language.samples import OTHER_CLASSES
from llmar_pipeline.training import processes
from llmar_pipeline.training.config import TrainingConfig, micro_batch_of
from llmar_pipeline.training.sharding import computing, is_sharded
from llmar_pipeline.training.validation import validated


def cost(sentence: float, after: float, answer: float, nodes: int, trained: float | None = None) -> float:
    """Of a validation clip, that of a training clip being 1, by the tokens that the model reads.

    Args:
        sentence: Action tokens.
        after: Tokens of the instruction behind them, with the whole class list where it names classes.
        answer: Tokens of an answer, on average.
        nodes: Tokens of the tree of all answers.
        trained: Tokens of the instruction in training, where it lists fewer classes; None: as many.

    Source: ours; a backward pass through frozen weights costs as much as a forward pass.
    """
    trained = after if trained is None else trained
    return (sentence + after + nodes) / (2 * (sentence + trained + answer))


def cost_of(model: ActionLanguageModel, trie: LabelTrie, sentence: int) -> float:
    """The `cost` of a validation clip for a model as it was trained.

    Args:
        model: What is trained.
        trie: Of its class list.
        sentence: Action tokens of a clip.

    Source: ours.
    """
    names, answer = model.class_names, float(np.mean([len(answer) for answer in trie.answers]))
    listed = names[: OTHER_CLASSES + 1]
    after, trained = (len(model.prompt(some).after) for some in (names, listed))
    return cost(sentence, after, answer, len(trie.node_tokens), trained)


def validation(
    model: ActionLanguageModel,
    sentences: Sequence[np.ndarray],
    labels: Sequence[int],
    training: TrainingConfig,
) -> Callable[[], dict[str, float]] | None:
    """What scores the class list for validation clips, in the number type of the training.

    Args:
        model: What is trained.
        sentences: Codes [W] or features [W, du] of validation clips as they are.
        labels: The class of each.
        training: The schedule, see `validated`.

    Returns:
        A function whose result has `validation_loss`, the cross-entropy of the right answers, as in training
        the mean over their tokens; and `validation_accuracy`, the share of the clips whose answer is the
        likeliest of the class list. None: there is nothing to measure.

    Raises:
        UserError: Two classes have the same tokens.

    Source: Eq. 13 of the paper; `find_names`.
    """
    if not len(sentences):
        return None
    trie = LabelTrie(model.class_names, model.tokenizer)
    lengths = [len(answer) for answer in trie.answers]
    chosen = validated(len(sentences), training, cost_of(model, trie, len(sentences[0])))
    tokens = sum(lengths[labels[index]] for index in chosen)

    most = micro_batch_of(training.batch_size, training.micro_batch_size, processes.count())

    def validate() -> dict[str, float]:
        sharded = is_sharded(model)  # then every pass is one of all processes, so each sees all clips
        own = chosen if sharded else processes.own_rows(torch.tensor(chosen)).tolist()
        codes, code_mask = pad_sentences([sentences[index] for index in own])
        truth = torch.tensor([labels[index] for index in own], dtype=torch.int64)

        def read(some: Sequence[int]) -> tuple[float, int]:
            # The right name is read to its end, and of the others what tells whether one is likelier.
            batch, mask, answers = codes[some, None], code_mask[some, None], truth[some]
            with computing(model):
                found = find_names(model, batch, mask, trie, Ask(), guesses=answers.tolist())
            surprise = -found.scores[np.arange(len(some)), answers].sum()
            return float(surprise), int((found.probabilities.argmax(axis=1) == answers.numpy()).sum())

        passes = Passes(model, most, fit=not sharded)
        told = passes(list(range(len(own))), read, trie, codes.shape[1]) if own else [(0.0, 0)]
        sums = torch.tensor([sum(values) for values in zip(*told, strict=True)], dtype=torch.float32)
        surprise, correct = (sums if sharded else processes.total(sums.to(model.device))).tolist()
        return {"validation_loss": surprise / tokens, "validation_accuracy": correct / len(chosen)}

    return validate
