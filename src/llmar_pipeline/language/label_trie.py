"""The class list as a tree of tokens, a trie."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.instructions import encode_answer


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
        class_rows: The rows that each class's answer leaves, the root first, by class index.
        path_edges: Edges of each class's answer, in their order, then one that does not exist (their number)
            [classes, longest], int64.
        path_rows: The rows that they leave, then the root [classes, longest], int64.
        row_edges: The edges that leave each row, by row.
        next_rows: The rows that come right after each row, by row.

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
        self.class_rows = [[rows[answer[:end]] for end in range(len(answer))] for answer in self.answers]
        longest = max(map(len, self.answers))
        self.path_edges = np.full((len(self.answers), longest), len(edges))
        self.path_rows = np.zeros((len(self.answers), longest), np.int64)
        for index, (answer, leaving) in enumerate(zip(self.answers, self.class_rows, strict=True)):
            self.path_edges[index, : len(answer)] = [edges[answer[:end]] for end in range(1, len(answer) + 1)]
            self.path_rows[index, : len(answer)] = leaving
        self.row_edges: list[list[int]] = [[] for _ in rows]
        self.next_rows: list[list[int]] = [[] for _ in rows]
        for path, edge in edges.items():
            self.row_edges[rows[path[:-1]]].append(edge)
            if path in rows:
                self.next_rows[rows[path[:-1]]].append(rows[path])
        self.class_edges = torch.zeros(len(self.answers), len(edges))
        for index, answer in enumerate(self.answers):
            self.class_edges[index, self.path_edges[index, : len(answer)]] = 1
