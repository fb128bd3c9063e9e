"""Kedro's command line, and ours."""

import functools
import inspect
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import _config_file_callback
from kedro.framework.session import KedroSession
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner, ThreadRunner
from kedro.utils import load_obj
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from llmar_pipeline.error_lines import one_line_errors
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.known_names import check_choice
from llmar_pipeline.io.params_text import read_params, write_params
from llmar_pipeline.machine import prepare_process, prepare_user
from llmar_pipeline.progress import quiet_other_bars
from llmar_pipeline.training.launchers import launched, read_launcher

_FILTERS = {
    name: name for name in ("node_names", "from_nodes", "to_nodes", "from_inputs", "to_outputs", "tags")
} | {"namespaces": "node_namespaces"}
"""Kedro's options that leave out nodes, and what its pipelines call them."""


class Program(click.Command):
    """A command that sets up its process's threads before anything heavy is imported."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, from the project's folder alone: relative folders and MLflow's database start there."""
        project = getattr(ctx.find_root().obj, "project_path", None)  # None where there is no project
        if project is not None and Path(project).resolve() != Path.cwd().resolve():
            raise UserError(f"expected to be started in {project}, saw {Path.cwd()}; type: cd {project}")
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a console may lack letters of names
        os.umask(os.umask(0) | 0o007)  # recordings of people: for their owner and its group alone
        prepare_user()
        prepare_process()
        if (place := read_launcher()) is not None and self.name != "run":
            raise UserError(
                f"expected one process of kedro {self.name}, saw {place.size} of a launcher; start it without"
            )
        return super().invoke(ctx)


class _Programs(click.Group):
    command_class = Program


_read_option = click.option(
    "--read",
    default="llm",
    show_default=True,
    type=click.Choice(["llm", "codes", "head"]),
    help="Who answers: the language model, the codes each by itself, or the class head of stage 1.",
)


