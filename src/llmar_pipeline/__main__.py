"""The commands without a project folder: `python -m llmar_pipeline`, for the wheel of `kedro package`."""

import sys
from collections.abc import Sequence

from kedro.framework.project import configure_project

from llmar_pipeline.cli import cli


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of our commands; `run` where none is named, as packaged Kedro projects do.

    Args:
        arguments: of the command line; those of this process by default.

    Raises:
        SystemExit: always, with the command's exit code.
    """
    configure_project("llmar_pipeline")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("-") and given[0] != "--help"):
        given = ["run", *given]
    cli.main(given, prog_name="python -m llmar_pipeline")


if __name__ == "__main__":
    main()
