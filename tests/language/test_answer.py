import numpy as np
import pytest
import torch

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import (
    find_names,
    generate_names,
    pad_sentences,
    score_classes,
    score_sentences,
)
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.instructions import encode_answer, encode_prompt, load_instruction
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.loading import load_llm
from llmar_pipeline.language.name_search import ALL, Ask
from llmar_pipeline.language.probability import probabilities

NAMES = ("throw", "throw up cap/hat", "drink water", "hand waving", "hand", "reading", "throw up")


def prompt_embeddings(model, codes, names):
    before, after = encode_prompt(model.tokenizer, model.instruction, names)
    words = model.base.get_input_embeddings()
    return torch.cat([words(torch.tensor(before)), model.action_embedding(codes), words(torch.tensor(after))])


@torch.no_grad()
def brute_force(model, codes, names):
    """Log-likelihood of each name for one unpadded clip, one forward of the language model a name."""
    prompt = prompt_embeddings(model, codes, names)
    scores = []
    for name in names:
        answer = encode_answer(model.tokenizer, name)
        words = model.base.get_input_embeddings()(torch.tensor(answer[:-1]))
        logits = model.base(inputs_embeds=torch.cat([prompt, words])[None]).logits[0, len(prompt) - 1 :]
        scores.append(sum(logits[i].log_softmax(0)[token].item() for i, token in enumerate(answer)))
    return torch.tensor(scores)


def test_the_tree_merges_shared_beginnings(build):
    tokenizer = build(adapters=False).tokenizer
    trie = LabelTrie(["throw", "throw up cap/hat"], tokenizer)
    short, long = (encode_answer(tokenizer, name)[:-1] for name in trie.class_names)
    assert long[: len(short)] == short
    assert trie.node_tokens.tolist() == long
    assert trie.node_depths.tolist() == list(range(len(long)))
    assert torch.equal(trie.ancestors, torch.ones(len(long), len(long), dtype=torch.bool).tril())
    # The longer name's tokens and two ends of sequence.
    assert len(trie.edge_tokens) == len(long) + 2
    assert trie.class_edges.sum(dim=1).tolist() == [len(short) + 1, len(long) + 1]


@pytest.mark.parametrize("instruction", ["recognize", "recognize_from_list"])
def test_tree_scores_equal_one_forward_a_name(build, clips, instruction):
    model = build(instruction=instruction)
    codes, code_mask = clips
    scores = score_classes(model, codes, code_mask, LabelTrie(NAMES, model.tokenizer), batch_size=3)
    expected = torch.stack([brute_force(model, c[m], NAMES) for c, m in zip(codes, code_mask, strict=True)])
    assert expected.std(dim=1).min() > 1
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


def test_an_instruction_with_nothing_in_front_is_scored_too(build, clips):
    model = build(instruction="[tokens] is the action.")
    codes, code_mask = clips
    scores = score_classes(model, codes, code_mask, LabelTrie(NAMES, model.tokenizer))
    expected = torch.stack([brute_force(model, c[m], NAMES) for c, m in zip(codes, code_mask, strict=True)])
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


def test_the_instruction_in_front_is_read_once(build, clips):
    model = build()
    read = []
    model.decoder.register_forward_pre_hook(
        lambda _, args, given: read.append(given["inputs_embeds"].shape[:2]), with_kwargs=True
    )
    trie = LabelTrie(NAMES, model.tokenizer)
    score_classes(model, *clips, trie, batch_size=2)
    before, after = encode_prompt(model.tokenizer, model.instruction, NAMES)
    own = clips[0].shape[1] + len(after) + len(trie.node_tokens)
    assert read == [(1, len(before)), (2, own), (2, own)]


def test_tree_scores_are_the_training_loss(build, clips):
    model = build()
    codes, code_mask = clips
    scores = score_classes(model, codes, code_mask, LabelTrie(model.class_names, model.tokenizer))
    answer = torch.tensor([encode_answer(model.tokenizer, model.class_names[1])])
    loss = model(codes[1:2], code_mask[1:2], answer, torch.ones_like(answer, dtype=torch.bool))["loss"]
    assert scores[1, 1].item() == pytest.approx(-loss.item() * answer.shape[1], abs=1e-4)


def test_a_clip_scores_the_same_alone_and_padded_in_a_batch(build, clips):
    model = build()
    codes, code_mask = clips
    trie = LabelTrie(NAMES, model.tokenizer)
    together = score_classes(model, codes, code_mask, trie)
    alone = score_classes(model, codes[1:2, :3], code_mask[1:2, :3], trie)
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-6)


def test_scoring_keeps_the_training_mode_and_ignores_dropout(build, clips):
    model = build()
    trie = LabelTrie(NAMES, model.tokenizer)
    expected = score_classes(model, *clips, trie)
    model.train()
    assert torch.equal(score_classes(model, *clips, trie), expected)
    assert model.training


