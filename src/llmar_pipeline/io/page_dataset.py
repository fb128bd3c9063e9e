"""A page of text for people in the catalog: its text is saved, its path is loaded."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from llmar_pipeline.files import whole_file
from llmar_pipeline.records import announce, record


class PageDataset(AbstractDataset[str, Path]):
    """A page for people: what reads it is a browser, and nodes only say where it lies.

    Args:
        filepath: the file.
        copy: a second place for the same text, in a folder that people take along; None has none.
        metadata: Kedro's free metadata (layer, what MLflow keeps).
    """

    def __init__(self, filepath: str, copy: str | None = None, metadata: dict[str, Any] | None = None):
        self._filepath = Path(filepath)
        self._second = None if copy is None else Path(copy)
        self.metadata = metadata

    def load(self) -> Path:
        """Where it lies."""
        return self._filepath

    def save(self, data: str) -> None:
        """Write the file, whole or not at all, and then its copy."""
        with whole_file(self._filepath) as stream:
            stream.write(data.encode())
        for path in self.beside:
            announce(path)
            with whole_file(path) as stream:
                stream.write(data.encode())
            record(path)

    @property
    def beside(self) -> list[Path]:
        """The copy, which has a record of its own."""
        return [] if self._second is None else [self._second]

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "copy": str(self._second)}
