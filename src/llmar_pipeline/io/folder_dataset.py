"""A folder in the catalog: models, stores of sequences and checkpoints travel between nodes as paths."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from llmar_pipeline.errors import UserError


class FolderDataset(AbstractDataset[Callable[[Path], object], Path]):
    """A folder: what is saved is a function that writes it, what is loaded is its path.

    So a node says how the folder is made, and the catalog alone where it lies.

    Args:
        filepath: the folder.
        manifest: name of the file in it that is written last. With it, the dataset exists and loads only
            when that file is there. Without it, and made by no node, it is a handle: a place where a node
            keeps what a killed run goes on from.
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

    def save(self, data: Callable[[Path], object]) -> None:
        """Have the folder written; a file in it that is a link is made anew, never written through."""
        for path in self._filepath.rglob("*") if self._manifest is not None else ():
            if path.is_symlink() and not path.is_dir():
                path.unlink()
        data(self._filepath)
        if not self._exists():
            raise UserError(f"expected a complete folder at {self._filepath}, saw no {self._manifest} in it")

    @property
    def whole(self) -> bool:
        """Whether it is one thing, that a node writes as a whole: no handle."""
        return self._manifest is not None

    def _exists(self) -> bool:
        return self._manifest is None or (self._filepath / self._manifest).exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "manifest": self._manifest}
