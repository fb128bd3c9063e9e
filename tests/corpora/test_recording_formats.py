"""Files told from their content, whatever they are called."""

import pickle
import zipfile

import numpy as np
import pytest
from small_recordings import VALID

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.formats.keypoint_files import read_frame_rate
from llmar_pipeline.corpora.formats.pyskl import forget
from llmar_pipeline.corpora.own.custom import CUSTOM
from llmar_pipeline.corpora.recordings import clips_of, corpus_of_clip, recordings_in
from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.topology import COCO17, KINECT20, NTU25

OWN = {  # whose model is asked, and what it reads a file of each kind as
    "ntu60": CORPORA["ntu60"],
    "uav": CORPORA["uav"],
    "smarthome2d": CORPORA["smarthome2d"],
}


def told(path, own="ntu60", form=None):
    (clip, *_) = clips_of(path, form)
    return corpus_of_clip(clip, OWN[own], form)


@pytest.mark.parametrize("kind", VALID)
@pytest.mark.parametrize("named", ["as it was", "by another corpus"])
def test_content_says_what_a_file_is(tmp_path, kind, named):
    corpus, name, content = VALID[kind]
    path = tmp_path / (name if named == "as it was" else f"clip{CORPORA[corpus].suffix}")
    if corpus == "custom":
        path = tmp_path / name
    path.write_bytes(content)
    found = told(path)
    expected = "smarthome" if corpus == "smarthome2d" else corpus
    assert found.name == expected
    assert found.load(Source(path.stem, str(path)), named=False).n_frames > 0
    if corpus == "custom":
        assert (found.topology, found.units, found.vertical) == (COCO17, "pixels", "down")


@pytest.mark.parametrize(
    "text", ["30\n" + "0\n\n" * 2000, "30" + "\n" * 20_000, f"1\n1\nids\n{'9' * 5000}\n"]
)
def test_text_that_goes_on_without_a_body_is_looked_at_once(tmp_path, text):
    """It would take for ever where looking back is tried for every blank line."""
    (tmp_path / "clip.txt").write_text(text)
    clip = Source("clip", str(tmp_path / "clip.txt"))
    with pytest.raises(UserError, match=r"clip\.txt"):
        told(tmp_path / "clip.txt").load(clip, named=False)


def test_the_frame_rate_is_asked_of_keypoints_whatever_their_name(tmp_path):
    for name in ("clip.npz", "clip.json"):
        (tmp_path / name).write_bytes(VALID["ntu60"][2])
        assert read_frame_rate(tmp_path / name) is None
    np.savez(tmp_path / "text.npz", fps="30")
    with zipfile.ZipFile(tmp_path / "damaged.npz", "w") as archive:
        archive.writestr("fps.npy", b"no array")
    for name in ("text.npz", "damaged.npz"):
        with pytest.raises(UserError, match=name):
            read_frame_rate(tmp_path / name)


def test_text_and_json_are_told_apart_under_one_name(tmp_path):
    for kind in ("ntu60", "uav"):
        (tmp_path / f"{kind}.txt").write_bytes(VALID[kind][2])
        assert told(tmp_path / f"{kind}.txt").name == kind
    for kind in ("smarthome", "nwucla", "custom json"):
        (tmp_path / "clip.json").write_bytes(VALID[kind][2])
        assert told(tmp_path / "clip.json").name == VALID[kind][0]


@pytest.mark.parametrize("kind", ["custom npz", "custom csv", "custom json"])
@pytest.mark.parametrize("name", ["clip.json", "clip.txt", "clip"])
def test_keypoints_are_read_under_any_name(tmp_path, kind, name):
    if (kind, name) == ("custom csv", "clip.json"):
        pytest.skip("a table must not be called JSON")
    path = tmp_path / name
    path.write_bytes(VALID[kind][2])
    found = told(path)
    assert (found.name, found.topology) == ("custom", COCO17)
    assert found.load(path, named=False).data.shape[2:] == (17, 2)


def test_what_no_name_and_no_content_tells_the_named_format_does(tmp_path):
    (tmp_path / "clip").write_bytes(b"\xff" + VALID["ntu60"][2])
    with pytest.raises(UserError, match=r"expected a recording \("):
        told(tmp_path / "clip")
    assert told(tmp_path / "clip", form="ntu60") is OWN["ntu60"]


def test_a_file_of_bodies_that_come_late_is_told(tmp_path, skeleton_text):
    body = ("1", np.ones((17, 3)))
    (tmp_path / "late.skeleton").write_text(skeleton_text([[], [], [body]]))
    assert told(tmp_path / "late.skeleton").name == "uav"


def test_of_several_readers_the_models_own_is_taken(tmp_path):
    (tmp_path / "a.json").write_bytes(VALID["smarthome"][2])
    assert told(tmp_path / "a.json", "smarthome2d") is OWN["smarthome2d"]
    assert told(tmp_path / "a.json", "uav").name == "smarthome2d"  # a model of pictures
    (tmp_path / "a.skeleton").write_bytes(VALID["ntu60"][2])
    assert corpus_of_clip(clips_of(tmp_path / "a.skeleton")[0], CORPORA["ntu120"]) is CORPORA["ntu120"]


