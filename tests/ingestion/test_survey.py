from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.errors import UserError
from llmar_pipeline.ingestion.survey import survey

NTU60 = CORPORA["ntu60"]


def test_a_folder_is_described_by_names_and_a_sample(
    tmp_path: Path, skeleton_text: Callable[..., str]
) -> None:
    text = skeleton_text([[("7", np.ones((25, 3)))]] * 10)
    for action in range(1, 51):
        (tmp_path / f"S001C001P001R001A{action:03}.skeleton").write_text(text)
    (tmp_path / "S001C001P001R001A001.skeleton").write_text("damaged")
    (tmp_path / "notes.skeleton").write_text("foreign")
    found = survey(NTU60, tmp_path, sample=10)
    assert (len(found.clips), found.sampled) == (50, 10)
    assert found.quarantine["file"].tolist() == ["notes.skeleton"]
    assert found.stored_bytes == 50 * 10 * 25 * 3 * 4
    assert found.raw_bytes == 49 * len(text) + len("damaged") + len("foreign")
    assert {damaged.name for damaged in found.damaged} == {"S001C001P001R001A001"}
    assert "expected 56,578 clips, saw 50 (56,528 missing)" in found.gaps


def test_a_folder_of_another_corpus(tmp_path: Path) -> None:
    (tmp_path / "Walk_p03_r00_v01_c01.skeleton").write_text("")
    found = survey(NTU60, tmp_path)
    assert (len(found.clips), len(found.quarantine), found.gaps) == (0, 1, "no recording could be read.")


def test_an_empty_folder_says_where_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Request the NTU"):
        survey(NTU60, tmp_path)


@pytest.mark.parametrize(("name", "folder"), [("nwucla", "nw_ucla"), ("utdmhad", "utd_mhad")])
def test_what_the_facts_say_of_the_size_is_what_real_recordings_need(
    name: str, folder: str, shared_data: Path
) -> None:
    found = survey(CORPORA[name], shared_data / folder, sample=200)
    assert CORPORA[name].stored_bytes == pytest.approx(found.stored_bytes, rel=0.1)
