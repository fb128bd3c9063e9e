"""NTU RGB+D's official splits in full: how many clips train and test, from files to `splits.parquet`.

All 56,578 official names (`tests/ntu_names.py`), each a recording of one person and two frames, go through
ingestion and normalization as real ones do, once for each protocol, with `val_share=0`. It ends with exit
code 1 where a number is not that of the dataset's authors. A test has the same counts from names alone.

    python benchmarks/official_split.py [--folder /tmp]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from ntu_names import official_names  # noqa: E402

from llmar_pipeline.corpora.ntu import NTU60  # noqa: E402

A_FOLDER = 5_000  # files


def recording() -> bytes:
    """The official text layout: 25 joints of a person who moves a little."""
    rng = np.random.default_rng(0)
    standing = rng.uniform((-0.3, -0.9, 3.0), (0.3, 0.9, 3.2), (25, 3))
    lines = ["2"]
    for frame in range(2):
        lines += ["1", "72057594037931691 0 1 1 1 1 0 0.02 0.05 2", "25"]
        for x, y, z in standing + 0.01 * frame:
            lines.append(f"{x:.7g} {y:.7g} {z:.7g} 277.4 191.8 1036.2 519.1 0 0 0 0 2")
    return ("\n".join(lines) + "\n").encode()


def write_recordings(folder: Path) -> int:
    """A file for each name; returns how many."""
    content, names = recording(), official_names()
    for number, name in enumerate(names):
        within = folder / f"{number // A_FOLDER:02}"
        within.mkdir(parents=True, exist_ok=True)
        (within / f"{name}.skeleton").write_bytes(content)
    return len(names)


def split(folder: Path, protocol: str) -> dict[str, int]:
    """Clips of each part, by the command that users type."""
    chosen = (
        f"size=laptop,val_share=0,protocol={protocol},raw_dir={folder / 'raw'},data_dir={folder / 'data'}"
    )
    command = ["run", "--pipelines=ingestion,normalization", "--env=ntu60", f"--params={chosen}"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    subprocess.run([sys.executable, "-m", "kedro", *command], cwd=ROOT, env=environment, check=True)
    (table,) = folder.glob(f"data/03_primary/ntu60/{protocol}/*/splits.parquet")
    found = pd.read_parquet(table)["split"].value_counts()
    return {str(part): int(clips) for part, clips in found.items()}


def main() -> int:
    """Prints what was found beside what it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where 0.7 GB can be written")
    wrong = 0
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as name:
        folder, began = Path(name), time.perf_counter()
        files = write_recordings(folder / "raw")
        print(f"{files:,} files written in {time.perf_counter() - began:.0f} s", flush=True)
        for protocol, rule in NTU60.protocols.items():
            began = time.perf_counter()
            found = split(folder, protocol)
            assert rule.counts is not None
            expected = dict(zip(("train", "test"), rule.counts, strict=True))
            wrong += found != expected
            seconds = time.perf_counter() - began
            print(f"{protocol}: {found}, officially {expected}, in {seconds:.0f} s", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
