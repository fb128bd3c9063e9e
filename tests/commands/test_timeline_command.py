"""`kedro predict --segments` and `--timeline`: lines or JSON, a page, and what is refused."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from llmar_pipeline.commands.predict import Asked
from llmar_pipeline.commands.timeline import Segmentation, Windows
from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition.segments import Thresholds
from llmar_pipeline.recognizer import Recognizer

WINDOWS = Windows(None, None, None, Thresholds(0.3, 0.2))


@pytest.fixture(scope="module")
def recognizer(tiny_recognizer_folder, tmp_path_factory):
    return Recognizer.load(tiny_recognizer_folder, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def file(tmp_path, skeleton_text):
    joints = np.random.default_rng(0).normal(size=(50, 25, 3)).cumsum(axis=0) / 9
    path = tmp_path / "long.skeleton"
    path.write_text(skeleton_text([[("7", frame)] for frame in joints]))
    return path


def run(recognizer, places, page=None, as_json=False, windows=WINDOWS):
    segmentation = Segmentation(recognizer, Asked(None, 5, "llm", None, False), windows, as_json, page)
    segmentation.run(places)
    return segmentation.failed


def test_segments_as_lines_as_json_and_as_a_page(recognizer, file, tmp_path, capsys):
    page = tmp_path / "out.html"
    assert run(recognizer, [file], page) == 0
    title, *lines = capsys.readouterr().out.strip().splitlines()
    assert title == str(file)
    assert run(recognizer, [file], as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["clip"], told["fps"]) == ("long", 30)
    found = recognizer.segments(file, thresholds=WINDOWS.thresholds)
    assert [line.strip() for line in lines] == [str(one).strip() for one in found]
    assert [(s["name"], s["begin"], s["end"]) for s in told["segments"]] == [
        (one.name, one.begin, one.end) for one in found
    ]
    assert told["segments"][0]["begin_s"] == 0
    rows = re.findall(r"<tr><td>.*</tr>", page.read_text())
    assert len(rows) == len(found) > 0


def test_a_bad_file_is_one_line_and_the_rest_is_answered(recognizer, file, tmp_path, capsys):
    damaged = tmp_path / "damaged.skeleton"
    damaged.write_text("3\n1\n")
    assert run(recognizer, [damaged, file, tmp_path / "none.skeleton"]) == 2
    printed = capsys.readouterr()
    assert str(file) in printed.out
    assert [name in printed.err for name in ("damaged.skeleton", "none.skeleton")] == [True, True]
    assert len(printed.err.strip().splitlines()) == 2


def test_windows_that_make_no_sense_are_one_line(recognizer, file, capsys):
    assert run(recognizer, [file], windows=Windows(30, 1, 2, Thresholds())) == 1
    assert "expected a frame rate above 0, at most 10,000, and a step of" in capsys.readouterr().err


def test_a_timeline_is_of_one_recording(recognizer, file, tmp_path):
    with pytest.raises(UserError, match=r"--timeline=.*out.html: expected one recording, .*, saw 2"):
        run(recognizer, [file, file], tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_what_was_mapped_or_left_out_is_said_with_the_segments(recognizer, file, monkeypatch, capsys):
    read = Recognizer.read
    monkeypatch.setattr(Recognizer, "read", lambda *its: replace(read(*its), remark="1 of 3 people is read"))
    assert run(recognizer, [file]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["note: 1 of 3 people is read", ""]
    assert run(recognizer, [file], as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["remark"] == "1 of 3 people is read"
