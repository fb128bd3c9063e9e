"""Stage 2 on validation clips: nothing is chosen by it, and nothing changed."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import find_names
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.name_search import Ask
from llmar_pipeline.language.packing import pad_sentences
from llmar_pipeline.training import processes
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.training.sharding import computing, is_sharded
from llmar_pipeline.training.validation import validated


def cost(sentence: float, after: float, answer: float, nodes: int) -> float:
    """Of a validation clip, that of a training clip being 1, by the tokens that the model reads.

    Args:
        sentence: Action tokens.
        after: Tokens of the instruction behind them.
        answer: Tokens of an answer, on average.
        nodes: Tokens of the tree of all answers.

    Source: ours; a backward pass through frozen weights costs as much as a forward pass.
    """
    return (sentence + after + nodes) / (2 * (sentence + after + answer))


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
    after = len(model.prompt(model.class_names).after)
    weight = cost(len(sentences[0]), after, float(np.mean(lengths)), len(trie.node_tokens))
    chosen = validated(len(sentences), training, weight)
    tokens = sum(lengths[labels[index]] for index in chosen)

    def validate() -> dict[str, float]:
        sharded = is_sharded(model)  # then every pass is one of all processes, so each sees all clips
        own = chosen if sharded else processes.own_rows(torch.tensor(chosen)).tolist()
        codes, code_mask = pad_sentences([sentences[index] for index in own])
        truth = torch.tensor([labels[index] for index in own], dtype=torch.int64)
        right = surprised = 0.0
        size = training.micro_batch_size
        for batch, mask, answers in zip(
            codes[:, None].split(size), code_mask[:, None].split(size), truth.split(size), strict=True
        ):
            # The right name is read to its end, and of the others what tells whether one is likelier.
            with computing(model):
                found = find_names(model, batch, mask, trie, Ask(), guesses=answers.tolist())
            surprised -= found.scores[np.arange(len(answers)), answers].sum()
            right += (found.probabilities.argmax(axis=1) == answers.numpy()).sum()
        sums = torch.tensor([surprised, right], dtype=torch.float32)
        surprise, correct = (sums if sharded else processes.total(sums.to(model.device))).tolist()
        return {"validation_loss": surprise / tokens, "validation_accuracy": correct / len(chosen)}

    return validate
