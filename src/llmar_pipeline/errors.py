"""The one error that a user is meant to read."""

import re

import click

_COMMANDS = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escaped(text: str) -> str:
    """Text as a terminal may show it: what would command it, or turn the direction of writing, is spelt out.

    Source: ours; the characters are Unicode's controls, its marks of direction (UAX 9) and lone surrogates.
    """
    return _COMMANDS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def is_safe(name: str) -> bool:
    """Whether a name has nothing that `escaped` would spell out, and is of one line."""
    return "\n" not in name and escaped(name) == name


class UserError(click.ClickException):
    """Something the user can put right: bad input, a missing folder, a mistyped name.

    The message is one line: what was expected, what was seen, where, and what to do. The command
    line prints it without a traceback and ends with exit code 1; every other exception is a bug.
    """

    def __init__(self, message: str) -> None:
        super().__init__(escaped(message))


def causes(error: BaseException) -> list[BaseException]:
    """An error and what it was raised from, the newest first."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    return chain
