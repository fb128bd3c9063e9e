"""What `kedro run` takes: Kedro's options, and one that stays where Kedro drops its own."""

import click
import pytest
from click.testing import CliRunner
from kedro.framework.cli.project import run as kedro_run

from llmar_pipeline import cli
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
