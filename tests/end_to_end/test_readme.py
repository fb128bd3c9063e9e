"""What the README and the docs tell a reader to type exists, and takes the options it is given."""

import functools
import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from kedro.framework.startup import bootstrap_project

from llmar_pipeline.cli import cli
from llmar_pipeline.commands.protocols import protocol_loaders
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.pipeline_registry import register_pipelines
from llmar_pipeline.settings import CONFIG_LOADER_ARGS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *("README.md", "CONTRIBUTING.md", "data/README.md", "notebooks/README.md"),
    *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/*.md"))),
]
RESULTS = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("benchmarks/results/*.md"))]
BLOCK = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
KEDROS_OWN = {"viz", "registry", "catalog", "ipython", "jupyter", "info", "package"}


def commands(text: str, program: str) -> list[list[str]]:
    """Calls of a program in a Markdown text's code, without comments and prompts; what is planned is not."""
    text = re.sub(r"^## Not built yet$.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = "".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines()
    lines += [span for span in re.findall(r"`([^`\n]+)`", BLOCK.sub("", text)) if span != program]
    parts = [part for line in lines for part in re.split(r"&&|;|<\s", line.strip().removeprefix("$ "))]
    starts = re.compile(rf"^\s*(?:\w+=\S+\s+)*(?:\.venv/bin/)?({program}\s.*|{program}$)")
    return [shlex.split(m[1], comments=True)[1:] for part in parts if (m := starts.match(part))]


def configuration(env: str | None, params: Mapping[str, Any]) -> StackedConfigLoader:
    """What a command asks for; documents name the same again and again."""
    return loaded(env, json.dumps(params, sort_keys=True))


@functools.cache
def loaded(env: str | None, params: str) -> StackedConfigLoader:
    loader = StackedConfigLoader(str(ROOT / "conf"), env, json.loads(params), **CONFIG_LOADER_ARGS)
    assert loader["parameters"]
    assert loader["catalog"]
    return loader


def check_kedro(arguments: list[str]) -> None:
    """Parse a command and load every configuration that it asks for."""
    name, *options = arguments
    if name in KEDROS_OWN:
        return
    wanted = [param for param in cli.commands[name].params if isinstance(param, click.Argument)]
    if all(option.startswith("-") for option in options):  # the command is but mentioned
        options += ["recording.npz" for param in wanted if param.required]
    chosen = cli.commands[name].make_context(name, options).params
    if "params" not in chosen:  # it works on a trained model, not on a configuration
        return

    environments = chosen["envs"].split(",") if chosen.get("envs") else [chosen["env"]]

    def load(params):
        *others, last = environments
        for env in others:
            configuration(env, params)
        return configuration(last, params)

    params = dict(chosen["params"])
    if name == "unseen":
        classes = chosen["classes"]
        params["unseen"] = int(classes) if classes.isdecimal() else classes
    if chosen.get("experiments"):
        for each in chosen["experiments"].split(","):
            load(params | {"experiment": each})
    elif name == "protocols":
        protocol_loaders(params, load)
    else:
        load(params)
    pipelines = chosen.get("pipeline") or chosen.get("pipelines") or []
    names = pipelines.split(",") if isinstance(pipelines, str) else pipelines
    assert set(names) <= set(register_pipelines()), arguments


@pytest.fixture(scope="module")
def text(project: Path):
    bootstrap_project(project)
    return lambda document: (project / document).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS + RESULTS)
def test_the_kedro_commands(text, document):
    for arguments in commands(text(document), "kedro"):
        check_kedro(arguments)


def test_the_readme_shows_every_command_of_ours(text):
    assert {arguments[0] for arguments in commands(text("README.md"), "kedro")} >= set(cli.commands)


@pytest.mark.parametrize("folder", ["experiments", "sizes"])
def test_the_readme_names_every_choice(text, folder):
    for file in (ROOT / "conf" / folder).glob("*.yml"):
        assert f"`{file.stem}`" in text("README.md"), file


@pytest.mark.parametrize("document", DOCUMENTS + RESULTS)
def test_the_make_targets(text, project, document):
    """Make says what it would do, and the scripts among it exist."""
    calls = commands(text(document), "make")
    assert calls or document != "README.md"
    for arguments in calls:
        done = subprocess.run(
            ["make", "--no-print-directory", "--dry-run", *arguments],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        for script in re.findall(r"\S+\.py\b", done.stdout):
            assert (project / script).exists(), arguments


@pytest.mark.parametrize("document", DOCUMENTS + RESULTS)
def test_the_scripts(text, project, document):
    for script, *options in commands(text(document), "python"):
        if script == "-m":
            assert options[0] == "llmar_pipeline"
            assert {*options[1:2]} <= set(cli.commands)
            continue
        source = (project / script).read_text(encoding="utf-8")
        for option in options:
            assert not option.startswith("--") or f'"{option}"' in source, (script, option)


def test_make_clean_spares_recordings_environment_and_language_model(project, tmp_path):
    kept = [
        "data/README.md",
        "data/01_raw/nwucla/a01.json",
        "data/06_models/llm/smollm2/config.json",
        ".venv/bin/python",
    ]
    gone = [
        "data/01_raw/demo/a.skeleton",
        "data/04_feature/x",
        "data/06_models/demo/y",
        "mlruns/1",
        "mlflow.db",
    ]
    for name in (*kept, *gone, "Makefile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "Makefile").write_bytes((project / "Makefile").read_bytes())
    subprocess.run(["make", "--no-print-directory", "clean"], cwd=tmp_path, check=True, capture_output=True)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*kept, "Makefile"}


@pytest.mark.parametrize("target", ["demo", "test", "docs", "clean"])
def test_a_program_that_does_not_exist_is_named_in_one_line(project, tmp_path, target):
    """Whether the environment is there or not, and nothing is removed or installed."""
    (tmp_path / "Makefile").write_bytes((project / "Makefile").read_bytes())
    (tmp_path / "mlflow.db").touch()
    done = subprocess.run(
        ["make", "--no-print-directory", target, "PYTHON=no-such-python"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    (line,) = (done.stdout + done.stderr).splitlines()
    assert "there is no program 'no-such-python': install Python 3.11 or newer, or name one: make " in line
    assert {path.name for path in tmp_path.iterdir()} == {"Makefile", "mlflow.db"}


@pytest.mark.parametrize(("version", "seen"), [("3.10", "is 3.10:"), (None, "is no Python that runs:")])
def test_a_program_that_is_no_new_python_is_named(project, tmp_path, version, seen):
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / file).write_bytes((project / file).read_bytes())
    old = tmp_path / "python-of-old"
    old.write_text(f"#!/bin/sh\necho {version}\nexit 1\n" if version else "#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "--no-print-directory", "setup", f"PYTHON={old}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"Python 3.11 or newer is needed, '{old}' {seen} make PYTHON=" in done.stdout
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("target", "extras"),
    [
        ("demo", set()),
        ("setup", set()),
        ("test", {"qlora dev docs"}),
        ("lint", {"qlora dev docs"}),
        ("viz", {"viz"}),
        ("docs", {"docs"}),
    ],
)
def test_each_target_installs_what_it_needs(project, tmp_path, target, extras):
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / file).write_bytes((project / file).read_bytes())
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", target, "TORCH_INDEX=https://example.org/cpu"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    installed = done.stdout.replace("\\\n", "")
    assert set(re.findall(r"""sep="\\n"\)' (\w[\w ]*) \|""", installed)) == extras
    assert installed.count("--editable .\n") == 1
    assert re.search(r"--extra-index-url https://example.org/cpu\s+\"\$\(sed .*/\^torch==", installed)
    # the rest has hashes: torch differs with the index, and the project is a folder
    lines = [line for line in installed.splitlines() if "pip install" in line]
    bare = [line for line in lines if "--require-hashes" not in line]
    assert [line.split()[-1] for line in bare] == ['constraints.txt)"', "."]
    assert all("--no-deps" in line for line in bare)


def test_commands_are_found_in_code_only():
    text = (
        "make no\n`make lint` and `make`\n```sh\n$ make demo PYTHON=python3.11  # minutes\n"
        "cd x && A=1 kedro run \\\n --env=b\n```\n## Not built yet\n`kedro fly`\n## More\n`kedro doctor`\n"
    )
    assert commands(text, "make") == [["demo", "PYTHON=python3.11"], ["lint"]]
    assert commands(text, "kedro") == [["run", "--env=b"], ["doctor"]]


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        ("run", "--env=nowhere"),
        ("run", "--params=size=nothing"),
        ("doctor", "--params=vqvae.widht=1"),
        ("ablations", "--experiments=nothing"),
        ("unseen", "--classes=1-2"),
        ("protocols", "--env=nowhere"),
    ],
)
def test_a_command_with_a_wrong_name_is_noticed(command, argument):
    with pytest.raises(Exception, match="unknown"):
        check_kedro([command, argument])


@pytest.mark.parametrize("command", ["run", "doctor", "ablations", "protocols", "unseen"])
def test_a_command_with_a_wrong_option_is_noticed(command):
    with pytest.raises(Exception, match="No such option"):
        check_kedro([command, "--environment=ntu60"])
