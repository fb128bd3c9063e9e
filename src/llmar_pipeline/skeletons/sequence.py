"""One recording, or the reason why there is none."""

from dataclasses import dataclass

import numpy as np

from llmar_pipeline.errors import UserError


@dataclass(frozen=True)
class SeenBody:
    """What a reader decided about one of several bodies in a recording.

    Attributes:
        body: The sensor's name for it, or its place in the file.
        frames: Frames that show it.
        motion: How much it moves: the variance of its joints summed over the coordinates, squared units.
        decision: `actor 1`, `actor 2`, or `dropped: ` and why.
    """

    body: str
    frames: int
    motion: float
    decision: str


@dataclass(frozen=True, eq=False)
class Sequence:
    """One recording.

    Attributes:
        name: The recording's name, unique in its corpus (the file's stem).
        data: `[person, frame, joint, coordinate]`, float32, the corpus's units; NaN where missing.
        bodies: Where the recording shows several bodies, what became of each; empty otherwise.
        remark: What the reader did not take as it stands, in words; empty as a rule.

    Raises:
        UserError: If the data have another shape or type.
    """

    name: str
    data: np.ndarray
    bodies: tuple[SeenBody, ...] = ()
    remark: str = ""

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or self.data.dtype != np.float32 or 0 in self.data.shape:
            raise UserError(
                f"Sequence {self.name!r}: expected a float32 array [person, frame, joint, coordinate] "
                f"with no empty axis, saw {self.data.dtype} {list(self.data.shape)}; convert it first."
            )

    @property
    def n_persons(self) -> int:
        """Number of persons, absent ones included."""
        return int(self.data.shape[0])

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(self.data.shape[1])


@dataclass(frozen=True)
class Damaged:
    """What a reader yields for a file that it cannot make a sequence of.

    Attributes:
        name: The file's stem.
        file: Path relative to the folder that was read.
        line: 1-based line of the first fault, None where there is no such line.
        expected: What should be there.
        seen: What is there.
    """

    name: str
    file: str
    line: int | None
    expected: str
    seen: str


class SkeletonFileError(UserError):
    """A skeleton file that does not fit its format.

    Args:
        expected: What should be there.
        seen: What is there.
        line: 1-based line of the first fault, None where there is no such line.
        file: The file; whoever parses a mere text leaves it empty.
    """

    def __init__(self, expected: str, seen: str, line: int | None = None, file: str = "") -> None:
        place = (file or "skeleton file") + (f", line {line}" if line is not None else "")
        super().__init__(f"{place}: expected {expected}, saw {seen}; replace or remove the file.")
        self.expected, self.seen, self.line = expected, seen, line
