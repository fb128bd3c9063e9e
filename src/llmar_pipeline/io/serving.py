"""A recogniser behind HTTP: the requests of MLflow's own server, within limits, answered together."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from llmar_pipeline.errors import UserError, escaped
from llmar_pipeline.recognition.batches import Batches, BusyError
from llmar_pipeline.recognition.request import (
    Limits,
    TooLargeError,
    check_size,
    parse_request,
    read_recordings,
)
from llmar_pipeline.recognizer import Answer, Recognizer
from llmar_pipeline.skeletons.sequence import Sequence

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request as HTTPRequest
    from starlette.responses import Response

logger = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds for the body of a request to arrive
_PARSED_AT_ONCE = 4  # requests: each may take many times its size
_CODES = {400: "BAD_REQUEST", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 408: "REQUEST_TIMEOUT"}
_CODES |= {413: "REQUEST_TOO_LARGE", 415: "UNSUPPORTED_MEDIA_TYPE", 500: "INTERNAL_ERROR", 503: "BUSY"}
_USE = "expected POST /invocations or GET /health"


class _RefusedError(Exception):
    """A request that is answered by a line: the status, and the line."""


def answer_all(
    recognizer: Recognizer, sequences: list[Sequence], classes: tuple[str, ...] | None, top_k: int
) -> list[Answer]:
    """Recognise recordings that were read.

    Raises:
        UserError: The class list will not do.
        RuntimeError: The model failed, which is no fault of who asks.
    """
    answers = recognizer.predict_all(sequences, classes, top_k)
    try:
        return list(answers)
    except UserError as error:
        raise RuntimeError(error.message) from error


def application(recognizer: Recognizer, limits: Limits, largest_batch: int = 32) -> "Starlette":
    """The server's ASGI application.

    Args:
        recognizer: What answers.
        limits: Of a request.
        largest_batch: Recordings, of whichever requests, that are recognised together.

    Returns:
        `POST /invocations` takes what MLflow's server of the same model takes as JSON; `GET /health` and `GET
        /ping` say that the server is up. What is wrong with a request is a line with status 4xx; a fault of
        ours is one with 5xx, and its trace is in the log alone.

    Source: ours; MLflow's scoring server answers every fault with 400 and its trace.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        server.batches.close()

    async def health(_: "HTTPRequest") -> "Response":
        return JSONResponse({"status": "ok", "classes": len(recognizer.class_names)})

    async def unknown(request: "HTTPRequest", error: Exception) -> "Response":
        status = error.status_code if isinstance(error, HTTPException) else 500
        return _line(status, f"{_USE}, saw {request.method} {request.url.path}")

    server = _Server(recognizer, limits, largest_batch)
    routes = [Route("/invocations", server.invocations, methods=["POST"])]
    routes += [Route(path, health) for path in ("/health", "/ping")]
    made = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: unknown, 405: unknown})
    made.router.redirect_slashes = False  # an unknown path is one, with a line
    return made


class _Server:
    """What the application's requests share."""

    def __init__(self, recognizer: Recognizer, limits: Limits, largest_batch: int) -> None:
        self._recognizer, self._limits = recognizer, limits
        self.batches = Batches(partial(answer_all, recognizer), largest_batch)
        self._parsing = asyncio.Semaphore(_PARSED_AT_ONCE)

    async def invocations(self, request: "HTTPRequest") -> "Response":
        """Recordings in, answers out."""
        from starlette.requests import ClientDisconnect
        from starlette.responses import JSONResponse

        try:
            return JSONResponse({"predictions": await self._answers(request)})
        except _RefusedError as error:
            return _line(*error.args)
        except ClientDisconnect:
            return _line(408, "expected the whole request, saw a part of it")  # that nobody reads
        except TooLargeError as error:
            return _line(413, error.message)
        except UserError as error:
            return _line(400, error.message)
        except BusyError:
            return _line(503, "expected fewer recordings at a time, saw too many that wait; ask again later")
        except Exception:
            number = uuid4().hex[:8]
            logger.exception("fault %s", number)
            return _line(500, f"the server failed at this request; its log says why, at fault {number}")

    async def _answers(self, request: "HTTPRequest") -> list[dict[str, Any]]:
        body = await self._body(request)
        async with self._parsing:
            wanted, sequences = await asyncio.to_thread(self._read, body)
        futures = self.batches.ask(sequences, wanted.classes, wanted.params.top_k)
        try:
            return [(await asyncio.wrap_future(future)).as_dict() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    async def _body(self, request: "HTTPRequest") -> bytes:
        kind, *settings = request.headers.get("content-type", "").lower().replace(" ", "").split(";")
        encoding = request.headers.get("content-encoding", "identity")
        if kind != "application/json" or encoding != "identity" or {*settings} - {"charset=utf-8"}:
            seen = escaped(f"{request.headers.get('content-type')}, {encoding}")[:100]
            raise _RefusedError(415, f"expected Content-Type: application/json in UTF-8, saw {seen}")
        too_large = _RefusedError(413, f"expected a request of {self._limits.body:,} bytes at most, saw more")
        if (length := request.headers.get("content-length", "0")).isdecimal() and int(
            length
        ) > self._limits.body:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(_PATIENCE):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self._limits.body:
                        raise too_large
        except TimeoutError:
            raise _RefusedError(
                408, f"expected the request within {_PATIENCE:.0f} s, saw a part of it"
            ) from None
        return bytes(body)

    def _read(self, body: bytes) -> tuple[Any, list[Sequence]]:
        check_size(body, self._recognizer.body, self._limits)
        wanted = parse_request(body)
        return wanted, list(read_recordings(wanted, self._recognizer.read, self._limits))


def _line(status: int, text: str) -> "Response":
    from starlette.responses import Response

    content = json.dumps({"error_code": _CODES[status], "message": escaped(text)})
    return Response(content, status, media_type="application/json")
