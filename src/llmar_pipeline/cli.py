"""Kedro's command line, with errors a user can act on in one line."""

import errno
import functools
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import _split_params
from kedro.framework.session import KedroSession

from llmar_pipeline.errors import UserError, causes
from llmar_pipeline.files import disk_is_full, no_room
from llmar_pipeline.interruption import Interrupted, ending_in_order, interruption
from llmar_pipeline.io.tracking import end_current
from llmar_pipeline.machine import prepare_process
from llmar_pipeline.progress import quiet_other_bars

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class Program(click.Command):
    """A command that sets up its process's threads before anything heavy is imported."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        prepare_process()
        return super().invoke(ctx)


class _Programs(click.Group):
    command_class = Program


@click.group(cls=_Programs)
def cli() -> None:
    """LLM-AR: skeleton action recognition with a large language model."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a user can put right into one line and exit code 1; leave bugs their traceback.

    A run that is asked to end, or fails outside of its nodes, is closed in MLflow.
    """
    with ending_in_order():
        try:
            yield
        except BaseException as error:
            asked = interruption(error)
            end_current("KILLED" if asked else "FAILED")
            if asked:
                raise _stopped(asked) from error
            message = explain(error)
            if message is None:
                raise
            raise UserError(message) from error


def explain(error: BaseException) -> str | None:
    """The line for a user's mistake, found anywhere in the chain of causes; None for anything else."""
    chain = causes(error)
    for cause in chain:
        if isinstance(cause, UserError):
            return cause.message
        if isinstance(cause, OSError) and cause.errno in READ_ONLY:
            return _cannot_write(cause.errno, cause.filename)
        if type(cause).__name__ == "ParameterValidationError":
            return _invalid_parameters(str(cause))
    named = [getattr(cause, "filename", None) for cause in chain] + [_place(str(cause)) for cause in chain]
    place = Path(next(filter(None, named), "a file"))
    if disk_is_full(error):
        return no_room(place)
    if str(error).startswith("Failed while loading data from dataset"):  # what Kedro's own datasets read
        reason = " ".join(str(chain[1] if chain[1:] else error).split())[:200]
        return (
            f"expected {place} as a run wrote it, saw that reading fails ({reason}); run the pipeline that "
            "writes it again"
        )
    if isinstance(error, ValueError) and "Failed to find the pipeline named" in str(error):
        return _unknown_pipeline(str(error).split("'")[1])
    return None


def _stopped(asked: Interrupted) -> UserError:
    """The line for a run that was asked to end, with the exit code that shells give it."""
    error = UserError(
        f"stopped by {asked}: what is finished is kept; the same command goes on from the last checkpoint"
    )
    error.exit_code = 128 + asked.signal
    return error


def _cannot_write(code: int | None, filename: Any) -> str:
    where = f" {filename}" if filename else ""
    return (
        f"cannot write{where}: {os.strerror(code or 0)}; "
        "free some space or choose another output folder with --params=data_dir=<folder>, and run again: "
        "training continues from its last checkpoint"
    )


def _place(text: str) -> str | None:
    """The file of a dataset that Kedro names in an error."""
    found = re.search(r"filepath=(?:\w+\()?'?([^',)]+)", text)
    return found[1] if found else None


def _invalid_parameters(text: str) -> str:
    """Kedro's multi-line pydantic report as one line, without links."""
    lines = [line.strip(" -") for line in text.splitlines()[1:] if "https://" not in line and line.strip()]
    return "invalid parameters: " + " ".join(lines)


def _unknown_pipeline(name: str) -> str:
    from llmar_pipeline.pipeline_registry import register_pipelines

    return (
        f"unknown pipeline '{name}': choose one of {', '.join(sorted(register_pipelines()))} (--pipelines=)"
    )


@functools.wraps(kedro_run.callback)  # type: ignore[arg-type]
def _run(pipeline: str | None = None, pipelines: Any = (), wait: bool = False, **options: Any) -> Any:
    """Run a pipeline. The default is the whole demo; `wait` is read by `FolderHook`."""
    if pipeline and pipelines:
        raise UserError("expected --pipelines or --pipeline, saw both: keep one")
    warnings.filterwarnings(
        "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
    )  # transformers' own
    quiet_other_bars()
    if any(option.name == "pipeline" for option in kedro_run.params):
        options["pipeline"] = None
    with one_line_errors():
        return kedro_run.callback(pipelines=[pipeline] if pipeline else list(pipelines), **options)  # type: ignore[misc]


def _run_options() -> list[click.Parameter]:
    """Kedro's and `--wait`; a `--pipeline` that stays where Kedro drops its own, and `--env` put right."""
    ours = {
        "pipeline": click.Option(["--pipeline", "-p"], help="The same as --pipelines, for one."),
        "env": click.Option(["--env", "-e"], help="The dataset, a folder of conf. Defaults to `demo`."),
        "wait": click.Option(["--wait"], is_flag=True, help="Wait for a run that writes to the same folder."),
    }
    return [*(option for option in kedro_run.params if option.name not in ours), *ours.values()]