def test_sentences_of_any_length_score_as_their_padded_batch(build, clips):
    model = build()
    codes, code_mask = clips
    sentences = [c[m].numpy().astype(np.int16) for c, m in zip(codes, code_mask, strict=True)]
    padded, mask = pad_sentences(sentences)
    assert torch.equal(mask, code_mask)
    assert torch.equal(padded[mask], codes[code_mask])
    expected = score_classes(model, codes, code_mask, LabelTrie(NAMES, model.tokenizer))
    np.testing.assert_allclose(score_sentences(model, sentences, 2, NAMES), expected.numpy(), atol=1e-4)
    assert score_sentences(model, sentences, 4).shape == (4, len(model.class_names))
    assert score_sentences(model, [], 4).shape == (0, len(model.class_names))


def test_a_code_outside_the_codebook_is_refused(build):
    with pytest.raises(UserError, match="from 0 to 15, saw 3 to 16"):
        score_sentences(build(), [np.array([3, 16])], 1)


@pytest.mark.parametrize(
    ("names", "said"), [(["throw", "throw "], "different tokens"), ([], "empty class list")]
)
def test_ambiguous_class_lists_are_refused(build, names, said):
    with pytest.raises(UserError, match=said):
        LabelTrie(names, build(adapters=False).tokenizer)


def test_features_score_as_one_forward_a_name(build):
    model = build(word_norm=True, input="features")
    rng = np.random.default_rng(0)
    clips = [rng.normal(0, 1, (length, 32)).astype(np.float16) for length in (3, 1, 5)]
    before, after = encode_prompt(model.tokenizer, model.instruction, NAMES)
    words = model.base.get_input_embeddings()
    expected = []
    for features in clips:
        scaled = torch.from_numpy(features).float() * model.word_factor
        prompt = torch.cat([words(torch.tensor(before)), scaled, words(torch.tensor(after))])
        for name in NAMES:
            answer = encode_answer(model.tokenizer, name)
            inputs = torch.cat([prompt, words(torch.tensor(answer[:-1]))])
            with torch.no_grad():
                logits = model.base(inputs_embeds=inputs[None]).logits[0, len(prompt) - 1 :]
            expected.append(sum(logits[i].log_softmax(0)[token].item() for i, token in enumerate(answer)))
    scores = score_sentences(model, clips, 2, NAMES)
    np.testing.assert_allclose(scores.ravel(), expected, atol=1e-4)
    assert scores.std(axis=0).min() > 0.1  # clips differ


@pytest.mark.parametrize("word_norm", [False, True])
def test_features_that_are_codes_score_as_the_codes(build, clips, codebook, word_norm):
    of_codes, of_features = (build(word_norm=word_norm, input=name) for name in ("codes", "features"))
    codes, mask = clips
    trie = LabelTrie(NAMES, of_codes.tokenizer)
    features = codebook[codes]
    assert torch.equal(
        score_classes(of_features, features, mask, trie), score_classes(of_codes, codes, mask, trie)
    )
    assert generate_names(of_features, features, mask, trie) == generate_names(of_codes, codes, mask, trie)


@torch.no_grad()
def greedy(model, codes, names):
    """Free generation for one unpadded clip, everything recomputed for every token."""
    embeddings = prompt_embeddings(model, codes, names)
    tokens = []
    while len(tokens) < max(len(encode_answer(model.tokenizer, name)) for name in names):
        token = model.base(inputs_embeds=embeddings[None]).logits[0, -1].argmax()
        if token.item() == model.tokenizer.eos_token_id:
            break
        tokens.append(token.item())
        embeddings = torch.cat([embeddings, model.base.get_input_embeddings()(token)[None]])
    return model.tokenizer.decode(tokens).strip()


def test_free_generation_equals_generation_without_a_cache(build, clips):
    model = build()
    codes, code_mask = clips
    expected = [greedy(model, c[m], NAMES) for c, m in zip(codes, code_mask, strict=True)]
    assert len(set(expected)) > 1
    assert generate_names(model, codes, code_mask, LabelTrie(NAMES, model.tokenizer), 3) == expected


def test_free_generation_skips_what_is_padded_wherever_it_stands(build, clips):
    model = build()
    codes, mask = clips[0], torch.tensor([[1, 0, 1, 1, 0, 1], [0, 1, 1, 0, 0, 0]] * 2, dtype=torch.bool)
    expected = [greedy(model, c[m], NAMES) for c, m in zip(codes, mask, strict=True)]
    assert len(set(expected)) > 1
    assert generate_names(model, codes, mask, LabelTrie(NAMES, model.tokenizer)) == expected
    assert not generate_names(model, codes[:0], mask[:0], LabelTrie(NAMES, model.tokenizer))


