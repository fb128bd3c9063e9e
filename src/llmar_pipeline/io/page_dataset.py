"""An HTML page in the catalog: its text is saved, its path is loaded."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from llmar_pipeline.files import whole_file


class PageDataset(AbstractDataset[str, Path]):
    """A page for people: what reads it is a browser, and nodes only say where it lies.

    Args:
        filepath: the file.
        metadata: Kedro's free metadata (layer, what MLflow keeps).
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None):
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Where it lies."""
        return self._filepath

    def save(self, data: str) -> None:
        """Write the file, whole or not at all."""
        with whole_file(self._filepath) as stream:
            stream.write(data.encode())

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