def _window_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of windows that slide over a recording, or over frames as they come."""
    for option in (
        click.option("--exit", "leave", default=0.3, show_default=True, help="Below it an action ends."),
        click.option("--enter", default=0.4, show_default=True, help="At this probability it begins."),
        click.option("--step", "step_s", type=float, help="Seconds to the next window (default: a third)."),
        click.option("--window", "window_s", type=float, help="Seconds of a window (default: by the model)."),
        click.option("--fps", type=float, help="Frames a second (default: the file's, or the corpus's)."),
    ):
        command = option(command)
    return command


def _read_params(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """What --params say; given several times, all count."""
    return read_params(",".join(given))


@click.group(cls=_Programs)
def cli() -> None:
    """LLM-AR: skeleton action recognition with a large language model."""


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
            ["--params"], multiple=True, callback=_read_params, help="Such as size=laptop,vqvae.width=64."
        ),
        "config": click.Option(
            ["--config", "-c"], type=file, callback=_read_config, help="Options from YAML."
        ),
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
@click.option("--params", multiple=True, callback=_read_params, help="As in `kedro run`.")
@click.option("--conf-source", default="conf", show_default=True, help="As in `kedro run`.")
def doctor(env: str | None, params: dict[str, Any], conf_source: str) -> None:
    """Say what a run would need, what is missing, how large it gets, and what to do."""
    from llmar_pipeline.commands.doctor import examine

    quiet_other_bars()
    with one_line_errors():
        states = []
        with KedroSession.create(env=env, conf_source=conf_source, runtime_params=params) as session:
            context = session.load_context()  # type: ignore[attr-defined]
            catalog, loader = context.catalog, context.config_loader
            selection = dict(loader["globals"])
            for finding in examine(selection, loader["parameters"], loader.size_note, catalog):
                click.echo(f"{finding.state:8}{finding.subject:16}{finding.text}")
                states.append(finding.state)
    if "missing" in states:
        raise SystemExit(1)


@cli.command()
@click.option("--env", "-e", help="The dataset, as in `kedro run`.")
@click.option("--envs", help="Several datasets, comma separated.")
@click.option("--params", multiple=True, callback=_read_params, help="As in `kedro run`.")
@click.option("--experiments", help="Files of conf/experiments, comma separated (default: Tables 4 to 6).")
@click.option("--seeds", default="0", show_default=True, help="Seeds of both trainings, comma separated.")
@click.option("--pipelines", default="full", show_default=True, help="As in `kedro run`.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Runs at a time.")
@click.option(
    "--rows", default="docs/results", show_default=True, help="Folder of a JSON file a finished run."
)
@click.option("--table-only", is_flag=True, help="Run nothing: the table of the rows that are there.")
@click.option("--conf-source", default="conf", show_default=True, help="As in `kedro run`.")
def ablations(
    env: str | None,
    envs: str | None,
    params: dict[str, Any],
    experiments: str | None,
    seeds: str,
    pipelines: str,
    jobs: int,
    rows: str,
    table_only: bool,
    conf_source: str,
) -> None:
    """Run experiments on datasets with several seeds and print the table of what came out."""
    from llmar_pipeline.commands.ablations import TABLES_4_TO_6, run_ablations
    from llmar_pipeline.commands.grid import Environment

    quiet_other_bars()
    with one_line_errors():
        if env and envs:
            raise UserError("expected --env or --envs, saw both: keep one")
        names = experiments.split(",") if experiments else TABLES_4_TO_6
        places = []
        for name in envs.split(",") if envs else [env]:
            load = _loading(name, conf_source)
            places.append(Environment(name, _of_one_size(params, load, experiment=names[0]), load))
        where, folder = Path(conf_source), Path(rows)
        text, page, failed = run_ablations(
            where, places, names, _numbers(seeds), pipelines, folder, jobs, table_only, click.echo
        )
    click.echo(f"\n{text}\n\nThe same, and every run beside it: {page}")
    if failed:
        raise SystemExit(1)


@cli.command()
@click.option("--env", "-e", help="The dataset, as in `kedro run`.")
@click.option("--params", multiple=True, callback=_read_params, help="As in `kedro run`.")
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
@click.option("--params", multiple=True, callback=_read_params, help="As in `kedro run`.")
@click.option(
    "--classes",
    default="3",
    show_default=True,
    help="Unseen classes: how many, or 55-5, 48-12, 110-10, 96-24.",
)
@click.option("--draws", default=5, show_default=True, help="How often they are drawn.")
@click.option("--first", default=0, show_default=True, help="Seed of the first draw.")
@click.option("--experiments", default="llm_ar", show_default=True, help="Files of conf/experiments.")
@click.option("--descriptions", is_flag=True, help="Answer by descriptions alone, without training.")
@click.option("--conf-source", default="conf", show_default=True, help="As in `kedro run`.")
def unseen(
    env: str | None,
    params: dict[str, Any],
    classes: str,
    draws: int,
    first: int,
    experiments: str,
    descriptions: bool,
    conf_source: str,
) -> None:
    """Train without some classes, recognise them, and print the mean over several draws (Table 8)."""
    from llmar_pipeline.commands.unseen import as_markdown, run_draws

    with one_line_errors():
        number = int(classes) if classes.isdecimal() else classes
        chosen = {"experiment": experiments.split(",")[0], "unseen": number}
        table, file, loader = run_draws(
            Path(conf_source),
            env,
            _of_one_size(params, _loading(env, conf_source), **chosen),
            number,
            draws,
            experiments.split(","),
            _loading(env, conf_source),
            click.echo,
            first,
            trained=not descriptions,
        )
    click.echo(f"\n{as_markdown(table, loader)}\n\nEvery run: {file}")


@cli.command()
@click.option("--env", "-e", help="The dataset, as in `kedro run`.")
@click.option("--params", multiple=True, callback=_read_params, help="As in `kedro run`.")
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
    from llmar_pipeline.commands.nested_runs import NestedRun, written_numbers
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
            NestedRun(Path(conf_source), env, best, "full").finish()
            found = written_numbers(loader, "metrics")
            result, trained = percent(found[metric]), f"{found['n_train']:,} clips trained"
            click.echo(f"\n{trained}, {found['n_val']:,} validated")
            click.echo(f"{metric.replace('_', ' ')} {result} %: {loader.place('report')}")


@cli.command()
@click.option("--env", "-e", help="The dataset, as in `kedro run`.")
@click.option("--params", multiple=True, callback=_read_params, help="As in `kedro run`.")
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


@cli.command()
@click.argument("recordings", nargs=-1, required=True, metavar="FILE|FOLDER...")
@click.option("--model", help="Folder of a trained model (default: the newest one in data/06_models).")
@click.option("--classes", help='Names to choose from, "a,b,c" (default: those of the training).')
@click.option("--top", default=5, show_default=True, type=click.IntRange(min=1), help="Names in an answer.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
@click.option("--gif", help="Draw the recording and what its sentence brings back of it, such as out.gif.")
@click.option("--format", "form", help="What the files are: a corpus or a layout (default: told from them).")
@click.option("--persons", is_flag=True, help="An answer a person, and a pair where the model knows pairs.")
@_read_option
@click.option("--segments", is_flag=True, help="Of a long recording: which action when, and how often.")
@click.option("--timeline", help="Draw them beside the moving skeleton, as a page such as out.html.")
@_window_options
def predict(
    recordings: tuple[str, ...],
    model: str | None,
    classes: str | None,
    top: int,
    as_json: bool,
    gif: str | None,
    form: str | None,
    persons: bool,
    read: Any,
    segments: bool,
    timeline: str | None,
    **windows: Any,
) -> None:
    """Recognise recordings of any format: the likeliest names of each, and its action sentence."""
    _only_answers_on_stdout()
    with one_line_errors():
        from llmar_pipeline.commands.predict import Asked, Prediction, class_list, load
        from llmar_pipeline.corpora.recordings import FORMATS

        if form is not None:
            check_choice("format", form, FORMATS, "--format=")
        _check_of_segments(bool(segments or timeline))
        asked = Asked(class_list(classes), top, read, form, persons)
        prediction: Prediction
        if segments or timeline:
            from llmar_pipeline.commands.timeline import Segmentation

            if gif:
                raise UserError("expected --gif or --segments, saw both: keep one")
            page = Path(timeline) if timeline else None
            prediction = Segmentation(load(model, asked), asked, _windows(windows), as_json, page)
        else:
            prediction = Prediction(load(model, asked), asked, as_json, Path(gif) if gif else None)
        prediction.run([Path(place) for place in recordings])
    if prediction.failed:
        raise SystemExit(1)


@cli.command()
@click.option("--model", help="Folder of a trained model (default: the newest one in data/06_models).")
@click.option("--udp", type=click.IntRange(1, 65535), help="Port of this machine: a datagram a frame.")
@click.option("--websocket", type=click.IntRange(1, 65535), help="Port of this machine: a message a frame.")
@click.option("--classes", help='Names to choose from, "a,b,c" (default: those of the training).')
@_read_option
@_window_options
@click.option("--all", "patient", is_flag=True, help="Leave no window out: the sender has to wait.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
def watch(
    model: str | None,
    udp: int | None,
    websocket: int | None,
    classes: str | None,
    read: Any,
    patient: bool,
    as_json: bool,
    **windows: Any,
) -> None:
    """Say which action goes on, from frames on standard input or on a port (docs/live.md)."""
    _only_answers_on_stdout()
    with one_line_errors():
        from llmar_pipeline.commands import watch as live
        from llmar_pipeline.commands.predict import Asked, class_list, load

        if udp and websocket:
            raise UserError("expected --udp or --websocket, saw both: keep one")
        source = live.udp(udp) if udp else live.websocket(websocket) if websocket else live.standard_input
        asked = Asked(class_list(classes), 1, read, None, False)
        complain = functools.partial(click.echo, err=True)
        live.watch(
            load(model, asked),
            source,
            _windows(windows),
            asked.classes,
            patient,
            as_json,
            click.echo,
            complain,
        )


def _check_of_segments(wanted: bool) -> None:
    """Refuse options of segments without them, and --top with them, which says nothing of them."""
    context = click.get_current_context()
    of_segments = {"fps", "window_s", "step_s", "enter", "leave"}
    for option in context.command.params:
        name = str(option.name)
        typed = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if typed and not wanted and name in of_segments:
            raise UserError(
                f"{option.opts[0]}: expected --segments or --timeline with it, saw neither; add one"
            )
        if typed and wanted and name == "top":
            raise UserError("--top: expected it without --segments and --timeline, saw both; leave it out")


def _windows(given: Mapping[str, Any]) -> Any:
    """What `_window_options` say."""
    from llmar_pipeline.commands.timeline import Windows
    from llmar_pipeline.recognition.segments import Thresholds

    thresholds = Thresholds(given["enter"], given["leave"])
    return Windows(given["fps"], given["window_s"], given["step_s"], thresholds)


def _only_answers_on_stdout() -> None:
    """Log lines to stderr, and neither other packages' bars nor their warnings."""
    logging.getLogger().handlers[:] = [logging.StreamHandler()]
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    quiet_other_bars()


