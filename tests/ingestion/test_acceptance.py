from pathlib import Path

import pandas as pd
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.ingestion.acceptance import accept

CLIPS = pd.DataFrame({"name": [f"clip{i}" for i in range(9)]})
NOTHING = pd.DataFrame(columns=["name", "file", "line", "expected", "seen"])
ONE = pd.DataFrame(
    [{"name": "x", "file": "a/x.txt", "line": 3, "expected": "a number", "seen": "'y'"}]
).astype({"line": "Int64"})


def accepted(clips=CLIPS, quarantine=NOTHING, gaps="", share=0.1, incomplete=False, protocol="xsub"):
    return accept(clips, quarantine, gaps, Path("raw"), share, incomplete, protocol, {"xsub": 1, "xview": 2})


def test_what_is_in_order_goes_on() -> None:
    assert accepted() is CLIPS
    assert accepted(quarantine=ONE) is CLIPS  # 1 of 10 is a share of 0.1
    assert accepted(gaps="NTU is not complete.", incomplete=True) is CLIPS


def test_too_much_damage_is_numbered_and_the_first_named() -> None:
    with pytest.raises(
        UserError,
        match=r"^1 of 10 recordings in raw cannot be read, more than the share of 0.09 allowed "
        r"\(ingestion.max_quarantined_share\); the first: a/x.txt, line 3: expected a number, saw 'y'",
    ):
        accepted(quarantine=ONE, share=0.09)


def test_nothing_but_damage_is_too_much_at_any_share() -> None:
    with pytest.raises(UserError, match="1 of 1 recordings"):
        accepted(clips=CLIPS[:0], quarantine=ONE, share=1.0)


def test_gaps_are_told_and_how_to_go_on() -> None:
    with pytest.raises(UserError, match=r"^NTU is not complete\. Results .*--params=allow_incomplete=true"):
        accepted(gaps="NTU is not complete.")


def test_a_protocol_that_the_corpus_has_not() -> None:
    with pytest.raises(UserError, match="unknown protocol 'cross': choose one of xsub, xview "):
        accepted(protocol="cross")
