"""The gallery: which clips it shows, and that they move as they were recorded."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.errors import UserError
from llmar_pipeline.reporting.gallery import FRAMES, SIDE, Gallery, gallery
from llmar_pipeline.reporting.report import ReportContext, _gallery_data, render_report
from llmar_pipeline.reporting.tables import evenly_chosen
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store_writer import StoreWriter

NTU25 = CORPORA["ntu60"].topology


def predictions(wrong, right):
    rows = [(f"w{i:03}", "sit", "jump", 0.3, 0.7) for i in range(wrong)]
    rows += [(f"r{i:03}", "sit", "sit", 0.9, 0.1) for i in range(right)]
    return pd.DataFrame(rows, columns=["name", "true", "predicted", "p:sit", "p:jump"])


def test_clips_are_spread_evenly_over_the_names_right_and_wrong_ones_apart():
    chosen = evenly_chosen(predictions(11, 101).sample(frac=1, random_state=0), each=3)
    assert chosen["name"].tolist() == ["w000", "w005", "w010", "r000", "r050", "r100"]
    assert chosen["right"].tolist() == [False] * 3 + [True] * 3
    assert chosen["probability"].tolist() == [0.7] * 3 + [0.9] * 3


def test_the_choice_does_not_look_at_probabilities():
    table = predictions(11, 101)
    other = table.assign(**{"p:jump": np.linspace(0.1, 0.9, 112)})
    assert evenly_chosen(table)["name"].tolist() == evenly_chosen(other)["name"].tolist()


@pytest.mark.parametrize(("wrong", "right", "names"), [(0, 2, ["r000", "r001"]), (1, 0, ["w000"])])
def test_where_there_are_few_all_are_shown(wrong, right, names):
    assert evenly_chosen(predictions(wrong, right))["name"].tolist() == names


def test_no_prediction_is_refused():
    with pytest.raises(UserError, match="at least one test clip"):
        evenly_chosen(predictions(0, 0))


def person(frames, shift=0.0):
    """Somebody whose joints lie on a slope, and who walks to the right."""
    joints = np.stack([np.linspace(0, 1, 25), np.linspace(0, 2, 25), np.zeros(25)], axis=1)
    steps = np.arange(frames)[:, None] * [[0.01, 0.0, 0.0]]
    return (joints[None] + steps[:, None] + [shift, 0, 0]).astype(np.float32)


@pytest.fixture
def shown(tmp_path):
    """A gallery of clips of one person, of two, and of one without a hand."""
    nobody = np.full((100, 25, 3), np.nan, np.float32)
    lame = person(20)
    lame[:, 7] = np.nan  # the left hand
    clips = {
        "w000": np.stack([person(100), nobody]),
        "r000": np.stack([person(100), person(100, 2)]),
        "r001": np.stack([lame, nobody[:20]]),
    }
    store = tmp_path / "sequences"
    with StoreWriter(store, 2, NTU25) as writer, writer.shard({}) as shard:
        for name, data in clips.items():
            shard.append(Sequence(name, data))
    return gallery(evenly_chosen(predictions(1, 2)), store)


def test_a_clip_lies_in_its_square_at_one_scale_and_upright(shown):
    one = shown.clips[0]
    assert (one.name, one.predicted, one.right, len(one.frames)) == ("w000", "jump", False, FRAMES)
    frames = np.array(one.frames).reshape(FRAMES, 25, 2)
    assert frames.min() >= 0
    assert frames.max() <= SIDE
    assert (np.diff(frames[0, :, 1]) < 0).all()  # y points down on a page: what is higher has less
    assert (np.diff(frames[:, 0, 0]) >= 0).all()
    height, across = np.ptp(frames[0, :, 1]), np.ptp(frames[0, :, 0])
    assert height == pytest.approx(2 * across, abs=2)


def test_persons_that_are_not_there_are_not_drawn_and_a_second_one_is_drawn_apart(shown):
    alone, both, _ = shown.clips
    assert [len(clip.frames[0]) for clip in (alone, both)] == [2 * 25, 2 * 2 * 25]
    assert [bool(path) for path in alone.still] == [True] * 3 + [False] * 3
    assert all(both.still)


def test_what_is_missing_is_not_drawn(shown):
    lame = shown.clips[2]
    assert len(lame.frames) == 20
    assert lame.frames[0][14:16] == [None, None]
    touching = sum(7 in bone[:2] for bone in shown.bones)
    assert touching > 1
    drawn = "".join(lame.still).count("M")
    assert drawn == len(NTU25.bones) - touching


def test_sides_are_those_of_the_mirror(shown):
    sides = {child: side for child, _, side in shown.bones}
    for child, side in sides.items():
        partner = sides.get(NTU25.mirror[child], 0)
        assert {side, partner} == ({0} if NTU25.mirror[child] == child else {1, 2}), NTU25.joints[child]


def test_the_page_moves_what_the_gallery_holds_and_names_clip_answer_and_rule(shown):
    wild = replace(shown.clips[0], name="</script><b>", true="a & b")
    context = ReportContext(
        *("demo", "xsub", "llm_ar", "demo", "", ""),
        gallery=Gallery(shown.joints, shown.bones, [wild, *shown.clips[1:]]),
        sentences={"r000": [3, 400]},
    )
    context = replace(context, predictions=predictions(1, 2))
    page = render_report(context)
    data = json.loads(_gallery_data(shown))
    assert f'id="gallery-data">{_gallery_data(shown)}</script>' in page
    assert [len(clip) for clip in data["clips"]] == [FRAMES, FRAMES, 20]
    assert page.count('<figure class="clip wrong">') == 1
    assert page.count('<figure class="clip right">') == 2
    assert "</script><b>" not in page
    assert 'aria-label="Moving skeleton of r000, sit"' in page
    assert page.count("prefers-reduced-motion") == 1
    assert 'id="motion"' in page
    text = " ".join(page.split())
    assert (
        "of the wrong answers and of the right ones up to six each, evenly spaced in the order of clip names"
        in text
    )
    assert "jump, 70.0 %; it is a &amp; b" in text
