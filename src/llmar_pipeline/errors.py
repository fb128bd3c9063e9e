"""The one error that a user is meant to read."""

import click


class UserError(click.ClickException):
    """Something the user can put right: bad input, a missing folder, a mistyped name.

    The message is one line: what was expected, what was seen, where, and what to do. The command
    line prints it without a traceback and ends with exit code 1; every other exception is a bug.
    """


def causes(error: BaseException) -> list[BaseException]:
    """An error and what it was raised from, the newest first."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    return chain
