"""Action sentences in the catalog, with a preview in Kedro-Viz."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from kedro_datasets._typing import TablePreview
from kedro_datasets.pandas import ParquetDataset

from llmar_pipeline.files import whole_file
from llmar_pipeline.records import announce, check_recorded, forget, record


class ActionSentencesDataset(ParquetDataset):
    """A Parquet file of action sentences: name, split, label, action, reading, codes.

    A column `features`, where there is one, lies beside it in a NumPy file `<name>.features.npy`
    [readings, W, du], and loads as views of that file, which are read when they are used: those of a large
    corpus need not fit into memory.

    Kedro-Viz turns a preview into JSON and cannot write the arrays in `codes`, so the parent's preview fails.
    """

    def load(self) -> pd.DataFrame:
        """The table; with features where they were saved.

        Raises:
            UserError: The features are not those that were saved.
        """
        table = super().load()
        pyarrow.default_memory_pool().release_unused()  # else what it was read through stays: 130 bytes a row
        check_recorded(self._features_file, "run `kedro run --pipelines=tokenization` again")
        if self._features_file.exists():
            table["features"] = list(np.asarray(np.load(self._features_file, mmap_mode="r")))
        return table

    def save(self, data: pd.DataFrame) -> None:
        """Write the table, then its features: a table whose writing was interrupted has none."""
        forget(self._features_file)
        super().save(data.drop(columns="features", errors="ignore"))
        pyarrow.default_memory_pool().release_unused()
        if "features" in data:
            announce(self._features_file)
            _write_rows(self._features_file, list(data["features"]))
            record(self._features_file)

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first clips as they are (reading 0), with codes as text."""
        columns = ["name", "split", "action", "codes"]
        table = pd.read_parquet(
            str(self._get_load_path()), columns=columns, filters=[("reading", "==", 0)]
        ).head(nrows)
        table["codes"] = [" ".join(map(str, codes)) for codes in table["codes"]]
        return TablePreview(table.to_dict(orient="split"))

    @property
    def beside(self) -> list[Path]:
        """Files that belong to the table and have records of their own."""
        return [self._features_file]

    @property
    def _features_file(self) -> Path:
        return Path(str(self._filepath)).with_suffix(".features.npy")


def _write_rows(file: Path, rows: list[np.ndarray]) -> None:
    """Write equally shaped rows one after the other: stacked, they would need their memory twice."""
    shape = (len(rows), *rows[0].shape)
    header = {"descr": np.lib.format.dtype_to_descr(rows[0].dtype), "fortran_order": False, "shape": shape}
    with whole_file(file) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for row in rows:
            stream.write(row.tobytes())
