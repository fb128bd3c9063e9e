"""What the README and the docs tell a reader to type exists."""

import re
import shlex
from pathlib import Path

import pytest
from kedro.framework.startup import bootstrap_project

from llmar_pipeline.cli import cli
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.pipeline_registry import register_pipelines
from llmar_pipeline.settings import CONFIG_LOADER_ARGS

KEDROS_OWN = {"viz", "registry", "catalog", "ipython", "jupyter", "info"}


def commands(text: str, program: str) -> list[list[str]]:
    """Calls of a program in a Markdown text's code blocks, without comments and prompts."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.split(r"&&|;", line.strip().removeprefix("$ "))]
    starts = re.compile(rf"^\s*(?:\w+=\S+\s+)*(?:\.venv/bin/)?({program}\s.*|{program}$)")
    return [shlex.split(m[1], comments=True)[1:] for part in parts if (m := starts.match(part))]


def check_kedro_run(arguments: list[str], project: Path) -> None:
    """Parse a `kedro run` and load the configuration it asks for."""
    chosen = cli.commands["run"].make_context("run", list(arguments)).params
    conf = str(project / "conf")
    loader = StackedConfigLoader(conf, chosen["env"], dict(chosen["params"]), **CONFIG_LOADER_ARGS)
    assert loader["parameters"]
    assert loader["catalog"]
    names = [chosen["pipeline"]] if chosen["pipeline"] else chosen["pipelines"]
    assert set(names) <= set(register_pipelines()), arguments


@pytest.fixture(scope="module")
def readme(project: Path) -> str:
    bootstrap_project(project)
    return (project / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", ["README.md", "docs/data.md"])
def test_the_kedro_commands(readme, project, document):
    calls = commands((project / document).read_text(encoding="utf-8"), "kedro")
    assert calls
    for arguments in calls:
        assert arguments[0] in set(cli.commands) | KEDROS_OWN, arguments
        if arguments[0] == "run":
            check_kedro_run(arguments[1:], project)


def test_the_make_targets(readme, project):
    targets = set(re.findall(r"^([\w-]+):", (project / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    calls = commands(readme, "make")
    assert calls
    for arguments in calls:
        asked = {word for word in arguments if "=" not in word and not word.startswith("-")}
        assert asked <= targets, arguments


def test_commands_are_found_in_code_blocks_only():
    text = (
        "make no\n```sh\n$ make demo PYTHON=python3.11  # minutes\ncd x && A=1 kedro run \\\n --env=b\n```\n"
    )
    assert commands(text, "make") == [["demo", "PYTHON=python3.11"]]
    assert commands(text, "kedro") == [["run", "--env=b"]]


@pytest.mark.parametrize("argument", ["--env=nowhere", "--params=size=nothing", "--params=vqvae.widht=1"])
def test_a_command_with_a_wrong_name_is_noticed(project, argument):
    with pytest.raises(Exception, match="unknown"):
        check_kedro_run([argument], project)
