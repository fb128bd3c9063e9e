from dataclasses import replace

import pandas as pd
import pytest

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.completeness import check_completeness
from llmar_pipeline.corpora.ntu import MISSING_60
from llmar_pipeline.errors import UserError

NTU60 = CORPORA["ntu60"]
NOBODY = pd.DataFrame({"name": pd.Series(dtype="str")})

ONE_SUBJECT = sorted(
    name for name in NTU60.captured(pd.DataFrame({"setup": [1], "subject": [1]})) if name[:4] == "S001"
)
"""Setup 1, all subjects that it or the missing list shows."""


def index_of(names: list[str]) -> pd.DataFrame:
    return pd.DataFrame([{"name": name, **NTU60.parse_name(name)} for name in names])


SUBJECT_1 = [name for name in ONE_SUBJECT if "P001" in name and name not in MISSING_60]
ALONE = replace(
    NTU60,
    clips=len(SUBJECT_1),
    excluded=frozenset(),
    protocols={
        "xsub": replace(NTU60.protocols["xsub"], train=frozenset({1}), counts=(len(SUBJECT_1), 0)),
        "xview": replace(NTU60.protocols["xview"], counts=(len(SUBJECT_1) * 2 // 3, len(SUBJECT_1) // 3)),
    },
    captured=lambda index: set(SUBJECT_1),
)
"""A corpus of one subject in one setup."""


def test_a_subject_did_sixty_actions_twice_before_three_cameras() -> None:
    assert len(SUBJECT_1) == 360


def test_what_is_complete_passes_without_a_word() -> None:
    assert check_completeness(index_of(SUBJECT_1), NOBODY, ALONE, allow_incomplete=False).empty


def test_missing_and_damaged_clips_are_numbered_and_named() -> None:
    index = index_of(SUBJECT_1[2:])
    quarantine = pd.DataFrame({"name": SUBJECT_1[1:2]})
    with pytest.raises(
        UserError,
        match=r"expected 360 clips, saw 358 \(2 missing\); expected 360 train clips of xsub, saw 358 .*"
        rf"1 missing by name: {SUBJECT_1[0]}; 1 quarantined by name: {SUBJECT_1[1]}\..*allow_incomplete=true",
    ):
        check_completeness(index, quarantine, ALONE, allow_incomplete=False)
    amiss = check_completeness(index, quarantine, ALONE, allow_incomplete=True)
    assert list(amiss.itertuples(index=False, name=None)) == [
        (SUBJECT_1[0], "missing"),
        (SUBJECT_1[1], "quarantined"),
    ]


def test_clips_too_many_are_numbered_and_named() -> None:
    index = index_of([*SUBJECT_1, "S001C004P001R001A001"])
    with pytest.raises(UserError, match=r"\(1 too many\).* 1 too many by name: S001C004P001R001A001\."):
        check_completeness(index, NOBODY, ALONE, allow_incomplete=False)


def test_a_long_list_is_cut_in_the_message_only() -> None:
    with pytest.raises(UserError, match=r"355 missing by name: (\w+, ){5}\.\.\."):
        check_completeness(index_of(SUBJECT_1[:5]), NOBODY, ALONE, allow_incomplete=False)
    assert len(check_completeness(index_of(SUBJECT_1[:5]), NOBODY, ALONE, allow_incomplete=True)) == 355


def test_a_corpus_without_official_numbers_is_complete() -> None:
    free = replace(ALONE, clips=None, captured=None, class_names=(), protocols={})
    quarantine = pd.DataFrame({"name": ["x"]})
    amiss = check_completeness(index_of(SUBJECT_1[:3]), quarantine, free, allow_incomplete=False)
    assert list(amiss.itertuples(index=False, name=None)) == [("x", "quarantined")]


def test_classes_and_subjects_without_a_clip_are_numbered() -> None:
    some = replace(ALONE, clips=None, captured=None, protocols={"xsub": NTU60.protocols["xsub"]})
    some.protocols["xsub"] = replace(some.protocols["xsub"], counts=None)
    expected = "57 of 60 classes have no clip; 19 of the 20 subjects that train in xsub have no clip"
    with pytest.raises(UserError, match=expected):
        check_completeness(index_of(SUBJECT_1[:3]), NOBODY, some, allow_incomplete=False)


@pytest.mark.parametrize(("name", "groups"), [("ntu60", 158), ("ntu120", 318)])
def test_the_plan_of_ntu_has_as_many_recordings_as_were_captured(name: str, groups: int) -> None:
    corpus = CORPORA[name]
    assert corpus.clips is not None
    assert groups * 360 == corpus.clips + len(corpus.excluded)
    assert corpus.clips == sum(corpus.protocols["xsub"].counts or ())
