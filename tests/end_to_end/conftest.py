"""The real command at a size of seconds."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from workplaces import Workplace, make_tiny

from llmar_pipeline.cli import cli
from llmar_pipeline.commands import nested_runs
from llmar_pipeline.evaluation import code_transformer


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs are slow."""
    for item in items:
        if "workplace" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def workplace(project: Path, tiny_llm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    made = Workplace(project, tmp_path_factory.mktemp("workplace"))
    shutil.copytree(project / "conf", made.conf, ignore=shutil.ignore_patterns("local"))
    make_tiny(made.conf, tiny_llm_folder)
    return made


@pytest.fixture(scope="module")
def kedro(workplace: Workplace) -> Iterator[Callable[..., tuple[int, str]]]:
    """`kedro` in this process, which spares nine seconds of imports: exit code and output.

    The small transformer, a control that takes most of a tiny run, has few steps.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace.project)
        patch.setattr(code_transformer, "STEPS", 5)
        for key, value in workplace.environment().items():
            patch.setenv(key, value)
        bootstrap_project(workplace.project)

        def run(*options: str, **params: object) -> tuple[int, str]:
            result = CliRunner().invoke(cli, workplace.arguments(*options, **params))
            known = result.exception is None or isinstance(result.exception, SystemExit)
            assert known, repr(result.exception)
            return result.exit_code, result.output

        yield run


@pytest.fixture(scope="module")
def many_runs(kedro: Callable[..., tuple[int, str]]) -> Iterator[Callable[..., tuple[int, str]]]:
    """The same for a command of many runs, which then are in this process too: a quarter of its time."""

    class Here:
        def __init__(self, command: list[str], environment: Mapping[str, str]):
            began = time.process_time()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("LLMAR_PARENT_RUN", environment["LLMAR_PARENT_RUN"])
                result = CliRunner().invoke(cli, command[command.index("llmar_pipeline") + 1 :])
            self.code, self._output = result.exit_code, result.output
            self.seconds = time.process_time() - began

        def ended(self, wait: bool = False) -> bool:
            return True

        def ask_to_end(self) -> None:
            pass

        def output(self) -> str:
            return self._output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nested_runs, "Child", Here)
        yield kedro