cli.add_command(
    Program("run", params=_run_options(), callback=_run, help="Run a pipeline (default: the demo).")
)


@cli.command()
@click.option("--env", "-e", help="The dataset, as in `kedro run`.")
@click.option("--params", default="", callback=_split_params, help="As in `kedro run`.")
@click.option("--conf-source", default="conf", show_default=True, help="As in `kedro run`.")
def doctor(env: str | None, params: dict[str, Any], conf_source: str) -> None:
    """Say what a run would need, what is missing, how large it gets, and what to do."""
    from llmar_pipeline.commands.doctor import examine

    quiet_other_bars()
    with one_line_errors():
        states = []
        with KedroSession.create(env=env, conf_source=conf_source, runtime_params=params) as session:
            context = session.load_context()
            catalog, loader = context.catalog, context.config_loader  # type: ignore[attr-defined]
            selection = dict(loader["globals"])
            for finding in examine(selection, loader["parameters"], loader.size_note, catalog):
                click.echo(f"{finding.state:8}{finding.subject:16}{finding.text}")
                states.append(finding.state)
    if "missing" in states:
        raise SystemExit(1)


@cli.command()
@click.option("--env", "-e", help="The dataset, as in `kedro run`.")
@click.option("--params", default="", callback=_split_params, help="As in `kedro run`.")
@click.option("--experiments", help="Files of conf/experiments, comma separated (default: Tables 4 to 6).")
@click.option("--seeds", default="0", show_default=True, help="Seeds of both trainings, comma separated.")
@click.option("--pipelines", default="full", show_default=True, help="As in `kedro run`.")
@click.option("--conf-source", default="conf", show_default=True, help="As in `kedro run`.")
def ablations(
    env: str | None,
    params: dict[str, Any],
    experiments: str | None,
    seeds: str,
    pipelines: str,
    conf_source: str,
) -> None:
    """Run experiments with several seeds and print the table of what came out."""
    from llmar_pipeline.commands.ablations import TABLES_4_TO_6, as_markdown, run_ablations

    quiet_other_bars()
    with one_line_errors():
        names = experiments.split(",") if experiments else TABLES_4_TO_6
        load = _loading(env, conf_source)
        params = _of_one_size(params, load, experiment=names[0])
        table, file = run_ablations(
            Path(conf_source), env, params, names, _numbers(seeds), pipelines, load, click.echo
        )
    click.echo(f"\n{as_markdown(table)}\n\nEvery run: {file}")


@cli.command()
@click.option("--env", "-e", help="The dataset, as in `kedro run`.")
@click.option("--params", default="", callback=_split_params, help="As in `kedro run`.")
@click.option("--list", "only_list", is_flag=True, help="Run nothing: show the numbers that there are.")
@click.option("--conf-source", default="conf", show_default=True, help="As in `kedro run`.")
def protocols(env: str | None, params: dict[str, Any], only_list: bool, conf_source: str) -> None:
    """Run every protocol of a dataset and print our numbers beside the published ones."""
    from llmar_pipeline.commands.protocols import as_markdown, collect, protocol_loaders, run_protocols

    with one_line_errors():
        params = _of_one_size(params, _loading(env, conf_source))
        loaders = protocol_loaders(params, _loading(env, conf_source))
        if not only_list:
            run_protocols(Path(conf_source), env, params, loaders, click.echo)
        table, file = collect(loaders)
    click.echo(f"\n{as_markdown(table, next(iter(loaders.values())))}")
    if file is not None:
        click.echo(f"\nEvery number: {file}")


@cli.command()
@click.option("--env", "-e", help="The dataset, as in `kedro run`.")
@click.option("--params", default="", callback=_split_params, help="As in `kedro run`.")
@click.option(
    "--classes",
    default="3",
    show_default=True,
    help="Unseen classes: how many, or 55-5, 48-12, 110-10, 96-24.",
)
@click.option("--draws", default=5, show_default=True, help="How often they are drawn.")
@click.option("--experiments", default="llm_ar", show_default=True, help="Files of conf/experiments.")
@click.option("--conf-source", default="conf", show_default=True, help="As in `kedro run`.")
def unseen(
    env: str | None, params: dict[str, Any], classes: str, draws: int, experiments: str, conf_source: str
) -> None:
    """Train without some classes, recognise them, and print the mean over several draws (Table 8)."""
    from llmar_pipeline.commands.unseen import as_markdown, run_draws

    with one_line_errors():
        number = int(classes) if classes.isdecimal() else classes
        first = {"experiment": experiments.split(",")[0], "unseen": number}
        table, file, loader = run_draws(
            Path(conf_source),
            env,
            _of_one_size(params, _loading(env, conf_source), **first),
            number,
            draws,
            experiments.split(","),
            _loading(env, conf_source),
            click.echo,
        )
    click.echo(f"\n{as_markdown(table, loader)}\n\nEvery run: {file}")


