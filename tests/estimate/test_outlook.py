"""What a run is told of how long it will take, and that this never ends a run."""

import math
from pathlib import Path

import pytest

from llmar_pipeline.estimate import outlook as module
from llmar_pipeline.estimate.outlook import Outlook, in_words, outlook
from llmar_pipeline.estimate.stages import StageTime
from llmar_pipeline.pipeline_registry import stages

STAGES = list(stages())


def test_what_cannot_be_known_is_said(configured, monkeypatch):
    selection, parameters = configured("nwucla", size="laptop", raw_dir="/no/such/folder")
    seen = outlook(selection, parameters, Path("unused"), STAGES)
    assert seen.line("laptop").startswith("how long this takes cannot be known: /no/such/folder")
    selection, parameters = configured(llm={"model": "/no/such/model", "precision": "float32"})
    times = {time.stage: time for time in outlook(selection, parameters, Path("unused"), STAGES).times}
    assert math.isnan(times["lora"].seconds)
    assert "/no/such/model" in times["lora"].how
    assert times["vqvae"].seconds > 0
    monkeypatch.setattr(module, "look", lambda *_: 1 / 0)
    assert outlook(selection, parameters, Path("unused"), STAGES).unknown.startswith("ZeroDivisionError")


def test_a_line_with_a_hint_where_it_will_be_hours():
    short = Outlook([StageTime("start", 5, ""), StageTime("lora", math.nan, "")], "a test", "")
    assert short.line("laptop") == "about 5.0 s: start 5.0 s, lora unknown (a test)"
    long = Outlook([StageTime("lora", 30 * 3600, "")], "a test", "")
    for size, smaller in (("paper", "gpu"), ("gpu", "laptop"), ("laptop", "demo")):
        assert f"about 30 h: lora 30 h (a test); for less, take a smaller size (--params=size={smaller})" in (
            long.line(size)
        )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2, "0.2 s"),
        (8, "8.0 s"),
        (99, "99 s"),
        (110, "1.8 min"),
        (840, "14 min"),
        (8000, "2.2 h"),
        (360000, "100 h"),
    ],
)
def test_durations_in_words(value, text):
    assert in_words(value) == text
