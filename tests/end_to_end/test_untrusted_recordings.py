"""Recordings from somebody else: what is odd is said, and only the output folder is written."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def raw(workplace) -> Path:
    """Twelve clips of two classes with nearly the same name, two of them odd, beside a Mac's leftovers."""
    folder = workplace.folder / "untrusted"
    (folder / "__MACOSX").mkdir(parents=True)
    (folder / "__MACOSX" / "._0.npz").write_bytes(b"\0")
    (folder / "corpus.yml").write_text("layout: coco17\nunits: pixels\n")
    points = np.random.default_rng(0).normal(300, 60, (12, 1, 9, 17, 2))
    points[3, 0, 4:6] = 0
    points[5, 0, 7, 9, 1] = 1e12
    rows = ["file,action,split", "x.npz,\x1b[8mwave,train"]
    for number, keypoints in enumerate(points):
        np.savez(folder / f"{number}.npz", keypoints=keypoints)
        rows.append(f"{number}.npz,{('wave', 'Wave')[number % 2]},{'test' if number > 7 else 'train'}")
    (folder / "clips.csv").write_text("\n".join(rows))
    return folder


def test_what_is_odd_is_said_and_links_are_replaced(kedro, workplace, raw):
    code, output = kedro("--env=custom", "--pipelines=ingestion", data="theirs", raw_dir=raw)
    assert code == 0, output
    assert "\x1b[8m" not in output
    [folder] = (path.parent for path in (workplace.folder / "theirs").rglob("quarantine.parquet"))
    left_out = pd.read_parquet(folder / "quarantine.parquet").set_index("file")
    assert "joint left wrist" in left_out.loc["5.npz", "seen"]
    assert left_out.loc["clips.csv", "line"] == 2
    amiss = pd.read_parquet(folder / "clips_amiss.parquet").set_index("name")
    assert amiss.loc["3", "problem"].startswith("34 of 153 joints at 0, 0")

    precious = workplace.folder / "precious.txt"
    precious.write_text("precious")
    for file in (folder / "gaps.txt", folder / "index.parquet", folder / "recordings" / "listing.json"):
        file.unlink()
        file.symlink_to(precious)
    code, output = kedro("--env=custom", "--pipelines=ingestion", data="theirs", raw_dir=raw)
    assert code == 0, output
    assert precious.read_text() == "precious"
    assert len(pd.read_parquet(folder / "index.parquet")) == 11
