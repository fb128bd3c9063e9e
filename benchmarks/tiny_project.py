"""A project whose whole runs take seconds, as the tests have it, and what its runs come to."""

import shutil
import sqlite3
import sys
from pathlib import Path

from measuring import ROOT

from llmar_pipeline.files import file_checksum

for folder in ("tests/training", "tests/end_to_end", "tests"):
    sys.path.insert(0, str(ROOT / folder))

from tiny_llm import write_tiny_llm  # noqa: E402
from workplaces import Workplace, make_tiny  # noqa: E402

RESULTS = (
    "04_feature/*/*/*/action_sentences.parquet",
    "06_models/*/*/*/vqvae/model.safetensors",
    "06_models/*/*/*/recognizer/a*.safetensors",
    "07_model_output/*/*/*/predictions.parquet",
)
"""Sentences, weights and scores."""


def make_workplace(folder: Path, tiny: bool = True) -> Workplace:
    """A configuration and an empty folder for runs; with a random language model, or the demo's own."""
    made = Workplace(ROOT, folder)
    shutil.copytree(ROOT / "conf", made.conf, ignore=shutil.ignore_patterns("local"))
    if tiny:
        write_tiny_llm(folder / "llm")
        make_tiny(made.conf, folder / "llm")
    return made


def results(data: Path) -> dict[str, str]:
    """SHA-256 of sentences, weights and scores of the runs below a data folder, by their path."""
    files = sorted(file for pattern in RESULTS for file in data.glob(pattern))
    return {file.relative_to(data).as_posix(): file_checksum(file) for file in files}


def left_running(workplace: Workplace) -> int:
    """How many MLflow runs say that they are still at work."""
    with sqlite3.connect(workplace.folder / "mlflow.db") as database:
        return int(database.execute("select count(*) from runs where status = 'RUNNING'").fetchone()[0])
