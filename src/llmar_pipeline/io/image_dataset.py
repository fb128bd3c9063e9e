"""PNG and GIF images in the catalog, with a preview in Kedro-Viz."""

import base64
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview

from llmar_pipeline.files import whole_file


class ImageDataset(AbstractDataset[bytes, bytes]):
    """An image file as bytes.

    Args:
        filepath: the file.
        metadata: Kedro's free metadata (layer, what MLflow keeps).
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None):
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> bytes:
        """The file's bytes."""
        return self._filepath.read_bytes()

    def save(self, data: bytes) -> None:
        """Write the file, whole or not at all."""
        with whole_file(self._filepath) as stream:
            stream.write(data)

    def preview(self) -> ImagePreview:
        """What Kedro-Viz shows; it says PNG of any image, and browsers look at the bytes."""
        return ImagePreview(base64.b64encode(self.load()).decode())

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
