import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError

NWUCLA = CORPORA["nwucla"]
REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "nw_ucla"
NAME = "a08_s03_e02_v01"


def recording(**changes: object) -> bytes:
    skeletons = np.arange(2 * 20 * 3).reshape(2, 20, 3).tolist()
    return json.dumps({"file_name": NAME, "skeletons": skeletons, "label": 7} | changes).encode()


def test_parse_name() -> None:
    assert NWUCLA.parse_name(f"{NAME}.json") == {"action": 6, "subject": 3, "camera": 1, "replication": 2}
    labels = [NWUCLA.parse_name(f"a{a:02}_s01_e00_v01")["action"] for a in (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)]
    assert labels == list(range(10))
    for foreign in ("a07_s01_e00_v01", "a1_s1_e0_v1", "manifest"):
        with pytest.raises(UserError, match="expected a name such as a08_s01_e00_v02"):
            NWUCLA.parse_name(foreign)


def test_parse() -> None:
    sequence = NWUCLA.parse(NAME, recording())
    assert sequence.data.shape == (1, 2, 20, 3)
    np.testing.assert_array_equal(sequence.data[0, 1, 0], [60, 61, 62])


@pytest.mark.parametrize(
    ("content", "line", "seen"),
    [
        (b'{"label":\n 7,,}', 2, "Expecting property name"),
        (b"[]", None, "TypeError"),
        (b'{"label": 7}', None, "KeyError"),
        (recording(skeletons=[]), None, r"shape \[0\]"),
        (recording(skeletons=np.zeros((2, 19, 3)).tolist()), None, r"shape \[2, 19, 3\]"),
        (recording(skeletons=np.zeros((20, 3)).tolist()), None, r"shape \[20, 3\]"),
        (
            recording(skeletons=[[[0, 0, 0]] * 20, [[0, 0]] * 20]),
            None,
            r"3 values in .*at frame 1, joint 0 .*saw 2",
        ),
        (recording(skeletons=[[["0", 0, 0]] * 20]), None, "at frame 0, joint 0, coordinate 0 .*saw a str"),
        (recording(skeletons=[[[None, 0, 0]] * 20]), None, "frame 0, joint 0"),
        (recording(skeletons=["x" * 15_000, *[""] * 30_000]), None, "saw a str"),
        (recording(skeletons=np.zeros((2, 20, 3)).tolist()), None, "2 frames of zeros"),
        (recording(skeletons=[[[0, float("nan"), 0]] * 20]), None, "frame 0, joint 0"),
        (recording(label=8), None, "label 8"),
        (b"[" * 100_000, None, "RecursionError"),
    ],
)
def test_damage(content: bytes, line: int | None, seen: str) -> None:
    with pytest.raises(SkeletonFileError, match=seen) as caught:
        NWUCLA.parse(NAME, content)
    assert caught.value.line == line
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.skipif(not REAL.is_dir(), reason="the real NW-UCLA recordings are not on this machine")
def test_real_recordings() -> None:
    sequences = [item for item in NWUCLA.read(REAL) if isinstance(item, Sequence)]
    assert len(sequences) == 1484
    assert sum(sequence.n_frames == 1 for sequence in sequences) == 2
    index = pd.DataFrame([{"name": item.name, **NWUCLA.parse_name(item.name)} for item in sequences])
    official = NWUCLA.protocols["xview"](index, val_share=0)
    assert index["camera"][official == "train"].value_counts().to_dict() == {1: 516, 2: 504}
    assert (official == "test").sum() == 464
    split = NWUCLA.protocols["xview"](index)
    assert (split[official == "test"] == "test").all()
    assert index["subject"][split == "val"].nunique() == 1
    assert not set(index["subject"][split == "val"]) & set(index["subject"][split == "train"])
