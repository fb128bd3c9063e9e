import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from llmar_pipeline.corpora import CORPORA, Protocol
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.protocol import choose_protocol
from llmar_pipeline.corpora.splits import split_clips
from llmar_pipeline.errors import UserError

PROTOCOL = Protocol("xsub", by="subject", train=frozenset(range(1, 21)))


def index(subjects: range, clips: int = 3) -> pd.DataFrame:
    rows = [{"name": f"s{s}_{c}", "subject": s, "camera": c} for s in subjects for c in range(clips)]
    return pd.DataFrame(rows)


def test_two_of_twenty_training_subjects_validate_and_test_is_untouched() -> None:
    frame = index(range(1, 41))
    split = PROTOCOL(frame)
    assert (split[frame["subject"] > 20] == "test").all()
    assert frame["subject"][split == "val"].nunique() == 2
    assert (split == "val").sum() == 6
    assert (split == "train").sum() == 54
    assert split.groupby(frame["subject"]).nunique().eq(1).all()


def test_row_order_and_row_labels_do_not_matter_but_the_seed_does() -> None:
    frame = index(range(1, 41))
    split = PROTOCOL(frame)
    shuffled = frame.sample(frac=1, random_state=3)
    pd.testing.assert_series_equal(PROTOCOL(shuffled).sort_index(), split)
    shuffled.index = pd.Index(["same"] * len(shuffled))
    again = PROTOCOL(shuffled)
    assert again.index.equals(shuffled.index)
    assert dict(zip(shuffled["name"], again, strict=True)) == dict(zip(frame["name"], split, strict=True))
    chosen = {tuple(frame["subject"][PROTOCOL(frame, seed=seed) == "val"].unique()) for seed in range(5)}
    assert len(chosen) > 1


@pytest.mark.parametrize(
    ("n_subjects", "share", "n_val"),
    [(20, 0.1, 2), (8, 0.1, 1), (4, 0.01, 1), (2, 0.1, 1), (1, 0.1, 0), (20, 0.0, 0), (20, 0.3, 6)],
)
def test_number_of_validation_subjects(n_subjects: int, share: float, n_val: int) -> None:
    frame = index(range(1, n_subjects + 1))
    assert frame["subject"][PROTOCOL(frame, val_share=share) == "val"].nunique() == n_val


def test_the_share_reaches_the_split_and_leaves_the_test_clips() -> None:
    rows = index(range(1, 41)).assign(action=0)
    facts = CorpusFacts.of(replace(CORPORA["nwucla"], protocols={"xsub": PROTOCOL}))
    usual, none = (split_clips(rows, facts, "xsub", share)["split"] for share in (0.1, 0))
    assert usual.value_counts().to_dict() == {"train": 54, "val": 6, "test": 60}
    assert none.value_counts().to_dict() == {"train": 60, "test": 60}
    assert split_clips(rows, facts, "xsub")["split"].equals(usual)
    assert PROTOCOL(rows).equals(usual)


def test_a_view_protocol_validates_on_training_views_only() -> None:
    protocol = Protocol(
        "xview", by="camera", train=frozenset({1}), test=frozenset({2}), excluded=frozenset({"s1_1"})
    )
    frame = index(range(1, 3), clips=4)
    split = protocol(frame)
    assert sorted(split[frame["camera"] == 1]) in (["train", "unused"], ["unused", "val"])
    assert list(split[frame["camera"] == 2]) == ["test", "test"]
    assert list(split[frame["camera"].isin([0, 3])]) == ["unused"] * 4
    assert split[frame["name"] == "s1_1"].item() == "unused"


def test_rows_without_the_deciding_value_are_unused() -> None:
    frame = index(range(20, 22), clips=1).astype({"subject": float})
    frame.loc[len(frame)] = {"name": "x", "subject": np.nan, "camera": 0}
    assert list(PROTOCOL(frame)) == ["train", "test", "unused"]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(UserError, match="saw no camera, name"):
        Protocol("xview", by="camera", train=frozenset({1}))(pd.DataFrame({"subject": [1]}))


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_is_complete(name: str) -> None:
    corpus = CORPORA[name]
    assert corpus.name == name
    assert len(set(corpus.class_names)) == len(corpus.class_names)
    assert all(key == protocol.name for key, protocol in corpus.protocols.items())
    assert corpus.metric in ("accuracy", "mean_class_accuracy")
    assert corpus.download.endswith("folder.")


SCRIPT = """
import os, sys, time
from pathlib import Path
from llmar_pipeline.corpora.reader import Reader
from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.corpora import CORPORA

if __name__ == "__main__":
    with Reader(CORPORA["nwucla"], Path("/"), workers=2) as reader:
        list(reader.read([Source("a", "/nowhere/a.json")] * 64))
        print(*(process.pid for process, _ in reader._workers), flush=True)
        time.sleep(60)
"""


def test_a_killed_run_leaves_no_worker_behind(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen([sys.executable, tmp_path / "script.py"], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        workers = [psutil.Process(int(pid)) for pid in run.stdout.readline().split()]
        run.kill()
    assert len(workers) == 2
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


def test_the_only_protocol_is_taken_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    for known in (["xview"], ["leave_one_subject_out", "xview", "k_fold"]):
        assert choose_protocol("split", known) == "xview"
    assert choose_protocol("k_fold", ["xview", "k_fold"]) == "k_fold"
    assert caplog.messages == ["no protocol 'split': taking xview, the only one that there is"]
    for wanted, known in (("split", ["xview", "xsub"]), ("split", ["k_fold"]), ("nosuch", ["xview"])):
        with pytest.raises(UserError, match=f"unknown protocol '{wanted}': choose one of"):
            choose_protocol(wanted, known)
