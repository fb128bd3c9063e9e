"""The log history of a training, in the folder of the model that it made."""

import json
from pathlib import Path

import pandas as pd

from llmar_pipeline.files import write_json

_FILE = "history.json"


def write_history(folder: Path, history: list[dict[str, float]]) -> None:
    """Keep a log history, one record a log."""
    write_json(folder / _FILE, history)


def read_history(folder: Path) -> pd.DataFrame:
    """The loss terms at each logged step of a model's training, as `write_history` kept them."""
    return pd.DataFrame(json.loads((folder / _FILE).read_text(encoding="utf-8")))
