"""`kedro serve`: a trained model behind HTTP."""

import socket
from collections.abc import Callable

from llmar_pipeline.errors import UserError
from llmar_pipeline.io.serving import application
from llmar_pipeline.recognition.request import Limits
from llmar_pipeline.recognizer import Recognizer

CONNECTIONS = 64  # at a time; each may hold a body of the largest size


def serve(
    model: str,
    host: str,
    port: int,
    limits: Limits,
    batch: int,
    llm: str | None,
    say: Callable[[str], object],
) -> None:
    """Answer requests until the process is asked to end.

    Args:
        model: Folder or packed file of a trained model.
        host: Address to listen at.
        port: Of it; 0 takes one that is free.
        limits: Of a request.
        batch: Recordings that are recognised together at most.
        llm: Where its language model lies by now, if not where it lay in training.
        say: Prints a line.

    Raises:
        UserError: There is no such model, or the port is taken.
    """
    import uvicorn

    with _listening(host, port) as listener:
        recognizer = Recognizer.load(model, llm=llm)
        settings = uvicorn.Config(
            application(recognizer, limits, batch),
            log_level="warning",
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=10,
        )
        say(f"{model} answers at http://{host}:{listener.getsockname()[1]}/invocations; Ctrl-C ends it")
        try:
            uvicorn.Server(settings).run(sockets=[listener])
        except KeyboardInterrupt:  # asked to end, it has ended in order
            say("ended")


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"expected to listen at {host}, port {port}, saw: {error}; choose another with --host and --port "
            "(--port=0 takes one that is free)"
        ) from error
