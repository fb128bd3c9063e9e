"""What `kedro run` takes: Kedro's options, and one that stays where Kedro drops its own."""

import errno
import io
import os
import signal
import sys
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DataCatalog
from kedro.runner import AbstractRunner

from llmar_pipeline import error_lines
from llmar_pipeline.cli import cli
from llmar_pipeline.command_line import run as run_command
from llmar_pipeline.command_line.program import Program
from llmar_pipeline.io import tracking
from llmar_pipeline.settings import CONFIG_LOADER_ARGS
from llmar_pipeline.training import launchers


class ElsewhereRunner(AbstractRunner):
    """A runner of nobody's, such as those that send nodes to a cluster."""


@pytest.fixture
def run(monkeypatch):
    """Runs nothing: the options that Kedro would get."""
    seen = {}
    callback = lambda **options: seen.update(options)  # noqa: E731

    def invoke(*arguments, kedro_has_pipeline=True):
        options = [o for o in kedro_run.params if kedro_has_pipeline or o.name != "pipeline"]
        monkeypatch.setattr(run_command, "kedro_run", click.Command("run", params=options, callback=callback))
        seen.clear()
        command = Program("run", params=run_command._run_options(), callback=run_command._run)
        result = CliRunner().invoke(command, arguments)
        return result, dict(seen)

    return invoke


@pytest.mark.parametrize("option", ["--pipeline=stage1", "-pstage1", "--pipelines=stage1"])
@pytest.mark.parametrize("kedro_has_pipeline", [True, False])
def test_pipeline_stays_whatever_becomes_of_kedros_own(run, option, kedro_has_pipeline):
    result, seen = run(option, "--env=nwucla", kedro_has_pipeline=kedro_has_pipeline)
    assert result.exception is None, result.output
    assert (seen["pipelines"], seen["env"]) == (["stage1"], "nwucla")
    assert seen.get("pipeline") is None
    assert ("pipeline" in seen) == kedro_has_pipeline


def test_both_at_once_are_refused(run):
    result, seen = run("--pipeline=stage1", "--pipelines=stage2")
    assert result.exit_code == 1
    assert "Error: expected --pipelines or --pipeline, saw both" in result.output
    assert not seen


def test_the_help_tells_the_true_default_environment():
    text = " ".join(CliRunner().invoke(cli, ["run", "--help"]).output.split())
    assert f"Defaults to `{CONFIG_LOADER_ARGS['default_run_env']}`" in text
    assert "local" not in text
    assert "--pipeline," not in text.replace("-p, --pipeline", "")


@pytest.mark.usefixtures("in_a_terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_end_says_so_in_one_line_and_is_closed_in_mlflow(monkeypatch, number):
    ended = []
    monkeypatch.setattr(tracking, "_current", SimpleNamespace(end=ended.append))

    def training(**_):
        try:
            signal.raise_signal(number)
        except BaseException as error:  # as packages do that save what they can
            raise RuntimeError("while saving") from error

    monkeypatch.setattr(
        run_command, "kedro_run", click.Command("run", params=kedro_run.params, callback=training)
    )
    command = click.Command("run", params=run_command._run_options(), callback=run_command._run)
    result = CliRunner().invoke(command, ["--wait"])
    assert result.exit_code == 128 + number
    assert result.output.startswith("Error: stopped by ")
    assert len(result.output.splitlines()) == 1
    assert ended == ["KILLED"]


def test_a_run_that_fails_outside_of_its_nodes_is_closed_in_mlflow(monkeypatch):
    ended = []
    monkeypatch.setattr(tracking, "_current", SimpleNamespace(end=ended.append))
    with pytest.raises(KeyError), error_lines.one_line_errors():
        raise KeyError("a bug")
    assert ended == ["FAILED"]


def test_what_is_written_is_for_the_owner_and_its_group_alone(run, tmp_path):
    before = os.umask(0o022)
    try:
        run()
        (tmp_path / "written").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "written").stat().st_mode & 0o777 == 0o640


def test_other_commands_than_a_run_are_one_process(monkeypatch):
    monkeypatch.setattr(launchers, "_launched", None)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("MASTER_ADDR", "x")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    result = CliRunner().invoke(cli, ["doctor"])
    assert result.exit_code == 1
    assert "expected one process of kedro doctor, saw 2 of a launcher; start it without" in result.output


