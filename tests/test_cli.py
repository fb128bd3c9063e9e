"""What `kedro run` takes: Kedro's options, and one that stays where Kedro drops its own."""

import signal
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner
from kedro.framework.cli.project import run as kedro_run

from llmar_pipeline import cli
from llmar_pipeline.io import tracking
from llmar_pipeline.settings import CONFIG_LOADER_ARGS


@pytest.fixture
def run(monkeypatch):
    """Runs nothing: the options that Kedro would get."""
    seen = {}
    callback = lambda **options: seen.update(options)  # noqa: E731

    def invoke(*arguments, kedro_has_pipeline=True):
        options = [o for o in kedro_run.params if kedro_has_pipeline or o.name != "pipeline"]
        monkeypatch.setattr(cli, "kedro_run", click.Command("run", params=options, callback=callback))
        seen.clear()
        command = click.Command("run", params=cli._run_options(), callback=cli._run)
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
    text = " ".join(CliRunner().invoke(cli.cli, ["run", "--help"]).output.split())
    assert f"Defaults to `{CONFIG_LOADER_ARGS['default_run_env']}`" in text
    assert "local" not in text
    assert "--pipeline," not in text.replace("-p, --pipeline", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_end_says_so_in_one_line_and_is_closed_in_mlflow(monkeypatch, number):
    ended = []
    monkeypatch.setattr(tracking, "_current", SimpleNamespace(end=ended.append))

    def training(**_):
        try:
            signal.raise_signal(number)
        except BaseException as error:  # as packages do that save what they can
            raise RuntimeError("while saving") from error

    monkeypatch.setattr(cli, "kedro_run", click.Command("run", params=kedro_run.params, callback=training))
    command = click.Command("run", params=cli._run_options(), callback=cli._run)
    result = CliRunner().invoke(command, ["--wait"])
    assert result.exit_code == 128 + number
    assert result.output.startswith("Error: stopped by ")
    assert len(result.output.splitlines()) == 1
    assert ended == ["KILLED"]


def test_a_run_that_fails_outside_of_its_nodes_is_closed_in_mlflow(monkeypatch):
    ended = []
    monkeypatch.setattr(tracking, "_current", SimpleNamespace(end=ended.append))
    with pytest.raises(KeyError), cli.one_line_errors():
        raise KeyError("a bug")
    assert ended == ["FAILED"]
