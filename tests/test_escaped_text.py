import pytest

from llmar_pipeline.errors import UserError, escaped, is_safe


@pytest.mark.parametrize(
    "text", ["\x1b]0;x\x07", "\u202eabc", "a\u2066b", "\x9b8m", "\udc80", "a\rb", "\u200f"]
)
def test_what_would_command_a_terminal_is_spelt_out(text: str) -> None:
    assert not is_safe(text)
    assert escaped(text).isascii()
    assert UserError(f"saw {text}").message == f"saw {escaped(text)}"


@pytest.mark.parametrize("text", ["wave", "grüßen", "می‌رود", "手を振る", "👩‍🦯 walks", "a - b_c.d"])
def test_words_of_any_script_stay(text: str) -> None:
    assert is_safe(text)
    assert escaped(text) == text
    assert not is_safe(f"{text}\n")