def test_a_model_trained_on_one_answer_generates_exactly_it(build, clips):
    model = build().train()
    codes, code_mask = clips
    answer = torch.tensor([encode_answer(model.tokenizer, "throw up cap/hat")]).expand(4, -1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(150):
        model(codes, code_mask, answer, torch.ones_like(answer, dtype=torch.bool))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    trie = LabelTrie(NAMES, model.tokenizer)
    assert generate_names(model, codes, code_mask, trie) == ["throw up cap/hat"] * 4


@pytest.mark.slow
def test_tree_scores_equal_one_forward_a_name_on_smollm2(tmp_path):
    pytest.importorskip("gguf")
    try:
        llm, tokenizer = load_llm(LLMConfig(model="smollm2", precision="float32"), tmp_path)
    except UserError as error:
        pytest.skip(str(error))
    codebook = torch.randn(64, 576, generator=torch.Generator().manual_seed(0)) * 0.13
    config = LLMConfig(model="smollm2", precision="float32")
    model = ActionLanguageModel(llm, tokenizer, codebook, load_instruction("recognize"), NAMES, config)
    codes = torch.randint(0, 64, (2, 16), generator=torch.Generator().manual_seed(1))
    code_mask = torch.arange(16) < torch.tensor([16, 9])[:, None]
    scores = score_classes(model, codes, code_mask, LabelTrie(NAMES, tokenizer))
    expected = torch.stack([brute_force(model, c[m], NAMES) for c, m in zip(codes, code_mask, strict=True)])
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


def sharpened(model):
    """The random model, surer of what comes next."""
    with torch.no_grad():
        model.vocabulary_head.weight *= 8
    return model


@pytest.mark.parametrize("ask", [Ask(), Ask(3), Ask(2, 1e-3), ALL], ids=str)
@pytest.mark.parametrize("guesses", [None, [0, 1, 6, 3]], ids=["unguessed", "guessed"])
@pytest.mark.parametrize("by_length", [False, True], ids=["sum", "mean"])
@pytest.mark.parametrize("kind", ["codes", "features"])
def test_a_search_finds_what_the_whole_tree_says(build, clips, ask, guesses, by_length, kind):
    model = sharpened(build(input=kind))
    codes, mask = clips
    readings, masks = torch.stack([codes, codes.flip(0)], 1), torch.stack([mask, mask.flip(0)], 1)
    if kind == "features":
        readings = model.action_embedding(readings)
    trie = LabelTrie(NAMES, model.tokenizer)
    whole = score_classes(model, readings.flatten(0, 1), masks.flatten(0, 1), trie).double().numpy()
    scores = whole.reshape(len(codes), 2, -1).mean(axis=1)
    scores /= [len(answer) for answer in trie.answers] if by_length else 1
    found = find_names(model, readings, masks, trie, ask, by_length, guesses)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : ask.top]
    np.testing.assert_array_equal(
        np.argsort(-found.probabilities, axis=1, kind="stable")[:, : ask.top], order
    )
    np.testing.assert_allclose(
        np.take_along_axis(found.scores, order, 1), np.take_along_axis(scores, order, 1), atol=1e-4
    )
    assert (np.abs(found.probabilities - probabilities(scores)).max(axis=1) <= found.bounds + 1e-5).all()
    assert (found.bounds <= ask.tolerance).all()
    if ask == ALL:
        assert found.passes == 1
        np.testing.assert_allclose(found.scores, scores, atol=1e-4)


def test_a_search_reads_less_than_the_whole_tree(build, clips):
    model = sharpened(build())
    trie = LabelTrie(NAMES, model.tokenizer)
    codes, mask = (tensor[:, None] for tensor in clips)
    whole, name = (find_names(model, codes, mask, trie, ask) for ask in (ALL, Ask()))
    assert whole.rows == len(codes) * len(trie.row_edges)
    assert name.rows < whole.rows
    best = whole.probabilities.argmax(axis=1).tolist()
    told = find_names(model, codes, mask, trie, Ask(), guesses=best)
    assert told.passes <= name.passes
    assert told.rows <= name.rows


def test_a_search_keeps_the_training_mode(build, clips):
    model = build().train()
    codes, mask = (tensor[:, None] for tensor in clips)
    find_names(model, codes, mask, LabelTrie(NAMES, model.tokenizer), Ask())
    assert model.training


def test_no_clips_have_no_answers(build):
    model = build()
    nothing = torch.zeros(0, 1, 0, dtype=torch.int64)
    trie = LabelTrie(NAMES, model.tokenizer)
    found = find_names(model, nothing, nothing.bool(), trie, Ask(), guesses=[])
    assert found.probabilities.shape == found.scores.shape == (0, len(NAMES))
    assert (found.rows, found.passes) == (0, 0)
