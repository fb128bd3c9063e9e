"""Which run a report is about, and with which programs."""

from importlib.metadata import PackageNotFoundError, version
from platform import python_version

from pydantic import BaseModel, ConfigDict

import llmar_pipeline

_DECIDE = ("torch", "transformers", "peft", "accelerate", "safetensors", "numpy", "pandas", "kedro", "mlflow")


class RunInfo(BaseModel):
    """Which run a report is about.

    Attributes:
        fold: Training clips that test in place of the test clips; "none" as a rule.
        shots: Training clips of each class; "all" as a rule.
        adapted: The experiment has values of its own for the size.
        init_from: Folder of the trained model that the training started from; None as a rule.
        synthetic: The recordings are made up.
        revision: Of the code, as git calls it; empty where it is not known.
        date: Of the run, as it is to be printed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    protocol: str
    experiment: str
    size: str
    synthetic: bool
    fold: str = "none"
    shots: int | str = "all"
    adapted: bool = False
    init_from: str | None = None
    revision: str = ""
    date: str = ""

    @property
    def tested(self) -> str:
        """The protocol, the fold where the protocol's test clips were not read, and how few clips train."""
        tested = self.protocol if self.fold == "none" else f"{self.protocol}, fold {self.fold}"
        if self.shots == "all":
            return tested
        return f"{tested}, {self.shots} training clip{'s' if self.shots != 1 else ''} a class"

    @property
    def method(self) -> str:
        """The experiment, whether the size changes more than its cost, and what the training started from."""
        adapted = f", adapted to size {self.size}" if self.adapted else ""
        return f"{self.experiment}{adapted}{f', started from {self.init_from}' if self.init_from else ''}"


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that a result may depend on.

    Source: ours.
    """
    found = {"Python": python_version(), "llmar_pipeline": llmar_pipeline.__version__}
    for name in _DECIDE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
