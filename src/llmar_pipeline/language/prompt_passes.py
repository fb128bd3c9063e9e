"""Passes of the language model over the prompts of clips and over beginnings of names behind them."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.packing import additive, position_ids

_FEW = 3
_STATES = 256  # that are mapped to the vocabulary together: those of a whole batch would fill gigabytes


class _Plan(NamedTuple):
    """How some rows of the tree are read in one pass.

    Attributes:
        nodes: The tokens that pass, as indices of the tree's nodes [n]: those of the rows and all above them.
        places: Where each row's state is, 0 for the root's, in front of the nodes [rows].
        edges: The edges that leave the rows [edges].
        states: Which of `places` each of them leaves [edges].
    """

    nodes: Tensor
    places: Tensor
    edges: Tensor
    states: Tensor


def read_beginning(model: ActionLanguageModel, class_names: Sequence[str], clips: int) -> DynamicCache:
    """Keys and values of the instruction in front of the action tokens, which is the same for every clip.

    Args:
        model: The language model, in evaluation mode.
        class_names: Names that replace [list] in the instruction, if it has one.
        clips: How many share it. For few nothing is read: a pass of its own costs more than it saves.

    Source: ours.
    """
    before, _ = model.prompt(class_names)
    cache = DynamicCache(config=model.base.config)
    if before and clips > _FEW:
        words = model.words(torch.tensor(before, device=model.device))
        model.decoder(inputs_embeds=words[None], past_key_values=cache, use_cache=True)
    return cache


class PromptPasses:
    """The prompts of some clips, read once, and any beginnings of names behind them.

    Tokens of several names pass together under a mask that shows each the prompt and its own beginning only.
    Keys and values of the prompts are kept from pass to pass.

    Args:
        model: The language model.
        codes: Codebook indices [B, W], int64, or features [B, W, du], float.
        code_mask: True where a code is real [B, W], bool.
        trie: The class list.
        beginning: Of all prompts with this class list, as `read_beginning` gives it.

    Raises:
        UserError: A code is not in the codebook.

    Source: ours.
    """

    def __init__(
        self,
        model: ActionLanguageModel,
        codes: Tensor,
        code_mask: Tensor,
        trie: LabelTrie,
        beginning: DynamicCache,
    ) -> None:
        known = model.action_embedding.num_embeddings
        if model.input == "codes" and codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < known:
            raise UserError(
                f"expected codes from 0 to {known - 1}, saw {int(codes.min())} to {int(codes.max())} in the "
                "action sentences; tokenise again with the codebook that the language model was trained for."
            )
        self._model, self._trie = model, trie
        self._codes, self._code_mask = codes.to(model.device), code_mask.to(model.device)
        self._cache, self._prompts_mask = beginning, torch.empty(0)
        self._plans: dict[tuple[int, ...], _Plan] = {}

    def read(self, clips: Sequence[int], rows: Sequence[Sequence[int]]) -> Tensor:
        """Log-probabilities of the edges that leave some rows of the tree.

        Args:
            clips: Which prompts; all of them in their order the first time.
            rows: Rows of the tree for each of them; the root (row 0) the first time only.

        Returns:
            Log p(token | prompt, the tokens up to the row) [clips, edges], float32, nats, on the CPU; 0 where
            an edge leaves none of the rows.
        """
        plans = [self._plan(tuple(some)) for some in rows]
        return self._log_probabilities(self._states(list(clips), plans), plans)

    def _states(self, clips: list[int], plans: Sequence[_Plan]) -> Tensor:
        """Last hidden states of the prompts' last tokens (any but the first time) and of the nodes."""
        model, device = self._model, self._model.device
        nodes = pad_sequence([plan.nodes for plan in plans], batch_first=True, padding_value=-1)
        there = nodes >= 0
        nodes = nodes.clamp(min=0)
        names = self._trie.ancestors[nodes[:, :, None], nodes[:, None]] & there[:, None]
        embeddings = model.words(self._trie.node_tokens[nodes].to(device))
        known = self._cache.get_seq_length()
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in cache.layers]
        if first := not len(self._prompts_mask):
            prompts, self._prompts_mask = model.embed_prompt(
                self._codes, self._code_mask, self._trie.class_names
            )
            embeddings = torch.cat([prompts[:, known:], embeddings], dim=1)
            cache.batch_repeat_interleave(len(clips))
        else:
            cache.batch_select_indices(torch.tensor(clips, device=device))
        mask = self._prompts_mask[clips]
        length = mask.shape[1]
        depths = mask.sum(dim=1, keepdim=True) + self._trie.node_depths[nodes].to(device)
        places = torch.cat([position_ids(mask), depths], dim=1)
        total = places.shape[1]
        visible = torch.ones(total, total, dtype=torch.bool, device=device).tril().repeat(len(clips), 1, 1)
        visible[:, length:, length:] = names.to(device)
        visible[:, :, :length] &= mask[:, None]
        # A padded place sees itself: a row that sees nothing would be undefined in the softmax.
        visible |= torch.eye(total, dtype=torch.bool, device=device)
        hidden: Tensor = model.decoder(
            inputs_embeds=embeddings,
            attention_mask=additive(visible[:, None, known:], embeddings.dtype),
            position_ids=places[:, known:],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        if not first:
            return torch.cat([hidden[:, :1], hidden], dim=1)
        if nodes.shape[1]:
            cache.crop(-nodes.shape[1])
        self._cache = cache
        return hidden[:, length - 1 - known :]

    def _log_probabilities(self, states: Tensor, plans: Sequence[_Plan]) -> Tensor:
        clips = torch.arange(len(plans))
        of_row = clips.repeat_interleave(torch.tensor([len(plan.places) for plan in plans]))
        of_edge = clips.repeat_interleave(torch.tensor([len(plan.edges) for plan in plans]))
        states = states[of_row, torch.cat([plan.places for plan in plans])]
        counts = torch.tensor([0] + [len(plan.places) for plan in plans[:-1]]).cumsum(0)
        source = torch.cat([plan.states for plan in plans]) + counts[of_edge]
        edges = torch.cat([plan.edges for plan in plans])
        tokens = self._trie.edge_tokens[edges]
        found = torch.zeros(len(plans), len(self._trie.edge_tokens))
        for begin, some in zip(range(0, len(states), _STATES), states.split(_STATES), strict=True):
            logits = self._model.vocabulary_head(some).float()
            here = (begin <= source) & (source < begin + len(some))
            row = (source[here] - begin).to(logits.device)
            values = logits[row, tokens[here].to(logits.device)] - logits.logsumexp(dim=1)[row]
            found[of_edge[here], edges[here]] = values.cpu()
        return found

    def _plan(self, rows: tuple[int, ...]) -> _Plan:
        if rows not in self._plans:
            self._plans[rows] = _plan(self._trie, rows)
        return self._plans[rows]


def _plan(trie: LabelTrie, rows: Sequence[int]) -> _Plan:
    asked = torch.tensor(sorted(rows))
    below = asked[asked > 0] - 1
    nodes = trie.ancestors[below].any(dim=0).nonzero()[:, 0]
    places = torch.zeros(len(trie.row_edges), dtype=torch.int64)
    places[nodes + 1] = torch.arange(1, len(nodes) + 1)
    which = torch.full((len(trie.row_edges),), -1)
    which[asked] = torch.arange(len(asked))
    states = which[trie.edge_rows]
    edges = (states >= 0).nonzero()[:, 0]
    return _Plan(nodes, places[asked], edges, states[edges])
