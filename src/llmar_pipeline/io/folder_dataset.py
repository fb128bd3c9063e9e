"""A folder in the catalog: models, stores of sequences and checkpoints travel between nodes as paths."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from llmar_pipeline.errors import UserError


class FolderDataset(AbstractDataset[Path, Path]):
    """A folder that nodes write themselves; what is loaded is its path.

    Args:
        filepath: the folder.
        manifest: name of the file in it that is written last. With it, the dataset exists and loads only
            when that file is there. Without it, the dataset is a handle: the place a node writes to.
        metadata: Kedro's free metadata (layer, what MLflow keeps).

    Raises:
        UserError: on load, when the manifest is missing.
    """

    def __init__(
        self,
        filepath: str,
        manifest: str | None = None,
        metadata: dict[str, Any] | None = None,
    ):
        self._filepath = Path(filepath)
        self._manifest = manifest
        self.metadata = metadata

    def load(self) -> Path:
        """The folder's path; of a handle it need not exist yet."""
        if not self._exists():
            raise UserError(
                f"{self._filepath} is missing or incomplete: run the pipeline that writes it again"
            )
        return self._filepath

    def save(self, data: Path) -> None:
        """Take note that a node has written the folder."""
        if Path(data) != self._filepath or not self._exists():
            raise UserError(f"expected a complete folder at {self._filepath}, seen {data}")

    def _exists(self) -> bool:
        return self._manifest is None or (self._filepath / self._manifest).exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "manifest": self._manifest}
