"""How many clips go through the model together."""

import re

import numpy as np
import pytest
import torch

from llmar_pipeline.errors import UserError
from llmar_pipeline.language import passes
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.passes import Passes, clip_bytes
from llmar_pipeline.language.prompt_passes import PromptPasses, read_beginning

LLAMA_13B = (5120, 13824, 40, 5120)
WEIGHTS = 13_015_864_320


def test_keys_and_values_are_those_that_a_pass_keeps(build, clips):
    model, (codes, mask) = build(adapters=False), clips
    trie = LabelTrie(model.class_names, model.tokenizer)
    beginning = read_beginning(model, trie.class_names, len(codes))
    read = PromptPasses(model, codes, mask, trie, beginning)
    with torch.no_grad():
        read.read(range(4), [list(range(len(trie.row_edges)))] * 4)
    layers = read._cache.layers
    kept = sum(t.untyped_storage().nbytes() for layer in layers for t in (layer.keys, layer.values))
    before, after = model.prompt(trie.class_names)
    tokens = len(before) + codes.shape[1] + len(after) + len(trie.node_tokens)
    # Hidden and inner width 0: all but the masks is keys and values, of 2 layers and 2 heads of 8 numbers.
    assert kept == 4 * (clip_bytes((0, 0, 2, 16), tokens) - 5 * tokens**2)


@pytest.mark.parametrize(
    ("number", "clips", "nodes", "measured"), [(2, 32, 422, 38), (4, 32, 219, 63), (4, 8, 219, 53)]
)
def test_an_h100_took_as_much(number, clips, nodes, measured):
    """LLaMA-13B's shape, 60 and 120 names, weights as they come; GiB at revision 2901ba2."""
    took = number * WEIGHTS + clips * clip_bytes(LLAMA_13B, 6 + 16 + 7 + nodes, number)
    assert took / 2**30 == pytest.approx(measured, rel=0.05)


@pytest.fixture
def trie(build):
    model = build()
    return model, LabelTrie(model.class_names, model.tokenizer)


def test_as_many_as_fit_go_together(trie, monkeypatch):
    model, names = trie
    each = clip_bytes((32, 64, 2, 16), 6 + sum(map(len, model.prompt(()))) + len(names.node_tokens))
    for clips, expected in ((3.5, [3, 3, 1]), (0.5, [1] * 7), (100, [7])):
        monkeypatch.setattr(passes, "free_bytes", lambda device, clips=clips: clips * each / 0.9)
        seen = Passes(model, 128)(range(7), list, names, 6)
        assert [len(some) for some in seen] == expected
        assert [item for some in seen for item in some] == list(range(7))
    assert [len(some) for some in Passes(model, 2)(range(3), list, names, 6)] == [2, 1]


def test_where_memory_runs_out_half_as_many_go_on(trie):
    model, names = trie
    tried = []

    def work(items):
        tried.append(len(items))
        if len(items) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return np.array(items)

    made = Passes(model, 10)
    assert np.concatenate(made(range(10), work, names, 6)).tolist() == list(range(10))
    assert tried == [10, 5, 3, 3, 3, 1]
    tried.clear()
    assert np.concatenate(made(range(4), work, names, 6)).tolist() == list(range(4))
    assert tried == [3, 1]


def test_without_memory_for_one_clip_there_is_no_answer(trie):
    model, names = trie

    def work(items):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(UserError, match=r"^expected memory for one clip and 5 names on cpu, saw none"):
        Passes(model, 4)(range(4), work, names, 6)


def test_the_documents_numbers(project):
    """The table of LLaMA-13B under "Scoring"."""
    text = (project / "docs" / "memory.md").read_text(encoding="utf-8").split("## Scoring")[1]
    table = dict(re.findall(r"^\| ([^|]+?) \| (.*) \|$", text, re.MULTILINE))
    hidden, inner, layers, _ = LLAMA_13B
    linear, words = layers * (4 * hidden**2 + 3 * hidden * inner), 32_000 * hidden
    gigabytes = [4 * (linear + 2 * words) / 1e9, (2 * linear + (2 + 4) * words) / 1e9]
    assert table["weights, GB"] == " | ".join(f"{number:.1f}" for number in gigabytes)
    for names, nodes in ((60, 219), (120, 422)):
        each = [clip_bytes(LLAMA_13B, 29 + nodes, split=split) / 1e6 for split in (False, True)]
        assert table[f"a clip, {names} names, MB"] == " | ".join(f"{number:.0f}" for number in each)
