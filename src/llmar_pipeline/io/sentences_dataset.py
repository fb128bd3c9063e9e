"""Action sentences in the catalog, with a preview in Kedro-Viz."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from kedro_datasets._typing import TablePreview
from kedro_datasets.pandas import ParquetDataset

from llmar_pipeline.records import announce, check_recorded, forget, record


class ActionSentencesDataset(ParquetDataset):
    """A Parquet file of action sentences: name, split, label, action, reading, codes.

    Features of its readings, where there are some, lie beside it in a NumPy file `<name>.features.npy`
    [readings, W, du]. A column `features` has their rows there and `attrs["features"]` the file, so they are
    read when they are used, whichever process does: those of a large corpus need not fit into memory.

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
            table["features"] = np.arange(len(table))
            table.attrs["features"] = str(self._features_file)
        return table

    def save(self, data: pd.DataFrame) -> None:
        """Write the table, then take its features here: a table whose writing was interrupted has none."""
        file, table = data.attrs.get("features"), data.drop(columns="features", errors="ignore")
        table.attrs = {name: value for name, value in data.attrs.items() if name != "features"}
        if file != str(self._features_file):  # else they are here
            forget(self._features_file)
        super().save(table)
        pyarrow.default_memory_pool().release_unused()
        if file is not None and file != str(self._features_file):
            announce(self._features_file)
            shutil.move(file, self._features_file)
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
