"""What `kedro package` makes runs where there is no project."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from kedro.framework.cli import project as kedro_project
from workplaces import make_tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def packaged(
    project: Path, tiny_llm_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The unpacked wheel, and the archive of the configuration with a size of seconds in it."""
    copy = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(project / name, copy)
    for name in ("src", "conf"):
        shutil.copytree(
            project / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    make_tiny(copy / "conf", tiny_llm_folder)
    (copy / "conf" / "local").mkdir()
    (copy / "conf" / "local" / "credentials.yml").write_text("secret: 1\n")

    def call(command: list[str], **options) -> None:
        """As Kedro's, but setuptools is the one that is installed: nothing is fetched."""
        here = ["--no-isolation"] if "build" in command else []
        subprocess.run([*command, *here], check=True, capture_output=True, **{"cwd": copy, **options})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kedro_project, "call", call)
        metadata = SimpleNamespace(project_path=copy, package_name="llmar_pipeline")
        done = CliRunner().invoke(kedro_project.package, obj=metadata, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (wheel,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(copy / "wheel")
    return copy / "wheel", copy / "dist" / "conf-llmar_pipeline.tar.gz"


@pytest.fixture
def run(packaged: tuple[Path, Path], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """`python -m llmar_pipeline` in an empty folder, from the wheel alone: exit code and output."""
    wheel, _ = packaged
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("KEDRO", "COV", "MLFLOW"))}

    def program(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "llmar_pipeline", *arguments],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(wheel), "TMPDIR": str(tmp_path.parent)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout

    return program


def test_the_archive_holds_no_secrets_and_the_wheel_all_that_the_package_reads(packaged, project):
    wheel, archive = packaged
    with tarfile.open(archive) as opened:
        names = opened.getnames()
    assert "conf/base/globals.yml" in names
    assert not [name for name in names if name.startswith("conf/local/") and name.endswith(".yml")]
    source = project / "src"
    read = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    read = [path for path in read if "__pycache__" not in path.parts and ".egg-info" not in path.parts[0]]
    assert [path for path in read if not (wheel / path).is_file()] == []


def test_help_names_every_command(run):
    code, output = run("--help")
    assert code == 0
    for name in ("run", "doctor", "ablations", "protocols", "unseen"):
        assert f"\n  {name} " in output


def test_a_stage_runs_from_the_archive_in_an_empty_folder(run, packaged, tmp_path):
    """The name of the command may be left out, as in every packaged Kedro project."""
    before = {path.name for path in tmp_path.parent.glob("llmar-conf-*")}
    code, output = run(f"--conf-source={packaged[1]}", "--pipelines=ingestion", "--params=size=tiny")
    assert code == 0, output
    assert (tmp_path / "data/02_intermediate/demo/recordings/index.parquet").is_file()
    assert {path.name for path in tmp_path.parent.glob("llmar-conf-*")} == before, "unpacked files are left"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pipelines=ingestion"], "there is no configuration"),
        (["--conf-source=nothing.tar.gz"], "'nothing.tar.gz' does not exist"),
        (["rnu"], "No such command 'rnu'"),
    ],
)
def test_what_is_missing_is_said_in_a_line(run, arguments, words):
    code, output = run(*arguments)
    assert code != 0
    assert words in output
    assert "Traceback" not in output
