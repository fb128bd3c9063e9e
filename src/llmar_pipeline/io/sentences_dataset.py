"""Action sentences in the catalog, with a preview in Kedro-Viz."""

import pandas as pd
from kedro_datasets._typing import TablePreview
from kedro_datasets.pandas import ParquetDataset


class ActionSentencesDataset(ParquetDataset):
    """A Parquet file of action sentences: name, split, label, action, reading, codes.

    Kedro-Viz turns a preview into JSON and cannot write the arrays in `codes`, so the parent's preview fails.
    """

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first clips as they are (reading 0), with codes as text."""
        columns = ["name", "split", "action", "codes"]
        table = pd.read_parquet(
            str(self._get_load_path()), columns=columns, filters=[("reading", "==", 0)]
        ).head(nrows)
        table["codes"] = [" ".join(map(str, codes)) for codes in table["codes"]]
        return TablePreview(table.to_dict(orient="split"))
