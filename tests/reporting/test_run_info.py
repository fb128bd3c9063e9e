import pytest

from llmar_pipeline.reporting.config import RunInfo


@pytest.mark.parametrize(
    ("chosen", "tested"),
    [
        ({}, "xview"),
        ({"fold": "camera:1"}, "xview, fold camera:1"),
        ({"shots": 1}, "xview, 1 training clip a class"),
        ({"fold": "camera:1", "shots": 5}, "xview, fold camera:1, 5 training clips a class"),
    ],
)
def test_a_report_says_what_was_tested_and_how_few_clips_trained(chosen, tested):
    run = RunInfo(
        dataset="nwucla", protocol="xview", experiment="best", size="laptop", synthetic=False, **chosen
    )
    assert run.tested == tested