@cli.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--name", help="Of the class that the files show, such as 'wave with both arms'.")
@click.option("--model", type=click.Path(path_type=Path), help="Folder `recognizer` (default: the newest).")
@click.option("--list", "only_list", is_flag=True, help="Show the classes that are enrolled.")
@click.option("--remove", metavar="NAME", help="Take an enrolled class away again.")
def enrol(
    files: tuple[Path, ...], name: str | None, model: Path | None, only_list: bool, remove: str | None
) -> None:
    """Add a class to a trained model by recordings of it, without training."""
    from llmar_pipeline.commands import enrol as command
    from llmar_pipeline.recognition import enrolment
    from llmar_pipeline.recognizer_folder import newest_recognizer

    with one_line_errors():
        if [name is not None, only_list, remove is not None].count(True) != 1:
            raise UserError(
                "expected one of --name NAME FILE..., --list and --remove NAME, saw none or several of them"
            )
        if files and name is None:
            raise UserError(f"expected files with --name alone, saw {files[0]}; leave them out")
        folder = model or newest_recognizer()
        if name is not None:
            lines = [command.enrol(folder, name, files)]
        elif remove is not None:
            enrolment.remove(folder, remove)
            lines = [f"{remove}: no longer enrolled beside {folder}"]
        else:
            lines = command.listed(folder)
    click.echo("\n".join(lines))


