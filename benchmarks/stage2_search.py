"""Finding names best first against reading the whole tree, by a trained model; see stage2.py."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from measuring import DEVICE, now, take_turns
from torch import Tensor

from llmar_pipeline.corpora.ntu import CLASS_NAMES
from llmar_pipeline.language.answer import Found, find_names, score_classes
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.name_search import Ask
from llmar_pipeline.language.packed_linear import pack_linear_layers
from llmar_pipeline.language.packing import pad_sentences
from llmar_pipeline.language.trained_model import load_model

ASKS = {"the name": Ask(), "five names": Ask(5), "five names, probabilities to 1e-3": Ask(5, 1e-3)}
VERBS = (
    "lift drop push pull turn open close carry hold throw catch wipe shake fold touch point kick tap cut pour"
)
THINGS = (
    "box cup book door chair table ball bag hat shoe pen phone bottle plate knife rope wheel lamp key coat"
)
MANNERS = ("", " slowly", " with both hands")
WHOLE_TREE = 400  # rows of the tree times clips up to which the whole of it is read for comparison


def class_list(own: Sequence[str], count: int) -> list[str]:
    """So many names: those of the training first, then NTU's, then made-up ones."""
    made_up = [f"{v} {t}{m}" for m in MANNERS for v in VERBS.split() for t in THINGS.split()]
    return list(dict.fromkeys([*own, *CLASS_NAMES, *made_up]))[:count]


class Search:
    """The test clips of a run, and what finding their names costs.

    Args:
        recognizer: The folder of a trained model, below the data folder of its run.
        cache: Of converted language models.
    """

    def __init__(self, recognizer: Path, cache: Path) -> None:
        self.plain, self.model = (load_model(recognizer, cache, dtype="float32").to(DEVICE) for _ in "ab")
        if self.plain.has_adapters:
            self.plain.llm.unmerge_adapter()
        pack_linear_layers(self.model.decoder)
        corpus, protocol, run = recognizer.parts[-4:-1]
        feature = recognizer.parents[4] / "04_feature" / corpus / protocol / run
        table = pd.read_parquet(feature / "action_sentences.parquet")
        clips = table[table["split"] == "test"].drop_duplicates("name").sample(frac=1, random_state=0)
        self.sentences = clips["codes"].tolist()

    def lines(self, count: int, batch: int, rounds: int) -> list[str]:
        """Rows of the page's table: a class list of so many names, so many clips at once."""
        trie = LabelTrie(class_list(self.model.class_names, count), self.model.tokenizer)
        codes, mask = pad_sentences(self.sentences[:batch])
        rows = len(trie.row_edges)
        few = min(batch, max(1, WHOLE_TREE * 8 // rows))
        whole: dict[int, Tensor] = {}
        found: dict[str, Found] = {}

        def read_all() -> float:
            started = now()
            whole[few] = score_classes(self.plain, codes[:few], mask[:few], trie, few)
            return (now() - started) / few

        def search(name: str) -> float:
            started = now()
            guesses = self.model.guesses(codes, mask, trie.class_names)
            found[name] = find_names(
                self.model, codes[:, None], mask[:, None], trie, ASKS[name], guesses=guesses
            )
            return (now() - started) / batch

        ways = {"all": read_all} | {name: (lambda name=name: search(name)) for name in ASKS}
        took = take_turns(ways, rounds, warm_up=False)
        expected = whole[few].double().softmax(dim=1).numpy()
        lines = [f"| {count} | {batch} | all | {median(took['all']) * 1e3:,.0f} | 1 | {rows} | 1 | | |"]
        for name, ask in ASKS.items():
            answer, seconds = found[name], median(took[name])
            seen = answer.probabilities[:few]
            mine, theirs = (np.argsort(-p, axis=1, kind="stable")[:, : ask.top] for p in (seen, expected))
            others = int((mine != theirs).any(axis=1).sum())
            lines.append(
                f"| {count} | {batch} | {name} | {seconds * 1e3:,.0f} | {median(took['all']) / seconds:.1f} "
                f"| {answer.rows / batch:.1f} | {answer.passes} | {others} of {few} | "
                f"{np.abs(seen - expected).max():.0e} |"
            )
        return lines


@torch.no_grad()
def search(
    recognizer: Path, cache: Path, counts: Sequence[int], batches: Sequence[int], rounds: int
) -> list[str]:
    """The Markdown section."""
    measured = Search(recognizer, cache)
    lines = [
        "## Names, best first",
        "",
        "| names | clips at once | asked | ms a clip | times all | tokens read | passes | other answers | "
        "largest error |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for count in counts:
        for batch in batches:
            lines += measured.lines(count, batch, rounds)
    return [
        *lines,
        "",
        f"{len(measured.sentences)} test clips of {'/'.join(recognizer.parts[-4:-1])}; its names, then",
        "NTU's, then made-up ones. *all*: the whole tree of names, by at most 8 clips of 400 tokens at once,",
        "with adapters beside the weights and weights as they come; the searches have them added and packed;",
        "*tokens read*: of names, a clip, behind its prompt; *largest error*: of any probability.",
        "",
    ]