@cli.command()
@click.option("--env", "-e", help="The dataset, as in `kedro run`.")
@click.option("--params", default="", callback=_split_params, help="As in `kedro run`.")
@click.option("--experiment", default="best", show_default=True, help="Whose candidates, of conf/tune.")
@click.option("--folds", help="Such as camera:1,camera:2 or 1of3,2of3,3of3 (default: those of the file).")
@click.option("--seeds", default="0", show_default=True, help="Seeds of both trainings, comma separated.")
@click.option("--pipelines", default="full", show_default=True, help="As in `kedro run`.")
@click.option("--final", is_flag=True, help="Also make the run of the best candidate, with its test.")
@click.option("--conf-source", default="conf", show_default=True, help="As in `kedro run`.")
def tune(
    env: str | None,
    params: dict[str, Any],
    experiment: str,
    folds: str | None,
    seeds: str,
    pipelines: str,
    final: bool,
    conf_source: str,
) -> None:
    """Compare candidates on folds of the training clips and print the command for the best of them."""
    from llmar_pipeline.commands.folds import metric_of, percent
    from llmar_pipeline.commands.nested_runs import kedro_run, written_numbers
    from llmar_pipeline.commands.tune import as_markdown, final_command, pick
    from llmar_pipeline.commands.tune import tune as compare

    quiet_other_bars()
    with one_line_errors():
        load = _loading(env, conf_source)
        params = _of_one_size(params, load, experiment=experiment)
        chosen = folds.split(",") if folds else []
        source, numbers = Path(conf_source), _numbers(seeds)
        table, file, best = compare(
            source, env, params, experiment, chosen, numbers, pipelines, load, click.echo
        )
        loader = load(best)
        metric, command = metric_of(loader), final_command(conf_source, env, best)
        steps = " and ".join(
            f"{loader['parameters'][stage]['max_steps']:,}" for stage in ("vqvae_training", "lora_training")
        )
        click.echo(f"\n{as_markdown(table, metric)}\n\nEvery run: {file}\n")
        click.echo(
            f"The best is {pick(table, metric)}. On all training clips, for {steps} steps:\n\n{command}"
        )
        if final:
            kedro_run(Path(conf_source), env, best, "full", parent="")
            result = percent(written_numbers(loader, "metrics")[metric])
            click.echo(f"\n{metric.replace('_', ' ')} {result} %: {loader.place('report')}")


@cli.command()
@click.option("--env", "-e", help="The dataset, as in `kedro run`.")
@click.option("--params", default="", callback=_split_params, help="As in `kedro run`.")
@click.option(
    "--protocol",
    type=click.Choice(["leave_one_subject_out", "k_fold"]),
    default="leave_one_subject_out",
    show_default=True,
    help="Each subject tests once; or each of --k parts.",
)
@click.option("--k", default=5, show_default=True, help="How many folds k_fold has.")
@click.option("--conf-source", default="conf", show_default=True, help="As in `kedro run`.")
def folds(env: str | None, params: dict[str, Any], protocol: str, k: int, conf_source: str) -> None:
    """Train and test on every fold of your own recordings, and print the mean."""
    from llmar_pipeline.commands.folds import as_markdown, run_folds

    quiet_other_bars()
    with one_line_errors():
        load = _loading(env, conf_source)
        params = _of_one_size({**params, "protocol": protocol}, load)
        table, file, metric = run_folds(Path(conf_source), env, params, k, load, click.echo)
    click.echo(f"\n{as_markdown(table, metric)}\n\nEvery run: {file}")


def _numbers(seeds: str) -> list[int]:
    try:
        return [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise UserError(f"--seeds={seeds}: expected whole numbers such as 0,1,2") from error


def _of_one_size(
    params: dict[str, Any], load: Callable[[dict[str, Any]], Any], **first: Any
) -> dict[str, Any]:
    """The parameters with the size that the first of several runs has, so that all have the same."""
    loader = load({**first, **params})
    if loader.size_note:
        click.echo(loader.size_note)
    return {**params, "size": loader["globals"]["size"]}


def _loading(env: str | None, conf_source: str) -> Callable[[dict[str, Any]], Any]:
    """A run's parameters -> its configuration."""

    def load(chosen: dict[str, Any]) -> Any:
        with KedroSession.create(env=env, conf_source=conf_source, runtime_params=chosen) as session:
            return session.load_context().config_loader  # type: ignore[attr-defined]

    return load
