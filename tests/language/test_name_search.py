import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.name_search import ALL, Ask, NameSearch
from llmar_pipeline.language.probability import probabilities

END = 0


class Letters:
    """A tokenizer whose tokens are letters, so that many names begin alike."""

    eos_token_id = END

    def __call__(self, text, add_special_tokens):
        return {"input_ids": [ord(letter) for letter in text.replace(" ", "")]}


def make_edges(trie, seed, sharpness, readings):
    """Log-probability of every edge as a language model has it: what leaves a row sums to at most 1."""
    rng = np.random.default_rng(seed)
    edges = np.zeros((readings, len(trie.edge_rows)))
    for leaving in trie.row_edges:
        logits = sharpness * rng.standard_normal((readings, len(leaving) + 3))  # three tokens of no name
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        edges[:, leaving] = logits[:, : len(leaving)]
    return edges.mean(axis=0)


def search(trie, edges, ask, by_length=False, guess=None, least=0):
    """Let a search read from the edges; gives it and the rows it read."""
    found = NameSearch(trie, ask, by_length)
    rows, read = trie.class_rows[guess] if guess is not None else [0], []
    while rows:
        assert not set(rows) & set(read)
        assert all(set(before(trie, row)) <= {*rows[: rows.index(row)], *read} for row in rows)
        read += rows
        leaving = [edge for row in rows for edge in trie.row_edges[row]]
        seen = np.full_like(edges, np.nan)
        seen[leaving] = edges[leaving]
        found.tell(rows, seen)
        rows = found.next_rows(least)
    return found, read


def before(trie, row):
    return [above for above, below in enumerate(trie.next_rows) if row in below]


def true_scores(trie, edges, by_length):
    scores = trie.class_edges.numpy() @ edges
    return scores / [len(answer) for answer in trie.answers] if by_length else scores


names = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=25, unique=True)


@settings(deadline=None, max_examples=200)
@given(
    names,
    st.integers(0, 2**20),
    st.sampled_from([0, 1, 5, 20]),
    st.integers(1, 3),
    st.booleans(),
    st.integers(1, 6),
    st.sampled_from([1, 0.1, 1e-3, 0]),
    st.integers(0, 30),
    st.booleans(),
)
def test_what_is_found_is_what_all_names_read_say(
    classes, seed, sharpness, readings, by_length, top, tolerance, least, guessed
):
    trie = LabelTrie(classes, Letters())
    edges = make_edges(trie, seed, sharpness, readings)
    scores = true_scores(trie, edges, by_length)
    guess = seed % len(classes) if guessed else None
    found, _ = search(trie, edges, Ask(top, tolerance), by_length, guess, least)
    chances, bound = found.chances()
    # Scores are compared, not names: equal ones may differ in the last bit by the order of their sums.
    order, expected = np.argsort(-chances, kind="stable")[:top], np.sort(scores)[::-1][:top]
    np.testing.assert_allclose(scores[order], expected, rtol=1e-12)
    np.testing.assert_allclose(found.scores()[order], expected, rtol=1e-12)
    assert (found.scores() >= scores - 1e-9).all()
    assert bound <= tolerance
    assert chances.sum() == pytest.approx(1)
    assert np.abs(chances - probabilities(scores)).max() <= bound + 1e-12


def test_the_bound_is_met_by_what_was_not_read():
    """p(a) = 0.6, p(b) = 0.3; after a the name ends for certain, after b either never or for certain."""
    trie = LabelTrie(["a", "b"], Letters())
    found = NameSearch(trie, Ask(1, 1))
    a = trie.class_rows[0][1]
    edges = np.full(len(trie.edge_rows), np.nan)
    edges[trie.row_edges[0]] = np.log([0.6, 0.3])
    found.tell([0], edges)
    assert found.next_rows() == [a]
    edges[trie.row_edges[a]] = 0
    found.tell([a], edges)
    assert found.next_rows() == []
    chances, bound = found.chances()
    np.testing.assert_allclose(chances, [2 / 3, 1 / 3])
    assert bound == pytest.approx(1 / 3)  # a's lies between 0.6 / 0.9 and 1


def test_names_below_one_token_share_what_it_has():
    """Four names begin with a token of probability 0.1: together they have no more than that."""
    trie = LabelTrie(["b", "aa", "ab", "ac", "ad"], Letters())
    found = NameSearch(trie, Ask(1, 0.11))
    edges = np.zeros(len(trie.edge_rows))
    edges[trie.row_edges[0]] = np.log([0.9, 0.1])
    found.tell([0, trie.class_rows[0][1]], edges)
    assert found.next_rows() == []
    chances, bound = found.chances()
    np.testing.assert_allclose(chances, [0.9, *[0.025] * 4])
    assert bound == pytest.approx(0.1)


def test_a_longer_name_may_have_the_better_mean():
    """By sums "a" is likelier (ln 0.5 + 0), by means over tokens "bbb" is (ln 0.45 + 0 + 0 + 0) / 4."""
    trie = LabelTrie(["a", "bbb"], Letters())
    edges = np.zeros(len(trie.edge_rows))
    edges[trie.row_edges[0]] = np.log([0.5, 0.45])
    by_sum, read = search(trie, edges, Ask(1))
    assert by_sum.chances()[0].argmax() == 0
    assert len(read) == 2
    assert search(trie, edges, Ask(1), by_length=True)[0].chances()[0].argmax() == 1


def sure_edges(trie, best):
    """A model that goes on with the best name wherever it can, and finishes any other that was begun."""
    edges = np.zeros(len(trie.edge_rows))
    for row, leaving in enumerate(trie.row_edges):
        likely = [edge for edge in leaving if trie.class_edges[best, edge]]
        shares = np.full(len(leaving), 1e-4 if row in trie.class_rows[best] else 1 / len(leaving))
        shares[[leaving.index(edge) for edge in likely]] = 0.9
        edges[leaving] = np.log(shares)
    return edges


@pytest.mark.parametrize(
    ("ask", "fewer"), [(Ask(), 20), (Ask(5), 5), (Ask(1, 1e-2), 20), (ALL, 1)], ids=lambda value: str(value)
)
def test_a_sure_model_is_read_little(ask, fewer):
    rng = np.random.default_rng(0)
    trie = LabelTrie([f"{i:02}" + "".join(rng.choice(list("abcdef"), 4)) for i in range(60)], Letters())
    _, read = search(trie, sure_edges(trie, 7), ask)
    assert len(trie.row_edges) >= fewer * len(read)
    if ask == ALL:
        assert sorted(read) == list(range(len(trie.row_edges)))


def test_a_right_guess_is_all_that_is_read():
    trie = LabelTrie(["throw", "think", "sit", "stand"], Letters())
    assert search(trie, sure_edges(trie, 2), Ask(), guess=2)[1] == trie.class_rows[2]
