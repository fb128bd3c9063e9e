import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.plausible import check_reach, empty_frames_missing
from llmar_pipeline.corpora.reader import _load_one
from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.skeletons.sequence import Damaged, Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import COCO17

POINTS = np.random.default_rng(0).normal(0, 1, (2, 6, 17, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("units", "size", "wild"),
    [
        ("pixels", 60, 1e12),
        ("pixels", 60, -9999),
        ("metres", 0.3, 1e6),
        ("metres", 0.3, -150),
        ("metres", 300, 1e5),
    ],
)
def test_a_wild_number_is_named_with_joint_and_frame(units: Any, size: float, wild: float) -> None:
    points = size * POINTS
    check_reach(Sequence("a", points), COCO17, units)
    points[1, 4, 9, 0] = wild
    points[0, 0] = np.nan
    with pytest.raises(
        SkeletonFileError, match=rf"saw {re.escape(f'{wild:.6g}')} in person 1, frame 4 .*, joint left wrist"
    ):
        check_reach(Sequence("a", points.astype(np.float32)), COCO17, units)


@pytest.mark.parametrize(("units", "size"), [("metres", 2000), ("pixels", 3000), ("metres", 1e-3)])
def test_a_large_or_small_unit_is_none(units: Any, size: float) -> None:
    check_reach(Sequence("a", (size * POINTS).astype(np.float32)), COCO17, units)


def test_a_frame_of_zeros_shows_nobody() -> None:
    points = POINTS.copy()
    points[1, 2:4] = 0
    points[0, 0, 0] = 0
    missing = np.isnan(empty_frames_missing(points))
    assert missing.sum() == missing[1, 2:4].sum() == 68
    with pytest.raises(SkeletonFileError, match="saw 6 frames of zeros"):
        empty_frames_missing(np.zeros_like(points))


@pytest.mark.parametrize("error", [MemoryError("x"), RecursionError("y"), KeyError("z"), ValueError("a\nb")])
def test_whatever_a_reader_raises_is_a_row_of_its_file(tmp_path: Path, error: Exception) -> None:
    def parse(name: str, content: bytes) -> Sequence:
        raise error

    path = tmp_path / "a01_s01_e00_v01.json"
    path.write_text(json.dumps(1))
    item = _load_one(replace(CORPORA["nwucla"], parse=parse), tmp_path, Source(path.stem, str(path)))
    assert isinstance(item, Damaged)
    assert item.file == path.name
    assert item.seen.startswith(type(error).__name__)
    assert "\n" not in item.seen