def test_params_given_twice_all_count(run):
    _, seen = run("--params=size=gpu", "--params=vqvae.width=8")
    assert seen["params"] == {"size": "gpu", "vqvae": {"width": 8}}


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--nodes=nosuch", "--nodes=nosuch: Pipeline does not contain nodes named ['nosuch']"),
        ("--from-nodes=nosuch", "--from-nodes=nosuch"),
        ("--to-nodes=nosuch", "--to-nodes=nosuch"),
        ("--from-inputs=nosuch", "datasets named ['nosuch']"),
        ("--to-outputs=nosuch", "datasets named ['nosuch']"),
        ("--tags=nosuch", "--tags=nosuch: Pipeline contains no nodes"),
        ("--namespaces=nosuch", "namespaces: ['nosuch']"),
        ("--runner=Nosuch", "--runner=Nosuch: expected SequentialRunner"),
        ("--runner=no.such.Runner", "--runner=no.such.Runner: expected SequentialRunner"),
        ("--runner=ParallelRunner", "in this process, where hooks see them, saw another kind; leave out"),
        ("--runner=test_cli.ElsewhereRunner", "--runner=test_cli.ElsewhereRunner: expected SequentialRunner"),
        ("--runner=os.getcwd", "saw another kind"),
        ("--runner-params=no_such=1", "unexpected keyword argument 'no_such'"),
        ("--pipelines=nosuch", "unknown pipeline 'nosuch': choose one of"),
    ],
)
def test_names_that_kedro_does_not_know_are_refused_in_one_line(run, option, expected):
    result, seen = run(option)
    assert (result.exit_code, seen) == (1, {})
    assert expected in result.output
    assert len(result.output.splitlines()) == 1


def test_names_that_it_knows_are_not(run):
    result, seen = run("--pipelines=ingestion", "--nodes=ingestion.ingest", "--runner=ThreadRunner")
    assert result.exception is None, result.output
    assert seen["node_names"] == ["ingestion.ingest"]


@pytest.mark.parametrize("content", ["run: {", "- a", "other: {}", "3", "run: {envv: x}"])
def test_a_file_of_options_that_is_not_written_so_is_refused(run, tmp_path, content):
    (tmp_path / "options.yml").write_text(content, encoding="utf-8")
    result, seen = run(f"--config={tmp_path / 'options.yml'}")
    assert (result.exit_code, seen) == (1, {})
    assert "Traceback" not in result.output


def test_a_file_of_options_gives_parameters_as_the_command_line_does(run, tmp_path):
    (tmp_path / "options.yml").write_text("run: {env: uav, params: {raw_dir: 2024}}", encoding="utf-8")
    _, seen = run(f"--config={tmp_path / 'options.yml'}")
    assert (seen["env"], seen["params"]) == ("uav", {"raw_dir": "2024"})


def test_a_start_from_a_folder_below_the_project_says_where_to_start(project, monkeypatch):
    class Metadata:
        project_path = project

    monkeypatch.chdir(project / "tests")
    result = CliRunner().invoke(cli, ["doctor"], obj=Metadata())
    assert result.exit_code == 1
    assert f"type: cd {project}" in result.output


def test_reading_is_not_blamed_on_writing(tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "a.npz").write_bytes(b"")
    real = os.access
    deny = lambda path, mode: closed.name not in str(path) and real(path, mode)  # noqa: E731
    monkeypatch.setattr(os, "access", deny)  # root may read everything
    for place in (closed, closed / "a.npz"):
        said = error_lines.explain(PermissionError(errno.EACCES, "Permission denied", str(place)))
        assert f"cannot read {closed}: this user has no permission" in said
        assert "free some space" not in said
    other = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "b"))
    assert f"cannot write {tmp_path / 'b'}" in error_lines.explain(other)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENAMETOOLONG, errno.EMFILE])
def test_a_failing_disk_is_named(code):
    assert f"cannot use /x: {os.strerror(code)}" in error_lines.explain(
        OSError(code, os.strerror(code), "/x")
    )


def test_a_console_that_lacks_letters_shows_the_rest(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", stream)
    Program("show", callback=lambda: print("\u6325\u624b 50 %")).main([], standalone_mode=False)
    stream.flush()
    assert stream.buffer.getvalue().decode("cp1252").strip() == r"\u6325\u624b 50 %"


_CSV = {"type": "pandas.CSVDataset"}


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "pandas.CSVDatast", "filepath": "x.csv"},
        {"type": "llmar_pipeline.io", "filepath": "x.csv"},
        {"type": "llmar_pipeline.errors.escaped", "filepath": "x.csv"},
        _CSV,
        _CSV | {"filepatj": "x"},
        {"type": "llmar_pipeline.io.folder_dataset.FolderDataset", "filepath": {"x": 1}},
    ],
    ids=str,
)
def test_a_catalog_entry_that_cannot_be_made_is_one_line(entry):
    try:
        DataCatalog.from_config({"mine": entry})["mine"].exists()
    except Exception as error:
        said = error_lines.explain(error)
    assert said is not None
    assert said.startswith("conf/*/catalog: expected datasets by a type")
    assert "\n" not in said
