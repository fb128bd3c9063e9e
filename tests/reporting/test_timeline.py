"""The timeline as a page: what it shows, what it may load, and how large it gets."""

import base64
import json
import re

import numpy as np
import pytest

from llmar_pipeline.recognition.segments import Segment
from llmar_pipeline.reporting import timeline
from llmar_pipeline.reporting.timeline import render_timeline
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.topology import COCO17, NTU25

SEGMENTS = [Segment("wave", 0.91, 3, 33, 30, 2), Segment("</script><b>&", 0.5, 33, 60, 30)]


def recording(frames=60, persons=1, topology=NTU25):
    rng = np.random.default_rng(0)
    shape = (persons, frames, len(topology.joints), topology.coordinates)
    return Sequence("my <clip>", rng.normal(size=shape).astype(np.float32))


def drawn(html):
    content = json.loads(re.search(r"const d = (.*);", html)[1])
    points = np.frombuffer(base64.b64decode(content["points"]), "<i2")
    return content, points.reshape(-1, content["persons"], content["joints"], 2)


def test_every_segment_stands_in_the_table_and_in_the_bar():
    html = render_timeline(recording(), NTU25, SEGMENTS, 30)
    assert "<h1>my &lt;clip&gt;</h1>" in html
    assert "2.0 s at 30 frames a second, 2 segments" in html
    rows = re.findall(r"<tr><td>.*</tr>", html)
    assert len(rows) == 2
    assert [value in rows[0] for value in ("wave", "0.10 s", "1.10 s", "91.0 %", ">2<")] == [True] * 5
    assert "&lt;/script&gt;" in rows[1]
    assert "left: 5.0%; width: 50.0%" in html
    assert [s[:3] for s in drawn(html)[0]["segments"]] == [
        [0.1, 1.1, "wave"],
        [1.1, 2.0, "</script><b>&"],
    ]
    assert html.count("</script>") == 1
    assert "No action was sure enough" in render_timeline(recording(), NTU25, [], 30)


def test_a_page_loads_nothing_and_says_so():
    html = render_timeline(recording(), NTU25, SEGMENTS, 30)
    assert "default-src 'none'" in html
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", html) == []
    assert 'role="img" aria-label=' in html


@pytest.mark.parametrize("topology", [NTU25, COCO17])
def test_a_skeleton_is_drawn_upright_and_to_scale(topology):
    one = recording(topology=topology)
    content, points = drawn(render_timeline(one, topology, [], 30))
    assert points.shape == (60, 1, len(topology.joints), 2)
    across, up = (one.data[0, :, :, axis].astype(float) for axis in (0, 1))
    x, y = points[:, 0, :, 0].astype(float), points[:, 0, :, 1].astype(float)
    np.testing.assert_allclose(np.corrcoef(up.ravel(), y.ravel())[0, 1], -1, atol=1e-3)
    spread = (x - x.mean(axis=1, keepdims=True)).std() / (across - across.mean(axis=1, keepdims=True)).std()
    assert spread == pytest.approx(y.std() / up.std(), rel=0.01)
    inside = (
        (points >= 0).all(-1) & (points[..., 0] <= content["width"]) & (points[..., 1] <= content["height"])
    )
    assert inside.mean() > 0.99
    assert len(content["bones"]) == len(topology.bones)


def test_what_is_missing_is_not_drawn():
    one = recording()
    one.data[:, :, 7] = np.nan
    one.data[:, 50:] = np.nan
    content, points = drawn(render_timeline(one, NTU25, [], 30))
    assert (points[:, :, 7] == content["missing"]).all()
    assert (points[50:] == content["missing"]).all()
    assert (points[:50, :, 8] != content["missing"]).all()
    nobody = Sequence("x", np.full((1, 5, 25, 3), np.nan, np.float32))
    assert (drawn(render_timeline(nobody, NTU25, [], 30))[1] == content["missing"]).all()


def test_a_long_recording_is_drawn_at_fewer_frames_a_second(monkeypatch):
    monkeypatch.setattr(timeline, "_MOST_NUMBERS", 2000)
    content, points = drawn(render_timeline(recording(), NTU25, SEGMENTS, 30))
    assert (len(points), content["rate"]) == (30, 15)
