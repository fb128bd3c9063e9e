"""Options that several commands have, and what they say."""

import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import click
from kedro.framework.session import KedroSession

from llmar_pipeline.errors import UserError
from llmar_pipeline.io.params_text import read_params
from llmar_pipeline.progress import quiet_other_bars


def configuration_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that choose a configuration."""
    for option in (
        click.option("--conf-source", default="conf", show_default=True, help="As in `kedro run`."),
        click.option("--params", multiple=True, callback=read_given_params, help="As in `kedro run`."),
        click.option("--env", "-e", help="The dataset, as in `kedro run`."),
    ):
        command = option(command)
    return command


read_option = click.option(
    "--read",
    default="llm",
    show_default=True,
    type=click.Choice(["llm", "codes", "head"]),
    help="Who answers: the language model, the codes each by itself, or the class head of stage 1.",
)


seeds_option = click.option(
    "--seeds", default="0", show_default=True, help="Seeds of both trainings, comma separated."
)
pipelines_option = click.option("--pipelines", default="full", show_default=True, help="As in `kedro run`.")


def window_options(command: Callable[..., Any]) -> Callable[..., Any]:
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


def read_given_params(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """What --params say; given several times, all count."""
    return read_params(",".join(given))


def check_of_segments(wanted: bool) -> None:
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


def given_windows(given: Mapping[str, Any]) -> Any:
    """What `window_options` say."""
    from llmar_pipeline.commands.timeline import Windows
    from llmar_pipeline.recognition.segments import Thresholds

    thresholds = Thresholds(given["enter"], given["leave"])
    return Windows(given["fps"], given["window_s"], given["step_s"], thresholds)


def only_answers_on_stdout() -> None:
    """Log lines to stderr, and neither other packages' bars nor their warnings."""
    logging.getLogger().handlers[:] = [logging.StreamHandler()]
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    quiet_other_bars()


def whole_numbers(seeds: str) -> list[int]:
    """What --seeds says."""
    try:
        return [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise UserError(f"--seeds={seeds}: expected whole numbers such as 0,1,2") from error


def of_one_size(
    params: dict[str, Any], load: Callable[[dict[str, Any]], Any], **first: Any
) -> dict[str, Any]:
    """The parameters with the size that the first of several runs has, so that all have the same."""
    loader = load({**first, **params})
    if loader.size_note:
        click.echo(loader.size_note)
    return {**params, "size": loader["globals"]["size"]}


def loading(env: str | None, conf_source: str) -> Callable[[dict[str, Any]], Any]:
    """A run's parameters -> its configuration."""

    def load(chosen: dict[str, Any]) -> Any:
        with KedroSession.create(env=env, conf_source=conf_source, runtime_params=chosen) as session:
            return session.load_context().config_loader  # type: ignore[attr-defined]

    return load
