import re
from dataclasses import replace

import pandas as pd
import pytest

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.ntu import MISSING_60
from llmar_pipeline.demo.recordings import DemoConfig, demo_corpus
from llmar_pipeline.ingestion.completeness import compare

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
    gaps, amiss = compare(index_of(SUBJECT_1), NOBODY, ALONE)
    assert gaps == ""
    assert amiss.empty


def test_missing_and_damaged_clips_are_numbered_and_named() -> None:
    gaps, amiss = compare(index_of(SUBJECT_1[2:]), pd.DataFrame({"name": SUBJECT_1[1:2]}), ALONE)
    assert gaps.startswith(
        "ntu60 is not complete: expected 360 clips, saw 358 (2 missing); expected 360 train clips of xsub, "
    )
    assert gaps.endswith(f"1 missing by name: {SUBJECT_1[0]}; 1 quarantined by name: {SUBJECT_1[1]}.")
    assert list(amiss.itertuples(index=False, name=None)) == [
        (SUBJECT_1[0], "missing"),
        (SUBJECT_1[1], "quarantined"),
    ]


def test_clips_too_many_are_numbered_and_named() -> None:
    gaps, _ = compare(index_of([*SUBJECT_1, "S001C004P001R001A001"]), NOBODY, ALONE)
    assert "expected 360 clips, saw 361 (1 too many)" in gaps
    assert gaps.endswith(" 1 too many by name: S001C004P001R001A001.")


def test_a_long_list_is_cut_in_the_sentence_only() -> None:
    gaps, amiss = compare(index_of(SUBJECT_1[:5]), NOBODY, ALONE)
    assert re.search(r"355 missing by name: (\w+, ){5}\.\.\.\.$", gaps)
    assert len(amiss) == 355


def test_a_corpus_without_official_numbers_is_complete() -> None:
    free = replace(ALONE, clips=None, captured=None, class_names=(), protocols={})
    gaps, amiss = compare(index_of(SUBJECT_1[:3]), pd.DataFrame({"name": ["x"]}), free)
    assert gaps == ""
    assert list(amiss.itertuples(index=False, name=None)) == [("x", "quarantined")]


def test_nothing_read_is_no_complete_corpus() -> None:
    assert compare(pd.DataFrame(), pd.DataFrame({"name": ["x"]}), ALONE)[0] == "no recording could be read."


def test_classes_and_subjects_without_a_clip_are_numbered() -> None:
    some = replace(ALONE, clips=None, captured=None, protocols={"xsub": NTU60.protocols["xsub"]})
    some.protocols["xsub"] = replace(some.protocols["xsub"], counts=None)
    gaps, _ = compare(index_of(SUBJECT_1[:3]), NOBODY, some)
    named = "brushing hair, drop, pickup, throw, sitting down, ..."
    assert (
        f"57 of 60 classes have no clip ({named}); 19 of the 20 subjects that train in xsub have no clip"
        in gaps
    )


def test_classes_with_other_numbers_are_named() -> None:
    some = replace(ALONE, class_clips=(6, 7, *[6] * 58))
    assert "classes that differ: eat meal/snack 6 of 7." in compare(index_of(SUBJECT_1), NOBODY, some)[0]


@pytest.mark.parametrize(("name", "groups"), [("ntu60", 158), ("ntu120", 318)])
def test_the_plan_of_ntu_has_as_many_recordings_as_were_captured(name: str, groups: int) -> None:
    corpus = CORPORA[name]
    assert corpus.clips is not None
    assert groups * 360 == corpus.clips + len(corpus.excluded)
    assert corpus.clips == sum(corpus.protocols["xsub"].counts or ())


DEMO = DemoConfig(subjects=(1, 2, 3), cameras=(1, 2), actions=(8, 9, 23), damaged_files=2)
WHOLE = [name for name in DEMO.names if name not in DEMO.damage]


@pytest.mark.parametrize(
    "config", [DEMO, DemoConfig(), DemoConfig(replications=2, subjects=(3, 7), damaged_files=0)]
)
def test_the_whole_demo_lacks_nothing(config: DemoConfig) -> None:
    whole = [name for name in config.names if name not in config.damage]
    gaps, amiss = compare(index_of(whole), pd.DataFrame({"name": sorted(config.damage)}), demo_corpus(config))
    assert gaps == ""
    assert amiss.empty


@pytest.mark.parametrize(
    ("names", "expected", "end"),
    [
        (
            WHOLE[1:],
            "demo is not complete: expected 16 clips, saw 15 (1 missing);",
            f"1 missing by name: {WHOLE[0]}.",
        ),
        (
            [*WHOLE, "S001C001P015R001A008"],
            "saw 17 (1 too many)",
            "1 too many by name: S001C001P015R001A008.",
        ),
        ([name for name in WHOLE if "A023" not in name], "1 of 3 classes have no clip (hand waving)", "."),
    ],
)
def test_the_demo_has_numbers_of_its_own(names: list[str], expected: str, end: str) -> None:
    gaps, _ = compare(index_of(names), pd.DataFrame({"name": sorted(DEMO.damage)}), demo_corpus(DEMO))
    assert expected in gaps
    assert gaps.endswith(end)
    assert "56," not in gaps


def test_a_file_of_the_demo_that_was_spoilt_afterwards_is_named() -> None:
    damaged = pd.DataFrame({"name": [*DEMO.damage, WHOLE[3]]})
    gaps, amiss = compare(index_of(WHOLE[:3] + WHOLE[4:]), damaged, demo_corpus(DEMO))
    assert "saw 15 (1 missing)" in gaps
    assert list(amiss.itertuples(index=False, name=None)) == [(WHOLE[3], "quarantined")]
