import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.instructions import (
    check_instruction,
    encode_answer,
    encode_answers,
    encode_prompt,
    load_instruction,
    split_instruction,
)


@pytest.fixture
def tokenizer(tiny_llm_folder):
    return AutoTokenizer.from_pretrained(tiny_llm_folder)


def test_the_papers_instruction_is_verbatim():
    assert load_instruction("recognize") == (
        "Given a sequence of action tokens [tokens], please predict the corresponding action."
    )


def test_an_unknown_instruction_is_refused_with_the_choices():
    with pytest.raises(UserError, match=r"recognize, recognize_from_list.*'classify'"):
        load_instruction("classify")


@pytest.mark.parametrize("text", ["no place", "[tokens] and [tokens].", "[tokens] from [list] or [list]."])
def test_wrong_placeholders_are_refused(text):
    with pytest.raises(UserError, match="in the instruction"):
        check_instruction(text)


def test_the_class_list_is_written_into_the_instruction():
    assert split_instruction(load_instruction("recognize_from_list"), ["sit", "run"]) == (
        "Given a sequence of action tokens",
        ", please predict the corresponding action from sit, run.",
    )


def test_the_prompt_begins_as_the_tokenizer_begins_a_text(tokenizer):
    before, after = encode_prompt(tokenizer, load_instruction("recognize"), [])
    assert list(before) == tokenizer("Given a sequence of action tokens")["input_ids"]
    assert before.count(tokenizer.bos_token_id) == 1
    assert tokenizer.bos_token_id not in after
    assert tokenizer.decode(after) == ", please predict the corresponding action."


@pytest.mark.parametrize("name", ["throw", "throw up cap/hat", "hand"])
def test_answer_tokens_are_those_of_running_text_and_end(tokenizer, name):
    _, after = encode_prompt(tokenizer, load_instruction("recognize"), [])
    whole = tokenizer(
        f", please predict the corresponding action. {name}", add_special_tokens=False
    ).input_ids
    answer = encode_answer(tokenizer, name)
    assert [*after, *answer] == [*whole, tokenizer.eos_token_id]
    assert answer[:-1] == tokenizer(f" {name}", add_special_tokens=False).input_ids


def test_a_tokenizer_that_adds_a_leading_space_adds_none_to_answers():
    vocabulary = {"<s>": 0, "</s>": 1, "▁.": 2, "▁throw": 3, "throw": 4}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="</s>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    assert encode_answer(tokenizer, "throw") == [3, 1]


def test_answers_are_padded_to_the_longest(tokenizer):
    ids, mask = encode_answers(tokenizer, ["throw", "throw up cap/hat"])
    for row, name in enumerate(["throw", "throw up cap/hat"]):
        assert ids[row][mask[row]].tolist() == encode_answer(tokenizer, name)
    assert mask[1].all()
    assert not mask[0].all()


def test_an_empty_name_is_refused(tokenizer):
    with pytest.raises(UserError, match="rename"):
        encode_answer(tokenizer, "  ")
