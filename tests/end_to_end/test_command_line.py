"""Starts as people make them: folders of any name, variables left over in a shell, recordings that move."""

import os

import numpy as np


def own_recordings(folder):
    folder.mkdir()
    (folder / "corpus.yml").write_text("layout: coco17\nunits: pixels\n", encoding="utf-8")
    rows = ["file,action,subject,split"]
    moving = np.random.default_rng(0).normal(300, 50, (1, 30, 17, 2))
    for number, part in enumerate(["train", "train", "train", "test", "test"]):
        for action in ("wave", "clap"):
            np.savez(folder / f"{action}{number}.npz", keypoints=moving + number)
            rows.append(f"{action}{number}.npz,{action},s{number},{part}")
    (folder / "clips.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def test_folders_of_any_name_and_recordings_that_move(kedro, workplace, monkeypatch):
    for name, value in {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "HERE": str(workplace.folder),
    }.items():
        monkeypatch.setenv(name, value)
    raw = own_recordings(workplace.folder / "a,b")
    start = ["--env=custom", "--pipelines=ingestion,normalization"]
    code, output = kedro(*start, "--params=raw_dir='$HERE/a,b'", data="own")
    assert code == 0, output
    (made,) = (workplace.folder / "own" / "03_primary" / "custom").glob("recordings*")
    raw.rename(workplace.folder / "moved")
    code, output = kedro(*start, "--params=raw_dir=$HERE/moved", data="own")
    assert code == 0, output
    assert list(made.parent.glob("recordings*")) == [made]
    assert "set aside" not in output
    assert "WORLD_SIZE" not in os.environ
