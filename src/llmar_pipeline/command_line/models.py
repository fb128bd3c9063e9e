"""Commands that use a trained model."""

import functools
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import click

from llmar_pipeline.command_line.options import (
    check_of_segments,
    given_windows,
    only_answers_on_stdout,
    read_option,
    window_options,
)
from llmar_pipeline.command_line.program import Program
from llmar_pipeline.error_lines import one_line_errors
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.known_names import check_choice


@click.command(cls=Program)
@click.argument("recordings", nargs=-1, required=True, metavar="FILE|FOLDER...")
@click.option("--model", help="Folder of a trained model (default: the newest one in data/06_models).")
@click.option("--classes", help='Names to choose from, "a,b,c" (default: those of the training).')
@click.option("--top", default=5, show_default=True, type=click.IntRange(min=1), help="Names in an answer.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
@click.option("--gif", help="Draw the recording and what its sentence brings back of it, such as out.gif.")
@click.option("--format", "form", help="What the files are: a corpus or a layout (default: told from them).")
@click.option("--persons", is_flag=True, help="An answer a person, and a pair where the model knows pairs.")
@read_option
@click.option("--segments", is_flag=True, help="Of a long recording: which action when, and how often.")
@click.option("--timeline", help="Draw them beside the moving skeleton, as a page such as out.html.")
@window_options
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
    only_answers_on_stdout()
    with one_line_errors():
        from llmar_pipeline.commands.predict import Asked, Prediction, class_list, load
        from llmar_pipeline.corpora.recordings import FORMATS

        if form is not None:
            check_choice("format", form, FORMATS, "--format=")
        check_of_segments(bool(segments or timeline))
        asked = Asked(class_list(classes), top, read, form, persons)
        prediction: Prediction
        if segments or timeline:
            from llmar_pipeline.commands.timeline import Segmentation

            if gif:
                raise UserError("expected --gif or --segments, saw both: keep one")
            page = Path(timeline) if timeline else None
            prediction = Segmentation(load(model, asked), asked, given_windows(windows), as_json, page)
        else:
            prediction = Prediction(load(model, asked), asked, as_json, Path(gif) if gif else None)
        prediction.run([Path(place) for place in recordings])
    if prediction.failed:
        raise SystemExit(1)


@click.command(cls=Program)
@click.option("--model", help="Folder of a trained model (default: the newest one in data/06_models).")
@click.option("--udp", type=click.IntRange(1, 65535), help="Port of this machine: a datagram a frame.")
@click.option("--websocket", type=click.IntRange(1, 65535), help="Port of this machine: a message a frame.")
@click.option("--classes", help='Names to choose from, "a,b,c" (default: those of the training).')
@read_option
@window_options
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
    only_answers_on_stdout()
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
            given_windows(windows),
            asked.classes,
            patient,
            as_json,
            click.echo,
            complain,
        )


@click.command(cls=Program)
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


@click.command(cls=Program)
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
    only_answers_on_stdout()
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


@click.command(cls=Program)
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


@click.command(cls=Program)
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
