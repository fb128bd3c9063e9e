"""From the language model's output to a class: exact scoring of the class list, and free generation."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, PreTrainedTokenizerBase

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.instructions import encode_answer
from llmar_pipeline.language.packing import additive, pad_sentences, position_ids


class LabelTrie:
    """The answers of a class list as a tree of tokens in which shared beginnings are merged.

    Row 0 is the root (the prompt's last token), every other row a token that has a successor; each edge
    leaves a row with a token. End-of-sequence is an edge without a row: a name may begin another.

    Args:
        class_names: The answers, by class index.
        tokenizer: The large language model's tokenizer.

    Attributes:
        class_names: As given.
        answers: Token ids of each answer, end-of-sequence included.
        node_tokens: Token of rows 1, 2, ... [nodes].
        node_depths: Number of answer tokens before each node [nodes].
        ancestors: True where the second node lies on the way to the first, itself included [nodes, nodes].
        edge_rows: The row that each edge leaves [edges].
        edge_tokens: The token of each edge [edges].
        class_edges: 1 where an edge belongs to a class's answer [classes, edges], float32.

    Raises:
        UserError: No names, or two names with the same tokens.

    Source: ours.
    """

    def __init__(self, class_names: Sequence[str], tokenizer: PreTrainedTokenizerBase):
        self.class_names = tuple(class_names)
        self.answers = [tuple(encode_answer(tokenizer, name)) for name in class_names]
        first: dict[tuple[int, ...], str] = {}
        for name, answer in zip(self.class_names, self.answers, strict=True):
            if answer in first:
                raise UserError(
                    f"expected class names with different tokens, saw {first[answer]!r} and {name!r}; "
                    "rename one."
                )
            first[answer] = name
        if not first:
            raise UserError("expected at least one class name, saw an empty class list; give classes.")

        rows: dict[tuple[int, ...], int] = {(): 0}
        edges: dict[tuple[int, ...], int] = {}
        for answer in self.answers:
            for end in range(1, len(answer) + 1):
                edges.setdefault(answer[:end], len(edges))
                if end < len(answer):
                    rows.setdefault(answer[:end], len(rows))
        nodes = list(rows)[1:]
        self.node_tokens = torch.tensor([path[-1] for path in nodes], dtype=torch.int64)
        self.node_depths = torch.tensor([len(path) - 1 for path in nodes], dtype=torch.int64)
        self.ancestors = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
        for index, path in enumerate(nodes):
            self.ancestors[index, [rows[path[:end]] - 1 for end in range(1, len(path) + 1)]] = True
        self.edge_rows = torch.tensor([rows[path[:-1]] for path in edges])
        self.edge_tokens = torch.tensor([path[-1] for path in edges])
        self.class_edges = torch.zeros(len(self.answers), len(edges))
        for index, answer in enumerate(self.answers):
            self.class_edges[index, [edges[answer[:end]] for end in range(1, len(answer) + 1)]] = 1


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
    end-of-sequence. Prompt and tree nodes pass together under a mask that shows each node the prompt and its
    own beginning only; the instruction in front of the action tokens is read once for all clips. Softmax over
    classes gives probabilities.

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
    known = model.action_embedding.num_embeddings
    if model.input == "codes" and codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < known:
        raise UserError(
            f"expected codes from 0 to {known - 1}, saw {int(codes.min())} to {int(codes.max())} in the "
            "action sentences; tokenise again with the codebook that the language model was trained for."
        )
    if len(codes) == 0:
        return torch.empty(0, len(trie.class_names))
    was_training = model.training
    model.eval()
    shared = _read_beginning(model, trie.class_names)
    batches = [
        _score_batch(model, batch.to(model.device), mask.to(model.device), trie, shared)
        for batch, mask in zip(codes.split(batch_size), code_mask.split(batch_size), strict=True)
    ]
    model.train(was_training)
    return torch.cat(batches)


def _score_batch(
    model: ActionLanguageModel, codes: Tensor, code_mask: Tensor, trie: LabelTrie, shared: DynamicCache
) -> Tensor:
    prompt, prompt_mask = model.embed_prompt(codes, code_mask, trie.class_names)
    rows, length = prompt_mask.shape
    nodes = model.words(trie.node_tokens.to(codes.device)).expand(rows, -1, -1)
    total = length + nodes.shape[1]

    visible = torch.ones(total, total, dtype=torch.bool, device=codes.device).tril()
    visible[length:, length:] = trie.ancestors.to(codes.device)
    visible = visible.repeat(rows, 1, 1)
    visible[:, :, :length] &= prompt_mask[:, None, :]
    # A padded place sees itself: a row that sees nothing would be undefined in the softmax.
    visible |= torch.eye(total, dtype=torch.bool, device=codes.device)

    depths = prompt_mask.sum(dim=1, keepdim=True) + trie.node_depths.to(codes.device)
    known = shared.get_seq_length()
    hidden = model.decoder(
        inputs_embeds=torch.cat([prompt, nodes], dim=1)[:, known:],
        attention_mask=additive(visible[:, None, known:], prompt.dtype),
        position_ids=torch.cat([position_ids(prompt_mask), depths], dim=1)[:, known:],
        past_key_values=_for_clips(shared, rows),
        use_cache=True,
    ).last_hidden_state[:, length - 1 - known :]
    # One clip at a time: logits of a whole batch over the vocabulary would fill gigabytes.
    edges = [
        model.vocabulary_head(states)
        .float()
        .log_softmax(dim=-1)[trie.edge_rows.to(codes.device), trie.edge_tokens.to(codes.device)]
        for states in hidden
    ]
    return torch.stack(edges).cpu() @ trie.class_edges.T


def _read_beginning(model: ActionLanguageModel, class_names: Sequence[str]) -> DynamicCache:
    """Keys and values of the instruction in front of the action tokens, which is the same for every clip."""
    before, _ = model.prompt(class_names)
    cache = DynamicCache(config=model.base.config)
    if before:
        words = model.words(torch.tensor(before, device=model.device))
        model.decoder(inputs_embeds=words[None], past_key_values=cache, use_cache=True)
    return cache


def _for_clips(shared: DynamicCache, clips: int) -> DynamicCache:
    """A cache that holds the same for so many clips; more can be added to it."""
    cache = copy.deepcopy(shared)
    cache.batch_repeat_interleave(clips)
    return cache


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
    was_training = model.training
    model.eval()
    end = model.tokenizer.eos_token_id
    settings = GenerationConfig(
        max_new_tokens=max(len(answer) for answer in trie.answers),
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
    )
    names: list[str] = []
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
    model.train(was_training)
    return names
