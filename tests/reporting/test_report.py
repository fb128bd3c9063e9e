import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.metrics import build_predictions, metrics
from llmar_pipeline.evaluation.sentences import sentence_statistics
from llmar_pipeline.reporting.gallery import Gallery, GalleryClip
from llmar_pipeline.reporting.report import LIMIT, ReportContext, render_report
from llmar_pipeline.reporting.report_figures import FIGURES, Results
from llmar_pipeline.reporting.summary import below_head
from llmar_pipeline.vqvae.trained import CodebookFacts

EVIL = "wave <script>alert(1)</script>"
BARE = ReportContext("ntu60", "xsub", "default", "laptop", "0aa0877", "2026-01-12")


def paired(name: str, less: float, low: float, high: float) -> dict[str, float]:
    return {f"minus_{name}": less, f"minus_{name}_low": low, f"minus_{name}_high": high}


def full() -> ReportContext:
    scores = np.log([[0.8, 0.2], [0.7, 0.3], [0.4, 0.6], [0.9, 0.1]])
    predictions = build_predictions(
        ["c1", "c2", "c3", "c4"], ["sit", EVIL, EVIL, "sit"], ["sit", EVIL], scores
    )
    history = pd.DataFrame({"step": [1, 2, 3], "loss": [1.0, 0.5, 0.3], "perplexity": [2.0, 3.0, 4.0]})
    codebook = CodebookFacts(4, 1, np.eye(4), np.array([2, 3, 0, 1]), "hyperbolic", 1.0)
    refusals = pd.DataFrame({"kind": ["test", "unseen"], "distance": [1.0, 3.0], "threshold": 2.0})
    drawn_from = Results(
        predictions, history, history[["step", "loss"]], codebook, np.array([5, 3, 0, 1]), refusals
    )
    sentences = [[0] * 5, [1] * 3 + [3]]
    statistics = sentence_statistics(sentences, 4, np.array([2, 3, 0, 1])) | {"reconstruction_error": 0.0312}
    return replace(
        BARE,
        synthetic=True,
        metrics={
            **metrics(predictions, "sit"),
            "val_accuracy": 0.271,
            "shuffled_accuracy": 0.314,
            "bag_of_codes_accuracy": 0.702,
            **paired("bag_of_codes", 0.048, -0.01, 0.1),
            "code_transformer_accuracy": 0.75,
            **paired("code_transformer", 0.0, -0.05, 0.05),
            "head_accuracy": 0.9,
            **paired("head", -0.15, -0.2, -0.1),
            "generated_accuracy": 0.633,
        },
        predictions=predictions,
        sentences={"c2": [17, 400]},
        figures={name: figure.draw(drawn_from) for name, figure in FIGURES.items()},
        code_statistics=statistics | {f"train_{name}": value for name, value in statistics.items()},
        animations={"moving clip": b"GIF89a"},
        film_strips={"clip c2": b"\x89PNG"},
        clips_read=1234,
        quarantined=pd.DataFrame({"reason": ["no body", "truncated"], "clips": [7, 2]}),
        split_counts={"train": 1000, "test": 225},
        parameters={"vqvae": {"codebook": {"size": 512}}, "empty": {}},
        seed="3",
        versions={"Python": "3.11.7", "torch": "2.13.0"},
        gallery=Gallery(
            2, [(1, 0, 0)], [GalleryClip("c2", EVIL, "sit", 0.7, False, [[1, 2, 3, 4]], ["M3 4L1 2"])]
        ),
        model_card="model_card.md",
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
    assert {address for address in page.addresses if not address.startswith("data:")} == {"model_card.md"}
    assert not re.search(r"@import|url\(", without_plotly(html))


def test_parts_come_in_order():
    headings = parse(render_report(full())).headings
    assert headings == [
        "LLM-AR on ntu60, xsub",
        "Confusion matrix",
        "Most frequent mistakes",
        "Classes",
        "Calibration",
        "None of these",
        "Gallery",
        "Example clips",
        "Stage 1: skeletons to action sentences",
        "Recordings and their reconstructions",
        "Use of the codebook",
        "Map of the codes",
        "Training of the VQ-VAE",
        "Stage 2: action sentences to names",
        "Training of LoRA",
        "What was run",
        "Recordings",
        "Quarantined clips",
        "Versions",
        "Parameters",
    ]


def test_images_are_named_by_their_kind():
    addresses = parse(render_report(full())).addresses
    assert "data:image/gif;base64,R0lGODlh" in addresses
    assert "data:image/png;base64,iVBORw==" in addresses


def test_class_names_are_escaped():
    html = without_plotly(render_report(full()))
    assert "<script>alert" not in html
    assert "wave &lt;script&gt;alert(1)" in html


def words(context: ReportContext) -> str:
    text = re.sub(r"<[^>]+>|\s", " ", without_plotly(render_report(context))).replace("&#39;", "'")
    return re.sub("[ \u202f]+", " ", text)


def test_every_read_out_stands_beside_what_the_llm_is_above_it():
    text = words(full())
    for row in (
        "bag of codes: linear, on counts of codes the LLM is 4.8 points above it (-1.0 to +10.0) 70.2 %",
        "codes in order: a small transformer on codes the LLM adds nothing to it (-5.0 to +5.0) 75.0 %",
        "class head: linear, on stage 1's features; kedro predict --read=head "
        "the LLM is 15.0 points below it (-20.0 to -10.0) 90.0 %",
    ):
        assert row in text
    assert "In brackets beside a control: the paired 95&nbsp;% interval" in text


def test_that_the_llm_is_below_the_head_is_said_as_the_terminal_says_it():
    context = full()
    note = below_head(context.metrics)
    assert note
    assert note in words(context)
    near = context.metrics | paired("head", -0.15, -0.3, 0.0)
    assert "answers worse" not in words(replace(context, metrics=near))


def test_read_outs_without_an_interval_claim_none():
    context = full()
    known = metrics(context.predictions) | {"bag_of_codes_accuracy": 0.5}
    text = words(replace(context, metrics=known))
    assert "the LLM is 25.0 points above it 50.0 %" in text
    assert "In brackets" not in text


@pytest.mark.parametrize(
    ("control", "all_of_it", "drawn"),
    [
        (
            "bag_of_codes",
            "how often each code occurs.",
            "how often each code occurs, fitted to 20,000 training sentences, drawn from all.",
        ),
        (
            "nearest_neighbour",
            "are nearest; nothing is learnt.",
            "are nearest; nothing is learnt, among 20,000 clips drawn from all.",
        ),
    ],
)
def test_it_is_said_that_a_control_knows_some_of_the_training_clips(control, all_of_it, drawn):
    context = full()
    known = metrics(context.predictions) | {f"{control}_accuracy": 0.5}
    assert all_of_it in words(replace(context, metrics=known))
    assert drawn in words(replace(context, metrics=known | {f"{control}_drawn": 20_000}))


def test_the_language_model_and_what_its_rows_know_are_told():
    context = replace(BARE, language_model="someone/model", rows_of_classes=True)
    text = words(context)
    assert "language model someone/model" in text
    assert "names of unseen classes have no part in it" in text
    assert parse(render_report(context)).headings[-1] == "Stage 2: action sentences to names"
    assert "names of unseen classes" not in words(full())
    assert "the probabilities that the class head of stage 1 gives" in words(
        replace(BARE, answers_of_head=True)
    )
    assert "the probabilities that the class head of stage 1 gives" not in text


def test_numbers_appear():
    text = words(full())
    assert "75.0 % top-1 accuracy" in text
    assert "shuffled action sentences 31.4 %" in text
    assert "free generation, exact match 63.3 %" in text
    # Clips given with 80, 70, 60 and 90 %; the second is wrong: (0.2 + 0.7 + 0.4 + 0.1) / 4.
    assert "(expected calibration error): 35.0 %" in text
    assert "most frequent training class 50.0 %" in text
    assert "chance, one of 2 classes 50.0 %" in text
    assert "top-5" not in text
    assert "On the validation clips 27.1 %" in text
    assert "no validation clips" not in text
    assert "mean joint error 0.0312 m 0.0312 m" in text
    # Codes 1 and 3 pair in the second sentence: 2 of 4 tokens, and 0 of 5 in the first. At random code 1
    # meets code 3 in one pairing of three: 2 / 4 / 3, and half of that on average.
    assert "tokens in correlated pairs 25.0 % 25.0 % random pairs 8.3 %" in text
    assert "codes in use 3 3 of 4" in text
    assert "1,243 recordings: 1,234 read, 9 left out (quarantined)." in text
    assert "✗ wrong c2 17 400 wave" in text
    assert "vqvae.codebook.size 512" in text
    assert "Made-up recordings" in text
    assert "0aa0877" in text


def test_parts_without_data_are_left_out():
    html = render_report(BARE)
    assert parse(html).headings == ["LLM-AR on ntu60, xsub"]
    assert "<script" not in html
    assert "model card" not in html
    assert "Made-up" not in html
    assert "accuracy" not in html


def test_parts_stand_alone():
    headings = parse(render_report(replace(BARE, code_statistics={"used_codes": 3}, clips_read=3))).headings
    assert headings == [
        "LLM-AR on ntu60, xsub",
        "Stage 1: skeletons to action sentences",
        "What was run",
        "Recordings",
    ]
    context = full()
    html = render_report(replace(context, sentences=None, metrics=metrics(context.predictions)))
    assert "action sentence</th>" not in html
    for control in ("huffled", "ag of codes", "ree generation"):
        assert control not in html


def test_what_was_run_is_one_fold_out_beside_what_names_the_run():
    html = without_plotly(render_report(full()))
    fold = html[html.index("<h2>What was run</h2>") :]
    assert fold.count("<details>") == fold.count("</details>") == 1
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", fold)).replace("&nbsp;", " ")
    for part in ("1,243 recordings", "train 1,000", "no body 7", "Python 3.11.7, torch 2.13.0", "size 512"):
        assert part in text
    assert "<dt>seed</dt><dd>3</dd>" in html
    assert '<a href="model_card.md">model card</a>' in html


def test_a_report_that_is_too_large_leaves_parts_out_in_order_and_says_so():
    context = replace(full(), film_strips={"clip c2": b"strip" * 2000}, animations={"moving": b"gif" * 2000})
    whole = render_report(context)
    assert "Not all is shown" not in whole

    def size(page):
        return len(page.encode())

    without_strips = render_report(context, limit=size(whole) - 1)
    assert "left out, and made from" in without_strips
    assert "film strips (film_strip.png)" in without_strips
    kinds = [address.split(";")[0] for address in parse(without_strips).addresses]
    assert "data:image/gif" in kinds
    assert "data:image/png" not in kinds
    bare = render_report(context, limit=100_000)
    assert size(bare) <= 100_000 < size(without_strips)
    for part in ("film strips (", "the animation (", "the gallery (", "figures ("):
        assert part in bare
    assert "Plotly.newPlot" not in bare
    assert "Example clips" in bare  # tables stay
    assert parse(bare)


def test_the_limit_is_eight_megabytes():
    assert LIMIT == 8_000_000
    assert len(render_report(full()).encode()) < LIMIT


def test_the_headline_is_the_metric_of_the_corpus():
    context = full()
    values = {
        **metrics(context.predictions, "sit"),
        "headline": "mean_class_accuracy",
        "shuffled_accuracy": 0.2,
        "shuffled_mean_class_accuracy": 0.111,
    }
    text = re.sub(r"<[^>]+>|\s", " ", without_plotly(render_report(replace(context, metrics=values))))
    text = re.sub("[ \u202f]+", " ", text)
    assert "75.0 % mean class accuracy 95&nbsp;% interval" in text
    assert "shuffled action sentences 11.1 %" in text
    assert "Accuracy 75.0 %." in text


def test_unseen_classes_are_named():
    context = full()
    html = render_report(replace(context, metrics={**context.metrics, "unseen_classes": ["sit", EVIL]}))
    assert parse(html)
    assert "<script>alert" not in without_plotly(html)
    text = re.sub(" +", " ", re.sub(r"<[^>]+>|\s", " ", without_plotly(html)))
    assert "Training had no clip of sit , wave &lt;script&gt;alert(1)&lt;/script&gt; ." in text
    assert "answered from a list of these alone" in text
    assert "Unseen" not in render_report(replace(context, metrics={**context.metrics, "unseen_classes": []}))


def test_empty_predictions_are_refused():
    context = full()
    with pytest.raises(UserError, match="at least one test clip"):
        render_report(replace(context, predictions=context.predictions.iloc[:0]))


def test_classes_without_clips_are_named_and_top_5_where_it_says_something():
    context = full()
    more = {"top5": 0.9, "untested_classes": ["jump"], "untrained_classes": [EVIL], "n_classes": 7}
    html = render_report(replace(context, metrics={**context.metrics, **more}))
    text = " ".join(without_plotly(html).split())
    assert "Mean class accuracy 75.0 %, top-5 accuracy 90.0 %." in text
    assert "1 of 7 classes have no test clip: jump; mean class accuracy is over the other 6" in text
    assert "Tested but never trained" in text
    assert EVIL not in text
