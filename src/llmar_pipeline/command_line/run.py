"""`kedro run`: Kedro's own options, some put right, and ours."""

import functools
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import _config_file_callback
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner, ThreadRunner
from kedro.utils import load_obj
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from llmar_pipeline.command_line.options import read_given_params
from llmar_pipeline.command_line.program import Program
from llmar_pipeline.error_lines import one_line_errors
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.known_names import check_choice
from llmar_pipeline.io.params_text import write_params
from llmar_pipeline.progress import quiet_other_bars
from llmar_pipeline.training.launchers import launched

_FILTERS = {
    name: name for name in ("node_names", "from_nodes", "to_nodes", "from_inputs", "to_outputs", "tags")
} | {"namespaces": "node_namespaces"}
"""Kedro's options that leave out nodes, and what its pipelines call them."""


def _check_names(pipelines: Sequence[str], options: Mapping[str, Any]) -> None:
    """Refuse names under Kedro's own options that it does not know; its errors are tracebacks."""
    from llmar_pipeline.pipeline_registry import register_pipelines

    known = register_pipelines()
    for name in pipelines:
        check_choice("pipeline", name, sorted(known), "--pipelines=")
    given = {name: options[name] for name in _FILTERS if options.get(name)}
    chosen = sum((known[name] for name in pipelines or ["__default__"]), Pipeline([]))
    try:
        chosen.filter(**{_FILTERS[name]: values for name, values in given.items()})
    except ValueError as error:
        flags = {option.name: option.opts[0] for option in kedro_run.params}
        said = " ".join(f"{flags[name]}={','.join(values)}" for name, values in given.items())
        raise UserError(
            f"{said}: {str(error).splitlines()[0].rstrip('.')}; there are "
            f"{', '.join(node.name for node in chosen.nodes)}"
        ) from error
    runner, settings = options.get("runner") or "SequentialRunner", options.get("runner_params") or {}
    try:
        kind = load_obj(runner, "kedro.runner")
        inspect.signature(kind).bind(**settings)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(
            f"--runner={runner}: expected SequentialRunner, ThreadRunner or one that Python can import, and "
            f"settings that it has, saw {error}"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, SequentialRunner | ThreadRunner)):
        raise UserError(  # in other processes nodes would be neither tracked nor their outputs recorded
            f"--runner={runner}: expected SequentialRunner, ThreadRunner or one made from them, whose nodes "
            "run in this process, where hooks see them, saw another kind; leave out --runner"
        )


@functools.wraps(kedro_run.callback)  # type: ignore[arg-type]
def _run(pipeline: str | None = None, pipelines: Any = (), wait: bool = False, **options: Any) -> Any:
    """Run a pipeline. The default is the whole demo; `wait` is read by `FolderHook`."""
    if pipeline and pipelines:
        raise UserError("expected --pipelines or --pipeline, saw both: keep one")
    warnings.filterwarnings(
        "ignore", message=".*(is_gradient_checkpointing|broadcast_buffers)", category=FutureWarning
    )  # transformers' own, and accelerate's
    quiet_other_bars()
    if any(option.name == "pipeline" for option in kedro_run.params):
        options["pipeline"] = None
    chosen = [pipeline] if pipeline else list(pipelines)
    with one_line_errors(), _first_of_several():
        _check_names(chosen, options)
        options["runner"] = options.get("runner") or "llmar_pipeline.hooks.reuse.ReusingRunner"
        return kedro_run.callback(pipelines=chosen, **options)  # type: ignore[misc]


@contextmanager
def _first_of_several() -> Iterator[None]:
    """Within it a run leads the processes of a launcher, where there is one; the others help, and end."""
    if (place := launched()) is None:
        yield
        return
    from llmar_pipeline.training.world import World  # imports PyTorch

    world = World.join(place)
    if not world.first:
        raise SystemExit(world.help())
    with world.leading():
        yield


def _read_config(ctx: click.Context, option: click.Parameter, file: str | None) -> str | None:
    """Kedro's reading of --config, with one line for a file that is not written so."""
    try:
        _config_file_callback(ctx, option, file)
        params = (ctx.default_map or {}).get("params")
        if isinstance(params, Mapping):
            ctx.default_map = {**(ctx.default_map or {}), "params": [write_params(params)]}
    except (
        YAMLError,
        OmegaConfBaseException,
        OSError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        raise UserError(
            f"--config={file}: expected YAML such as `run: {{env: ntu60}}`, saw "
            f"{' '.join(str(error).split())}"
        ) from error
    return file


def _run_options() -> list[click.Parameter]:
    """Kedro's and `--wait`, some put right; a `--pipeline` that stays where Kedro drops its own."""
    file = click.Path(exists=True, dir_okay=False, resolve_path=True)
    ours = {
        "params": click.Option(
            ["--params"],
            multiple=True,
            callback=read_given_params,
            help="Such as size=laptop,vqvae.width=64.",
        ),
        "config": click.Option(
            ["--config", "-c"], type=file, callback=_read_config, help="Options from YAML."
        ),
        "pipeline": click.Option(["--pipeline", "-p"], help="The same as --pipelines, for one."),
        "env": click.Option(["--env", "-e"], help="The dataset, a folder of conf. Defaults to `demo`."),
        "wait": click.Option(["--wait"], is_flag=True, help="Wait for a run that writes to the same folder."),
    }
    return [*(option for option in kedro_run.params if option.name not in ours), *ours.values()]


run = Program("run", params=_run_options(), callback=_run, help="Run a pipeline (default: the demo).")
