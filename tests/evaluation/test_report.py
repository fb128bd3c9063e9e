import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.metrics import build_predictions, metrics
from llmar_pipeline.evaluation.report import ReportContext, render_report

EVIL = "wave <script>alert(1)</script>"
BARE = ReportContext("ntu60", "xsub", "default", "laptop", "0aa0877", "2026-01-12")


def full() -> ReportContext:
    scores = np.log([[0.8, 0.2], [0.7, 0.3], [0.4, 0.6], [0.9, 0.1]])
    predictions = build_predictions(
        ["c1", "c2", "c3", "c4"], ["sit", EVIL, EVIL, "sit"], ["sit", EVIL], scores
    )
    losses = [{"step": s, "name": "total", "value": 1 / (s + 1)} for s in range(3)]
    return replace(
        BARE,
        synthetic=True,
        metrics={**metrics(predictions, "sit"), "val_accuracy": 0.271},
        shuffled_accuracy=0.314,
        predictions=predictions,
        sentences={"c2": [17, 400]},
        stage1_losses=losses,
        stage2_losses=losses,
        reconstruction_error=0.0312,
        usage=np.array([5, 3, 0, 1]),
        film_strips={"clip c2": b"\x89PNG"},
        clips_read=1234,
        quarantined=pd.DataFrame({"reason": ["no body", "truncated"], "clips": [7, 2]}),
        split_counts={"train": 1000, "test": 225},
        parameters={"vqvae": {"codebook": {"size": 512}}, "empty": {}},
    )


class Page(HTMLParser):
    """Collects headings and addresses, and checks that elements nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for key, value in attrs if key in {"src", "href", "action", "srcset"}]
        if tag not in {"meta", "link", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in {"h1", "h2", "h3"}:
            self.headings.append(data)


def parse(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def without_plotly(html: str) -> str:
    return html.replace(get_plotlyjs(), "")


def test_everything_is_inside_the_page():
    html = render_report(full())
    assert html.count(get_plotlyjs()) == 1
    page = parse(html)
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)
    assert not re.search(r"@import|url\(", without_plotly(html))


def test_parts_come_in_order():
    headings = parse(render_report(full())).headings
    assert headings == [
        "LLM-AR on ntu60, xsub",
        "Confusion matrix",
        "Most frequent mistakes",
        "Classes",
        "Example clips",
        "Stage 1: skeletons to action sentences",
        "Training losses of the VQ-VAE",
        "Use of the codebook",
        "Recordings and their reconstructions",
        "Stage 2: action sentences to names",
        "Training loss of LoRA",
        "Ingestion",
        "Quarantined clips",
        "Parameters",
    ]


def test_class_names_are_escaped():
    html = without_plotly(render_report(full()))
    assert "<script>alert" not in html
    assert "wave &lt;script&gt;alert(1)" in html


def test_numbers_appear():
    text = re.sub(r"<[^>]+>|\s", " ", without_plotly(render_report(full()))).replace("\u202f", " ")
    text = re.sub(" +", " ", text)
    assert "75.0 % top-1 accuracy" in text
    assert "shuffled action sentences 31.4 %" in text
    assert "most frequent training class 50.0 %" in text
    assert "chance, 2 classes 50.0 %" in text
    assert "On the validation clips 27.1 %" in text
    assert "0.0312&nbsp;m" in text
    assert "1,234 clips read, 9 of them quarantined" in text
    assert "✗ wrong c2 17 400 wave" in text
    assert "vqvae.codebook.size 512" in text
    assert "Made-up recordings" in text
    assert "0aa0877" in text


def test_parts_without_data_are_left_out():
    html = render_report(BARE)
    assert parse(html).headings == ["LLM-AR on ntu60, xsub"]
    assert "<script" not in html
    assert "Made-up" not in html
    assert "accuracy" not in html


def test_parts_stand_alone():
    headings = parse(render_report(replace(BARE, reconstruction_error=1.0, clips_read=3))).headings
    assert headings == ["LLM-AR on ntu60, xsub", "Stage 1: skeletons to action sentences", "Ingestion"]
    no_sentences = replace(full(), sentences=None, shuffled_accuracy=None)
    html = render_report(no_sentences)
    assert "action sentence</th>" not in html
    assert "shuffled" not in html


def test_empty_predictions_are_refused():
    context = full()
    with pytest.raises(UserError, match="at least one test clip"):
        render_report(replace(context, predictions=context.predictions.iloc[:0]))
