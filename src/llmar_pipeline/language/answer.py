"""From the language model's output to a class: exact scoring of the class list, and free generation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig

from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.name_search import Ask, NameSearch
from llmar_pipeline.language.packing import pad_sentences
from llmar_pipeline.language.prompt_passes import PromptPasses, read_beginning

_FREE = 256
"""Tokens that a pass on a GPU reads at the cost of one, which is that of starting its kernels."""


def score_sentences(
    model: ActionLanguageModel,
    sentences: Sequence[np.ndarray],
    batch_size: int,
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Log-likelihood of every class name for action sentences of any lengths.

    Args:
        model: The language model.
        sentences: Codes of each clip [W], or its features [W, du].
        batch_size: Clips in one pass.
        class_names: The class list; that of the training by default.

    Returns:
        Log-likelihoods [clips, classes], float32, nats; see `score_classes`.

    Raises:
        UserError: A code is not in the codebook, or as in `LabelTrie`.

    Source: ours.
    """
    trie = LabelTrie(model.class_names if class_names is None else class_names, model.tokenizer)
    return score_classes(model, *pad_sentences(sentences), trie, batch_size).numpy()


@torch.no_grad()
def score_classes(
    model: ActionLanguageModel, codes: Tensor, code_mask: Tensor, trie: LabelTrie, batch_size: int = 8
) -> Tensor:
    """Log-likelihood of every class name as the answer, exact, in one forward pass a batch.

    Each answer's value is the sum of log p(token | prompt, earlier answer tokens) over its tokens and
    end-of-sequence. Softmax over classes gives probabilities.

    Args:
        model: The language model; load it in float32, bfloat16 sums drift by up to 1 nat.
        codes: Codebook indices [N, W], int64, or features [N, W, du], float.
        code_mask: True where a code is real [N, W], bool.
        trie: The class list; it may differ from the one that the model was trained with.
        batch_size: Clips in one pass.

    Returns:
        Log-likelihoods [N, classes], float32, nats, on the CPU.

    Raises:
        UserError: A code is not in the codebook.

    Source: ours, for the "Testing" paragraph of Sec. 3.2 of the paper.
    """
    everything = list(range(len(trie.row_edges)))
    scores = [torch.empty(0, len(trie.class_names))]
    with _evaluating(model):
        beginning = read_beginning(model, trie.class_names, len(codes))
        for batch, mask in zip(codes.split(batch_size), code_mask.split(batch_size), strict=True):
            if clips := len(batch):
                passes = PromptPasses(model, batch, mask, trie, beginning)
                scores.append(passes.read(range(clips), [everything] * clips) @ trie.class_edges.T)
    return torch.cat(scores)


@contextmanager
def _evaluating(model: ActionLanguageModel) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@dataclass(frozen=True)
class Found:
    """What a search for names came to.

    Attributes:
        probabilities: Over the class list [clips, classes], float64; the names that were asked for first, in
            their order.
        bounds: By how much any probability of a clip may be wrong [clips], float64.
        scores: Log-likelihoods, or means over tokens, nats [clips, classes], float64; where a name was not
            read to its end, a bound above it.
        rows: Tokens of names that were read, of all readings.
        passes: Through the language model.
    """

    probabilities: np.ndarray
    bounds: np.ndarray
    scores: np.ndarray
    rows: int
    passes: int


