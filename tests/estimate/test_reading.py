from pathlib import Path

import pandas as pd

from llmar_pipeline.estimate.reading import look


def test_the_demo_is_known_before_it_is_made(configured):
    recordings = look(*configured())
    assert [recordings.count(split) for split in ("train", "val", "test")] == [210, 30, 120]
    assert recordings.made_up == len(recordings.splits) == 360
    assert len(recordings.classes("train")) == 10


def test_a_split_that_lies_there_is_what_counts(configured):
    selection, parameters = configured("nwucla", size="laptop")
    folder = Path(selection["data_dir"])
    for file, table in (
        (
            folder / "03_primary" / selection["split_folder"] / "splits.parquet",
            {"split": ["train"], "action": ["a"]},
        ),
        (folder / "02_intermediate" / selection["recordings_folder"] / "index.parquet", {"frames": [7]}),
    ):
        file.parent.mkdir(parents=True)
        pd.DataFrame(table).to_parquet(file)
    recordings = look(selection, parameters)
    assert (recordings.count("train"), recordings.frames) == (1, 7.0)
    assert recordings.known.startswith("1 clips of ")
