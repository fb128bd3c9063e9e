"""Which revision a run is of, and what MLflow is told of where it comes from."""

import subprocess

import pytest

from llmar_pipeline.io import origin
from llmar_pipeline.io.origin import revision, standard_tags


@pytest.fixture
def checkout(tmp_path):
    """A committed project: package, configuration, and rows of results with their figure."""
    for name in (
        *("src/package/model.py", "conf/base/parameters.yml", "pyproject.toml", "docs/page.md"),
        *("docs/results/row.json", "docs/images/rows.svg", "elsewhere/row.json"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("as committed")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize("written", ["docs/results/row.json", "docs/images/rows.svg", "elsewhere/row.json"])
def test_results_that_a_run_replaces_are_no_change_of_the_code(checkout, written):
    before = revision(checkout / "src" / "package")
    assert len(before) == 10
    (checkout / written).write_text("another result")
    (checkout / "docs" / "results" / "of-another-run.json").write_text("{}")
    assert revision(checkout / "src" / "package") == before


@pytest.mark.parametrize("changed", ["src/package/model.py", "conf/base/parameters.yml", "pyproject.toml"])
@pytest.mark.parametrize("staged", [False, True])
def test_what_decides_a_result_marks_the_revision(checkout, changed, staged):
    before = revision(checkout / "src" / "package")
    (checkout / changed).write_text("changed")
    if staged:
        subprocess.run(["git", "add", "."], cwd=checkout, check=True)
    assert revision(checkout / "src" / "package") == f"{before}-dirty"
    (checkout / changed).write_text("as committed")
    subprocess.run(["git", "add", "."], cwd=checkout, check=True)
    assert revision(checkout / "src" / "package") == before


def test_outside_a_checkout_and_without_git_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision(tmp_path) == ""
    monkeypatch.setenv("PATH", "")
    assert revision(tmp_path) == ""


def test_a_run_says_who_started_it_and_what_was_typed(checkout, monkeypatch):
    monkeypatch.setattr(origin, "_PACKAGE", checkout / "src" / "package")
    monkeypatch.setattr("sys.argv", ["/usr/bin/kedro", "run", "--params=raw_dir=/my recordings"])
    monkeypatch.setenv("LOGNAME", "ada")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, check=True, capture_output=True)
    assert standard_tags() == {
        "mlflow.user": "ada",
        "mlflow.source.name": "kedro run",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": head.stdout.decode().strip(),
        "command": "kedro run '--params=raw_dir=/my recordings'",
    }


def test_a_user_without_a_name_has_runs_too(monkeypatch):
    def nameless():
        raise OSError("No username set in the environment")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert standard_tags()["mlflow.user"] == "unknown"