@torch.no_grad()
def find_names(
    model: ActionLanguageModel,
    codes: Tensor,
    code_mask: Tensor,
    trie: LabelTrie,
    ask: Ask,
    by_length: bool = False,
    guesses: Sequence[int] | None = None,
) -> Found:
    """Answer what is asked of some clips, exactly, and read no more names than that takes.

    A clip's score of a name is the mean of its log-likelihoods over the clip's readings.

    Args:
        model: The language model, in float32.
        codes: Codebook indices of each reading of each clip [N, R, W], int64, or features [N, R, W, du].
        code_mask: True where a code is real [N, R, W], bool.
        trie: The class list.
        ask: What is asked.
        by_length: Whether each score is the mean over the answer's tokens.
        guesses: A class of each clip that is read with its prompt: a right one saves a pass, none changes
            what is answered.

    Returns:
        The answers.

    Raises:
        UserError: A code is not in the codebook.

    Source: ours, see `NameSearch`.
    """
    clips, readings = codes.shape[:2]
    searches = [NameSearch(trie, ask, by_length) for _ in range(clips)]
    free = 0 if model.device.type == "cpu" else _FREE
    everything = list(range(len(trie.row_edges)))
    first = [[0]] * clips
    if not ask.tolerance or clips * readings * len(everything) <= free:
        first = [everything] * clips
    elif guesses is not None:
        first = [trie.class_rows[guess] for guess in guesses]
    together = [dict(enumerate(first))] if clips else []
    passes = rows = 0
    with _evaluating(model):
        beginning = read_beginning(model, trie.class_names, clips * readings)
        prompts = PromptPasses(model, codes.flatten(0, 1), code_mask.flatten(0, 1), trie, beginning)
        while together:
            asked: dict[int, list[int]] = {}
            for group in together:
                places = [clip * readings + reading for clip in group for reading in range(readings)]
                told = [some for some in group.values() for _ in range(readings)]
                edges = prompts.read(places, told).double().unflatten(0, (-1, readings)).mean(dim=1).numpy()
                passes, rows = passes + 1, rows + sum(map(len, told))
                for (clip, some), values in zip(group.items(), edges, strict=True):
                    searches[clip].tell(some, values)
                    asked[clip] = searches[clip].next_rows(free // len(told))
            together = _groups({clip: some for clip, some in asked.items() if some}, bool(free))
    found = [search.chances() for search in searches]
    return Found(
        np.array([chances for chances, _ in found]).reshape(clips, len(trie.class_names)),
        np.array([bound for _, bound in found]),
        np.array([search.scores() for search in searches]).reshape(clips, len(trie.class_names)),
        rows,
        passes,
    )


def _groups(asked: dict[int, list[int]], padding_is_free: bool) -> list[dict[int, list[int]]]:
    """Clips that are read in one pass: where padding costs, those that need up to 8, 16, 32, ... rows."""
    groups: dict[int, dict[int, list[int]]] = {}
    for clip, rows in asked.items():
        size = 0 if padding_is_free else max(len(rows) - 1, 7).bit_length()
        groups.setdefault(size, {})[clip] = rows
    return list(groups.values())


@torch.no_grad()
def generate_names(
    model: ActionLanguageModel, codes: Tensor, code_mask: Tensor, trie: LabelTrie, batch_size: int = 32
) -> list[str]:
    """Answer freely: the likeliest token again and again until end-of-sequence, unbound by the class list.

    Args:
        model: The language model.
        codes: Codebook indices [N, W], int64, or features [N, W, du], float.
        code_mask: True where a code is real [N, W], bool.
        trie: The class list; its longest answer bounds the length.
        batch_size: Clips in one pass.

    Returns:
        The answers as text, without surrounding spaces; a correct one equals its class name exactly.

    Source: the "Testing" paragraph of Sec. 3.2 of the paper.
    """
    if len(codes) == 0:
        return []
    end = model.tokenizer.eos_token_id
    settings = GenerationConfig(
        max_new_tokens=max(len(answer) for answer in trie.answers),
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
    )
    names: list[str] = []
    with _evaluating(model):
        for batch, batch_mask in zip(codes.split(batch_size), code_mask.split(batch_size), strict=True):
            prompt, mask = model.embed_prompt(
                batch.to(model.device), batch_mask.to(model.device), trie.class_names
            )
            # Its positions count real tokens only, as ours do: padded codes are holes to it too.
            tokens = model.base.generate(  # type: ignore[operator]
                inputs_embeds=prompt, attention_mask=mask.long(), generation_config=settings
            )
            answers = (row[: row.index(end)] if end in row else row for row in tokens.tolist())
            names += [str(model.tokenizer.decode(answer)).strip() for answer in answers]
    return names