@pytest.mark.parametrize(
    ("shape", "layout", "units", "vertical"),
    [
        ((4, 25, 3), "ntu25", "metres", "up"),
        ((4, 20, 3), "kinect20", "metres", "up"),
        ((1, 4, 33, 3), "mediapipe33", "metres", "down"),
        ((1, 4, 33, 2), "mediapipe33", "pixels", "down"),
        ((4, 25, 2), "openpose25", "pixels", "down"),
    ],
)
def test_the_number_of_joints_tells_a_layout(tmp_path, shape, layout, units, vertical):
    np.savez(tmp_path / "a.npz", keypoints=np.random.default_rng(0).normal(size=shape))
    found = told(tmp_path / "a.npz")
    assert (found.topology.name, found.topology.coordinates) == (layout, shape[-1])
    assert (found.units, found.vertical, found.name) == (units, vertical, "custom")


def test_the_names_of_joints_tell_the_layout_of_a_table(tmp_path):
    rows = [f"{frame},{joint},1,{frame},2" for frame in range(3) for joint in KINECT20.joints]
    (tmp_path / "a.csv").write_text("\n".join(["frame,joint,x,y,z", *rows]))
    assert told(tmp_path / "a.csv").topology == KINECT20
    rows = [f"{frame},{joint},1,{frame},2" for frame in range(3) for joint in range(25)]
    (tmp_path / "b.csv").write_text("\n".join(["frame,joint,x,y,z", *rows]))
    assert told(tmp_path / "b.csv").topology == NTU25


def test_a_layout_that_nobody_knows_is_refused_with_those_that_are(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=np.ones((4, 11, 3)))
    with pytest.raises(
        UserError, match=r"a\.npz: .*25 joints in 3 .*33 x 2 .mediapipe33.*saw shape .4, 11, 3"
    ):
        told(tmp_path / "a.npz")


def test_the_format_that_is_named_goes_before_all_doubt(tmp_path):
    (tmp_path / "a.json").write_bytes(VALID["smarthome"][2])
    assert told(tmp_path / "a.json", form="smarthome2d").name == "smarthome2d"
    np.savez(tmp_path / "a.npz", keypoints=np.ones((4, 17, 2)))
    found = told(tmp_path / "a.npz", form="mediapipe33")
    assert (found.name, found.topology.name, found.topology.coordinates) == ("custom", "mediapipe33", 3)
    with pytest.raises(UserError, match=r"expected a format out of ntu60, .*kinect20.*saw 'kinect21'"):
        told(tmp_path / "a.npz", form="kinect21")


def test_each_clip_of_a_pickle_is_one(tmp_path):
    path = tmp_path / "many.pickle"
    clips = [
        {"frame_dir": f"clip{i}", "label": i, "total_frames": 3, "keypoint": np.ones((1, 3, *joints)) + i}
        for i, joints in enumerate([(25, 3), (17, 2)])
    ]
    path.write_bytes(pickle.dumps({"split": {}, "annotations": clips}))
    forget()
    found = clips_of(path)
    assert [(clip.name, clip.member) for clip in found] == [("clip0", "0"), ("clip1", "1")]
    corpora = [corpus_of_clip(clip, OWN["ntu60"]) for clip in found]
    assert corpora[0] is OWN["ntu60"]
    assert (corpora[1].name, corpora[1].topology) == (CUSTOM.name, COCO17)
    assert corpora[1].load(found[1], named=False).data.shape == (1, 3, 17, 2)


def test_the_files_of_a_folder(tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("b.skeleton", "below/a.JSON", "clips.csv", "README.txt", "notes.md", "._b.skeleton"):
        (tmp_path / name).write_text("x")
    files, others = recordings_in(tmp_path)
    assert [path.name for path in files] == ["b.skeleton", "a.JSON"]
    assert [path.name for path in others] == ["notes.md"]
    assert recordings_in(tmp_path / "notes.md") == ([tmp_path / "notes.md"], [])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"expected recordings .*\.skeleton.*saw an empty folder"):
        recordings_in(tmp_path / "empty")
    (tmp_path / "empty" / "film.avi").write_text("x")
    with pytest.raises(UserError, match=r"saw 1 files of other kinds, such as film\.avi"):
        recordings_in(tmp_path / "empty")
    with pytest.raises(UserError, match="nothing: expected a recording that can be read, saw No such file"):
        recordings_in(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "content", "seen"),
    [
        ("a.bin", b"", "saw an empty file"),
        ("a.jpg", b"\xff\xd8\xff\xe0JFIF", r"expected a recording .*a file that begins with b"),
        ("a.skeleton", b"<html>", "line 1: expected the number of frames, saw '<html>'"),
        ("a.txt", b"hello", "line 1: expected the number of frames"),
        ("a.json", b'{"a": 1}', "an object with keypoints, skeletons .*saw the keys 'a'"),
        ("a.json", b"[1]", "saw list"),
        ("a.json", b'{"skeletons": [[', "line 1: expected JSON"),
        ("a.json", b"[" * 100_000, "expected JSON, saw maximum recursion"),
        ("a.csv", b"a,b\n1,2\n", "the columns frame, joint, x, y, z"),
        ("a.npz", b"PK\x03\x04", "an npz file"),
        ("a.csv", b"frame,joint,x,y\n0,t\xeate,1,2\n", "expected text in UTF-8, saw byte 0xea"),
        ("a.json", b'{"keypoints": "\xea"}', "expected text in UTF-8|JSON"),
        ("a.mat", b"MATLAB 5.0 MAT-file", "a variable d_skel, saw none"),
        ("a.pkl", b"\x80\x04", "a complete pickle"),
    ],
)
def test_damaged_and_foreign_files_are_named_in_one_line(tmp_path, name, content, seen):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=seen) as caught:
        told(path).load(path, named=False)
    assert "\n" not in caught.value.message
    assert str(path) in caught.value.message
