"""What a served model is asked: recordings as JSON, read within limits that are checked first."""

import base64
import binascii
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmar_pipeline.corpora.formats.nested_lists import read_nested
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import Body

_AXES = ("person", "frame", "joint", "coordinate")
_FURTHEST = 1e6  # metres or pixels; the squares of larger numbers leave float32
_COMMAS = 10_000  # beside those between numbers

Read = Callable[[Path | np.ndarray], Sequence]


class TooLargeError(UserError):
    """A request above a limit."""


@dataclass(frozen=True)
class Limits:
    """What one request may cost.

    Attributes:
        body: Bytes of the request.
        frames: Of all its recordings together.
    """

    body: int = 16 * 2**20
    frames: int = 10_000


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Recording(_Part):
    """One recording: its keypoints, or a file of any format that the corpora have.

    Attributes:
        keypoints: Lists [person][frame][joint][coordinate], in the corpus's units, y up; null where missing.
        file: The file's bytes in base64.
        name: What the recording is called in its answer; of a file its name, with its ending.
    """

    keypoints: list[Any] | None = None
    file: str | None = None
    name: str = Field("", max_length=255, pattern=r"^[^/\\\x00-\x1f\x7f]*$")


class Params(_Part):
    """What is asked of all recordings of a request.

    Attributes:
        top_k: Names in each answer.
        classes: Names to choose from; those of the training where there are none.
    """

    top_k: int = Field(5, ge=1, le=1000)
    classes: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field([], max_length=1000)


class Request(_Part):
    """The body of a request, of ours and of MLflow's server alike."""

    inputs: list[Recording] = Field(min_length=1, max_length=256)
    params: Params = Field(default_factory=lambda: Params.model_validate({}))

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The class list, as `Recognizer.predict` takes it."""
        return tuple(self.params.classes) or None


def check_size(body: bytes, of: Body, limits: Limits) -> None:
    """Refuse what is too long to be parsed: the commas of a JSON text say how many numbers it has at most.

    Args:
        body: JSON, not yet read.
        of: What the model works on.
        limits: Of a request.

    Raises:
        TooLargeError: It holds more numbers than recordings of `limits.frames` frames.
    """
    if (commas := body.count(b",")) > limits.frames * of.channels + _COMMAS:
        raise TooLargeError(
            f"expected recordings of {limits.frames} frames at most in a request, saw {commas} values, "
            f"{of.channels} a frame at most; send several requests"
        )


def parse_request(body: bytes) -> Request:
    """A request from its bytes.

    Raises:
        UserError: They are no JSON text in UTF-8, or it is no request.
    """
    try:
        content = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except RecursionError as error:
        raise UserError("expected JSON, saw lists within lists without end; correct the request") from error
    except ValueError as error:  # also of the decoding
        raise UserError(
            f"expected JSON in UTF-8, saw that reading fails ({str(error)[:120]}); correct the request"
        ) from error
    return request_of(content)


def request_of(content: Any) -> Request:
    """A request from what JSON holds.

    Raises:
        UserError: It is none; where, and why.
    """
    try:
        return Request.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = ".".join(map(str, first["loc"])) or "the whole of it"
        said = first["msg"].removeprefix("Value error, ")
        raise UserError(
            "expected a request such as {'inputs': [{'keypoints': [...]}], 'params': {'top_k': 5}}, saw that "
            f"{at} is none ({said}, not {type(first['input']).__name__}); correct the request"
        ) from error


def read_recordings(request: Request, read: Read, limits: Limits) -> Iterator[Sequence]:
    """The recordings of a request, one after the other.

    Args:
        request: Parsed.
        read: `Recognizer.read`.
        limits: Of a request.

    Raises:
        TooLargeError: They are longer than the limit.
        UserError: One cannot be read; which, and why.

    Source: ours.
    """
    left = limits.frames
    for number, recording in enumerate(request.inputs):
        try:
            sequence = _read(recording, read, left, limits)
            _check_length(sequence.n_frames, left, limits)
            left -= sequence.n_frames
            if np.nanmax(np.abs(sequence.data)) > _FURTHEST:
                raise SkeletonFileError(f"coordinates within {_FURTHEST:.0e}", "larger ones")
        except SkeletonFileError as error:
            where = f", line {error.line}" if error.line is not None else ""
            raise UserError(
                f"inputs.{number}{where}: expected {error.expected}, saw {error.seen}; correct the recording"
            ) from error
        except UserError as error:
            kind = TooLargeError if isinstance(error, TooLargeError) else UserError
            raise kind(f"inputs.{number}: {error.message}") from error
        yield sequence


def _read(recording: Recording, read: Read, left: int, limits: Limits) -> Sequence:
    if (recording.keypoints is None) == (recording.file is None):
        both = "none" if recording.file is None else "both"
        raise UserError(f"expected keypoints or file, saw {both}; give one of them")
    if recording.file is not None:
        sequence = _read_file(recording.file, recording.name, read, limits)
        return replace(sequence, name=Path(recording.name).stem)
    persons = [person for person in recording.keypoints or [] if isinstance(person, list)]
    _check_length(max(map(len, persons), default=0), left, limits)
    keypoints = read_nested(recording.keypoints, "keypoints", _AXES)
    with np.errstate(over="ignore"):  # what is infinite by it is refused
        sequence = read(keypoints.astype(np.float32))
    return replace(sequence, name=recording.name or sequence.name)


def _read_file(content: str, name: str, read: Read, limits: Limits) -> Sequence:
    suffix = Path(name).suffix
    if not suffix:
        raise UserError(f"expected the file's name with its ending, saw {name!r}; give it as name")
    try:
        decoded = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"expected the file's bytes in base64, saw others ({error}); encode them") from error
    if decoded.startswith(b"PK\x03\x04"):
        with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(decoded)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > limits.body:
                raise TooLargeError(
                    f"expected a file of {limits.body:,} bytes at most once unpacked, saw more; send "
                    "fewer frames"
                )
    with tempfile.TemporaryDirectory(prefix="llmar-") as folder:
        path = Path(folder, f"recording{suffix[:16]}")  # a name may be longer than one of a file
        path.write_bytes(decoded)
        try:
            return read(path)
        except SkeletonFileError:
            raise
        except UserError as error:
            raise UserError(error.message.replace(str(path), name)) from error


def _check_length(frames: int, left: int, limits: Limits) -> None:
    if frames > left:
        raise TooLargeError(
            f"expected {limits.frames} frames at most in the recordings of a request, saw {frames} here and "
            f"{limits.frames - left} before; send several requests"
        )


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON; null stands for a missing coordinate")