@cli.command()
@click.argument("twins", nargs=-1, type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), help="Folder `recognizer` (default: the newest).")
@click.option("--keep", type=click.FloatRange(0, 1), help="Share to be kept (default: 0.95).")
@click.option(
    "--others",
    multiple=True,
    type=click.Path(path_type=Path),
    help="File or folder of other actions, to say how many of them are refused; may be given again. Alone, "
    "without TWINS and --keep, it leaves the threshold as it is.",
)
def threshold(twins: tuple[Path, ...], model: Path | None, keep: float, others: tuple[Path, ...]) -> None:
    """Choose from when on a recording is none of a model's classes, by held-out clips.

    Of the model itself, or of TWINS: folders `recognizer` of the same settings, trained on fewer clips.
    """
    _only_answers_on_stdout()
    failed = 0
    with one_line_errors():
        from llmar_pipeline.commands.threshold import ask_others, choose_threshold
        from llmar_pipeline.recognition.refusal import KEPT
        from llmar_pipeline.recognizer_folder import newest_recognizer

        folder = model or newest_recognizer()
        if twins or keep is not None or not others:
            click.echo(choose_threshold(folder, twins, KEPT if keep is None else keep))
        if others:
            line, failed = ask_others(folder, others)
            click.echo(line)
    if failed:
        raise SystemExit(1)


@cli.command()
@click.argument("model")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=5001, show_default=True, type=click.IntRange(0, 65535))
@click.option("--llm", help="Where its language model lies by now, if not where it lay in training.")
@click.option(
    "--largest", default=16, show_default=True, type=click.IntRange(min=1), help="MiB of a request."
)
@click.option(
    "--longest", default=10_000, show_default=True, type=click.IntRange(min=1), help="Frames of a request."
)
@click.option(
    "--batch", default=32, show_default=True, type=click.IntRange(min=1), help="Recordings answered together."
)
def serve(model: str, host: str, port: int, llm: str | None, largest: int, longest: int, batch: int) -> None:
    """Answer recordings over HTTP with a trained model: its folder, or a file of `kedro pack`."""
    with one_line_errors():
        from llmar_pipeline.commands.serve import serve as answer
        from llmar_pipeline.recognition.request import Limits

        answer(model, host, port, Limits(largest * 2**20, longest), batch, llm, click.echo)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--without-llm", is_flag=True, help="Leave the language model out; its checksum stays.")
@click.option("--llm", help="Where its language model lies by now, if not where it lay in training.")
def pack(model: Path, target: Path, without_llm: bool, llm: str | None) -> None:
    """Put a trained model, MODEL, and its language model into one file, TARGET, to be used elsewhere."""
    with one_line_errors():
        from llmar_pipeline.language.llm_cache import llm_cache
        from llmar_pipeline.recognition.packed import pack as put_together

        made = put_together(model, target, llm_cache(gettempdir()), not without_llm, llm)
        click.echo(f"{made}: {made.stat().st_size:,} bytes; `kedro serve {made}` answers with it")


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
