"""The instruction given to the large language model, and the answers expected from it."""

from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llmar_pipeline.errors import UserError

_ANCHOR = "."


class Prompt(NamedTuple):
    """An instruction with its class list as tokens.

    Attributes:
        before: Token ids before the action tokens, led by the begin-of-sequence token where the tokenizer
            itself writes one.
        after: Token ids after them.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]


def load_instruction(name: str) -> str:
    """Read an instruction from `prompts/<name>.txt`.

    Args:
        name: "recognize" (the paper's instruction) or "recognize_from_list" (names the classes).

    Returns:
        The instruction with its placeholders: exactly one [tokens], at most one [list].

    Raises:
        UserError: There is no such file, or its placeholders are wrong.

    Source: Sec. 3.2 of the paper ("recognize"); ours ("recognize_from_list").
    """
    folder = files("llmar_pipeline.language") / "prompts"
    names = sorted(
        entry.name.removesuffix(".txt") for entry in folder.iterdir() if entry.name.endswith(".txt")
    )
    if name not in names:
        raise UserError(
            f"expected an instruction out of {', '.join(names)}, saw {name!r}; choose one of these."
        )
    return check_instruction((folder / f"{name}.txt").read_text(encoding="utf-8").strip())


def check_instruction(instruction: str) -> str:
    """Return the instruction if its placeholders are right.

    Raises:
        UserError: [tokens] does not occur exactly once, or [list] more than once.

    Source: ours.
    """
    for placeholder, allowed in (("[tokens]", (1,)), ("[list]", (0, 1))):
        if (seen := instruction.count(placeholder)) not in allowed:
            raise UserError(
                f"expected {' or '.join(map(str, allowed))} {placeholder} in the instruction, saw {seen} in "
                f"{instruction!r}; correct the text."
            )
    return instruction


def split_instruction(instruction: str, class_names: Sequence[str]) -> tuple[str, str]:
    """Split an instruction into the texts before and after the action tokens.

    Args:
        instruction: An instruction with its placeholders.
        class_names: Names that replace [list], if it occurs.

    Returns:
        The text before (without its last space, which tokenizers would make a token of its own) and after.

    Source: ours.
    """
    before, after = check_instruction(instruction).replace("[list]", ", ".join(class_names)).split("[tokens]")
    return before.rstrip(), after


def encode_prompt(tokenizer: PreTrainedTokenizerBase, instruction: str, class_names: Sequence[str]) -> Prompt:
    """Tokenise the texts before and after the action tokens.

    Args:
        tokenizer: The large language model's tokenizer.
        instruction: An instruction with its placeholders.
        class_names: Names that replace [list], if it occurs.

    Source: ours.
    """
    before, after = split_instruction(instruction, class_names)
    writes_bos = (
        tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    )
    bos = (tokenizer.bos_token_id,) if writes_bos else ()
    return Prompt((*bos, *_token_ids(tokenizer, before)), tuple(_token_ids(tokenizer, after)))


def encode_answer(tokenizer: PreTrainedTokenizerBase, name: str) -> list[int]:
    """Tokenise one answer: a space, the class name, end-of-sequence.

    The answer follows the instruction's final full stop after a space, so that its words get the tokens they
    have inside running text. The tokens are read off in that context, since SentencePiece tokenizers treat a
    leading space differently from a space inside a text.

    Args:
        tokenizer: The large language model's tokenizer.
        name: A class name.

    Returns:
        Token ids, the last one end-of-sequence.

    Raises:
        UserError: The name is empty, or the tokenizer merges it with the full stop or has no end-of-sequence.

    Source: Eq. 13 of the paper (tokens t_g); the space and end-of-sequence are ours.
    """
    anchor = _token_ids(tokenizer, _ANCHOR)
    ids = _token_ids(tokenizer, f"{_ANCHOR} {name.strip()}")
    if not name.strip() or len(ids) <= len(anchor) or ids[: len(anchor)] != anchor:
        raise UserError(
            f"expected a class name that the tokenizer can write after '{_ANCHOR} ', saw {name!r}; rename "
            "the class."
        )
    if tokenizer.eos_token_id is None:
        raise UserError(
            "expected a tokenizer with an end-of-sequence token, saw none; choose another llm.model."
        )
    return [*ids[len(anchor) :], tokenizer.eos_token_id]


def encode_answers(tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Tokenise several answers; row i belongs to class i, so that `ids[labels]` are a batch's answers.

    Args:
        tokenizer: The large language model's tokenizer.
        names: Class names.

    Returns:
        Token ids [names, longest] (int64, right-padded with end-of-sequence) and their mask (bool).

    Source: ours.
    """
    answers = [encode_answer(tokenizer, name) for name in names]
    lengths = torch.tensor([len(answer) for answer in answers])
    longest = int(lengths.max())
    ids = torch.tensor([answer + answer[-1:] * (longest - len(answer)) for answer in answers])
    return ids, torch.arange(longest) < lengths[:, None]


def _token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
