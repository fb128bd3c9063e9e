import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.formats.pyskl import forget
from llmar_pipeline.corpora.own import clip_table
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Damaged, Sequence, SkeletonFileError

CUSTOM = CORPORA["custom"]


def write(folder: Path, table: str = "", **facts: Any) -> Path:
    facts = {"layout": "coco17", "units": "pixels"} | facts
    (folder / "corpus.yml").write_text(yaml.safe_dump(facts), encoding="utf-8")
    if table:
        (folder / "clips.csv").write_text(table, encoding="utf-8")
    return folder


def clip(path: Path, value: float = 1.0, shape: tuple[int, ...] = (3, 17, 2)) -> None:
    path.parent.mkdir(exist_ok=True)
    np.savez(path, keypoints=np.full(shape, value, np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three clips in three forms and a full table."""
    clip(tmp_path / "day 1" / "a.npz", 2.0)
    keypoints = np.full((2, 5, 17, 2), 3.0)
    (tmp_path / "b.json").write_text(json.dumps({"keypoints": keypoints.tolist()}))
    rows = [f"{frame},{joint},4,5" for frame in range(2) for joint in range(17)]
    (tmp_path / "c.csv").write_text("\n".join(["frame,joint,x,y", *rows]))
    table = (
        "file,action,name,subject,camera,setup,split\n"
        "day 1/a.npz,wave,,zoe,1,9,train\n"
        "b.json,kick,second,adam,2,9,val\n"
        "c.csv,wave,,bea,02,9,test\n"
    )
    protocols: dict[str, dict[str, Any]] = {
        "xsub": {"by": "subject", "train": ["zoe", "bea"], "test": ["adam"]},
        "xview": {"by": "camera", "train": [1]},
    }
    return write(tmp_path, table, protocols=protocols)


def test_a_folder(folder: Path) -> None:
    corpus = CUSTOM.open(folder)
    assert corpus.class_names == ("kick", "wave")
    assert (corpus.topology.name, corpus.persons, corpus.units) == ("coco17", 2, "pixels")
    assert corpus.parse_name("day 1__a") == {"action": 1, "subject": 2, "camera": 1, "setup": 9, "split": 0}
    assert corpus.parse_name("second") == {"action": 0, "subject": 0, "camera": 2, "setup": 9, "split": 1}
    assert corpus.parse_name("c") == {"action": 1, "subject": 1, "camera": 2, "setup": 9, "split": 2}
    clips = {item.name: item for item in CUSTOM.read(folder) if isinstance(item, Sequence)}
    assert list(clips) == ["c", "day 1__a", "second"]
    np.testing.assert_array_equal(clips["c"].data, np.full((1, 2, 17, 2), [4, -5]))
    np.testing.assert_array_equal(clips["day 1__a"].data, np.full((1, 3, 17, 2), [2, -2]))
    np.testing.assert_array_equal(clips["second"].data, np.full((2, 5, 17, 2), [3, -3]))
    with pytest.raises(SkeletonFileError, match="the name of a clip"):
        corpus.parse_name("b")


def index_of(corpus: Corpus, folder: Path) -> pd.DataFrame:
    names = [source.name for source in corpus.sources(folder)]
    return pd.DataFrame([{"name": name, **corpus.parse_name(name)} for name in names])


def test_protocols_of_the_table_and_of_the_users_own(folder: Path) -> None:
    corpus = CUSTOM.open(folder)
    index = index_of(corpus, folder)
    assert list(index["name"]) == ["c", "day 1__a", "second"]
    parts = {name: list(rule(index, val_share=0)) for name, rule in corpus.protocols.items()}
    assert parts == {
        "split": ["test", "train", "val"],
        "xsub": ["train", "train", "test"],
        "xview": ["test", "train", "test"],
        "leave_one_subject_out": ["train"] * 3,
        "k_fold": ["train"] * 3,
    }
    assert list(corpus.protocols) == ["split", "xsub", "xview", "leave_one_subject_out", "k_fold"]


def test_an_opened_corpus_travels_to_other_processes(folder: Path) -> None:
    corpus = CUSTOM.open(folder)
    again = pickle.loads(pickle.dumps(corpus))
    assert again.parse_name("c") == corpus.parse_name("c")
    assert again.sources(folder) == corpus.sources(folder) == CUSTOM.sources(folder)
    assert corpus.for_a_process().listed == ()
    read = [item.data for item in CUSTOM.read(folder, workers=2) if isinstance(item, Sequence)]
    for one, other in zip(read, [item.data for item in CUSTOM.read(folder)], strict=True):  # type: ignore[union-attr]
        np.testing.assert_array_equal(one, other)


def grid(folder: Path, subjects: int, clips: int) -> str:
    """Two classes; each subject does each of them some times."""
    column = ",subject" if subjects else ""
    lines = [f"file,action{column}"]
    clip(folder / "x.npz")
    for subject in range(max(subjects, 1)):
        for action in ("kick", "wave"):
            for number in range(clips):
                file = f"{subject}_{action}_{number}.npz"
                (folder / file).write_bytes((folder / "x.npz").read_bytes())
                lines.append(f"{file},{action}" + (f",p{subject}" if subjects else ""))
    return "\n".join(lines)


def test_without_a_split_whole_subjects_are_drawn(tmp_path: Path) -> None:
    table = grid(tmp_path, subjects=10, clips=2)
    corpus = CUSTOM.open(write(tmp_path, table))
    index = index_of(corpus, tmp_path)
    split = corpus.protocols["split"](index)
    assert split.value_counts().to_dict() == {"train": 28, "test": 8, "val": 4}
    assert split.groupby(index["subject"]).nunique().eq(1).all()
    header, *rows = table.splitlines()
    (tmp_path / "clips.csv").write_text("\n".join([header, *reversed(rows)]))
    again = CUSTOM.open(tmp_path)
    assert index_of(again, tmp_path).equals(index)


@pytest.mark.parametrize("subjects", [0, 1])
def test_without_subjects_clips_of_each_class_are_drawn(tmp_path: Path, subjects: int) -> None:
    corpus = CUSTOM.open(write(tmp_path, grid(tmp_path, subjects, clips=20)))
    index = index_of(corpus, tmp_path)
    split = corpus.protocols["split"](index)
    assert split.value_counts().to_dict() == {"train": 29, "test": 8, "val": 3}
    assert index["action"][split == "test"].value_counts().to_dict() == {0: 4, 1: 4}


def test_a_protocol_of_ones_own_is_not_joined_by_a_drawn_one(tmp_path: Path) -> None:
    own = {"xsub": {"by": "subject", "train": ["p0"], "val": ["p1"]}}
    corpus = CUSTOM.open(write(tmp_path, grid(tmp_path, subjects=3, clips=1), protocols=own))
    assert list(corpus.protocols) == ["xsub", "leave_one_subject_out", "k_fold"]
    split = corpus.protocols["xsub"](index_of(corpus, tmp_path))
    assert split.value_counts().to_dict() == {"train": 2, "val": 2, "test": 2}


@pytest.mark.parametrize("subjects", [0, 1])
def test_leaving_a_subject_out_needs_two(tmp_path: Path, subjects: int) -> None:
    corpus = CUSTOM.open(write(tmp_path, grid(tmp_path, subjects, clips=2)))
    assert list(corpus.protocols) == ["split", "k_fold"]


def test_a_protocol_of_ones_own_may_be_called_so(tmp_path: Path) -> None:
    own = {"k_fold": {"by": "subject", "train": ["p0"]}}
    corpus = CUSTOM.open(write(tmp_path, grid(tmp_path, subjects=3, clips=1), protocols=own))
    assert list(corpus.protocols) == ["k_fold", "leave_one_subject_out"]
    assert corpus.protocols["k_fold"].by == "subject"


def test_3d_keypoints_with_y_down_make_a_half_turn(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", keypoints=np.full((2, 33, 3), [1.0, 2.0, 3.0]))
    write(tmp_path, "file,action\na.npz,wave", layout="mediapipe33", units="metres")
    for vertical, expected in ((None, [-1, -2, 3]), ("down", [-1, -2, 3]), ("up", [1, 2, 3])):
        write(tmp_path, layout="mediapipe33", units="metres", vertical=vertical, persons=1)
        [sequence] = CUSTOM.read(tmp_path)
        assert isinstance(sequence, Sequence)
        np.testing.assert_array_equal(sequence.data, np.full((1, 2, 33, 3), expected))
    np.savez(tmp_path / "a.npz", keypoints=np.ones((2, 33, 2)))
    write(tmp_path, layout="mediapipe33", units="pixels", coordinates=2)
    [sequence] = CUSTOM.read(tmp_path)
    assert isinstance(sequence, Sequence)
    assert sequence.data.shape == (1, 2, 33, 2)


@pytest.mark.parametrize(
    ("row", "expected", "seen"),
    [
        ("none.npz,wave,p1,train", "the name of a file", "no such file as 'none.npz'"),
        (f"{'n' * 300}.npz,wave,p1,train", "the name of a file", "no such file as 'nnn"),
        ("../b.npz,wave,p1,train", "a file in the folder of clips.csv, named from there", "'../b.npz'"),
        ("/tmp/b.npz,wave,p1,train", "a file in the folder of clips.csv", "'/tmp/b.npz'"),
        ("b.pkl,wave,p1,train", "a file that ends in .csv, .json, .npz", "'b.pkl'"),
        ("/,wave,p1,train", "a file in the folder", "'/'"),
        (",wave,p1,train", "a file that ends in", "none"),
        ("b.npz,sing,p1,train", "an action out of classes in corpus.yml", "'sing'"),
        ("b.npz,,p1,train", "an action", "''"),
        ("b.npz,wave,,train", "a subject in each row", "none"),
        ("b.npz,wave,p1,dev", "a split out of train, val, test", "'dev'"),
        ("b.npz,wave,p1,", "a split out of train, val, test", "''"),
        ("b,wave,p1,train", "a file that ends in .csv, .json, .npz", "'b' (there is 'b.npz')"),
        ("B.npz,wave,p1,train", "the name of a file", "no such file as 'B.npz' (there is 'b.npz')"),
        ("b.npz,\x1b]0;x\x07,p1,train", "a action without control", r"'\x1b]0;x\x07'"),
        ("b.npz,wave,\u202ep1,train", "a subject without control", r"'\u202ep1'"),
    ],
)
def test_a_wrong_row_is_quarantined_with_its_line(tmp_path: Path, row: str, expected: str, seen: str) -> None:
    clip(tmp_path / "a.npz")
    clip(tmp_path / "b.npz")
    table = f"file,action,subject,split\na.npz,kick,p1,train\n\n{row}\n"
    items = {item.name: item for item in CUSTOM.read(write(tmp_path, table, classes=["kick", "wave"]))}
    assert len(items) == 2
    assert isinstance(items.pop("a"), Sequence)
    [damaged] = items.values()
    assert isinstance(damaged, Damaged)
    assert (damaged.file, damaged.line) == ("clips.csv", 4)
    assert damaged.expected.startswith(expected)
    assert damaged.seen.startswith(seen)


def test_however_a_file_is_spelt_its_row_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is plain is found out by columns and folders, all else row by row."""
    asked: list[str] = []
    fault = clip_table._fault
    monkeypatch.setattr(
        clip_table, "_fault", lambda row, *rest: asked.append(row["file"]) or fault(row, *rest)
    )
    (tmp_path / "a").mkdir()
    clip(tmp_path / "a" / "x.npz")
    (tmp_path / "linked").symlink_to("a")
    (tmp_path / "y.npz").symlink_to("a/x.npz")
    read = {}
    for spelt in ("a/x.npz", "./a/x.npz", r"a\x.npz", "a//x.npz", "linked/x.npz", "y.npz"):
        table = f"file,action,name,subject,split\n{spelt},wave,one,07,test\n,wave,two,1,train\n"
        read[spelt] = clip_table.read_clip_table(write(tmp_path, table), None)
    plain = read["a/x.npz"]
    assert plain.rows == {"one": {"action": 0, "subject": 7, "split": 2}}
    assert [source.path.name for source in plain.sources] == ["x.npz", "clips.csv"]
    assert sorted(asked) == sorted(
        [*(spelt for spelt in read if spelt not in ("a/x.npz", "linked/x.npz")), *[""] * 6]
    )
    for spelt, table in read.items():
        assert table.rows == plain.rows
        assert table.faults == plain.faults
        assert table.sources == plain.sources or spelt in ("linked/x.npz", "y.npz")


def test_damaged_files_and_names_that_occur_twice_are_quarantined(tmp_path: Path) -> None:
    for name in "ab":
        clip(tmp_path / f"{name}.npz")
    clip(tmp_path / "c.npz", shape=(3, 25, 2))
    (tmp_path / "d.json").write_bytes(b"")
    (tmp_path / "e.csv").write_bytes(b"frame,joint,x,y\n0,0,1,1\n0,\xff,1,1\n")
    (tmp_path / "f.csv").write_bytes(b"frame,joint,x,y\n0,0,1,1\n0,1,inf,1\n")
    (tmp_path / "g.csv").write_bytes(b"frame,joint,x,y\n0,0,,1\n")
    names = ["a.npz", "b.npz", "c.npz", "d.json", "e.csv", "f.csv", "g.csv", "a.npz"]
    table = "file,action,name\n" + "".join(
        f"{name},wave,{'a' if name == 'b.npz' else ''}\n" for name in names
    )
    items = list(CUSTOM.read(write(tmp_path, table)))
    kinds = [type(item).__name__ for item in items]
    assert kinds == ["Sequence", *["Damaged"] * 7]
    damaged = {(item.name, item.file): (item.line, item.expected, item.seen) for item in items[1:]}  # type: ignore[union-attr]
    assert damaged == {
        ("a", "a.npz"): (None, "a name that occurs once", "the name of a.npz"),
        ("a", "b.npz"): (None, "a name that occurs once", "the name of a.npz"),
        ("c", "c.npz"): (
            None,
            "keypoints [person, frame, 17, 2] or [frame, 17, 2], the joints of coco17",
            "shape [1, 3, 25, 2]",
        ),
        ("d", "d.json"): (None, "keypoints", "an empty file"),
        ("e", "e.csv"): (3, "text in UTF-8", "byte 0xff"),
        ("f", "f.csv"): (
            None,
            "coordinates that are numbers, or NaN for a missing joint",
            "inf in person 0, frame 0 (counted from 0), joint left eye",
        ),
        ("g", "g.csv"): (None, "at least one keypoint that is not missing", "none"),
    }


def test_a_missing_file_of_one_that_was_there_is_quarantined(folder: Path) -> None:
    corpus = CUSTOM.open(folder)
    (folder / "c.csv").unlink()
    with pytest.raises(SkeletonFileError, match=r"c\.csv: expected a readable file, saw No such file"):
        corpus.load(corpus.sources(folder)[0])


TABLE = "file,action,subject\na.npz,wave,p1\n"


@pytest.mark.parametrize(
    ("table", "facts", "message"),
    [
        ("", {}, r"clips\.csv: expected a table of clips, saw No such file"),
        ("file,action\n", {}, r"clips\.csv: expected a row for each clip, saw none"),
        (
            "file;action\na.npz;wave\n",
            {},
            r"clips\.csv, line 1: expected the columns file, action and, .*file;ac",
        ),
        ("file,action,subjcet\na.npz,wave,1\n", {}, r"clips\.csv, line 1: .*saw file, action, subjcet"),
        ("file,action\na.npz,wave,1\n", {}, r"clips\.csv, line 2: expected 2 fields, as in line 1, saw 3"),
        (TABLE, {"layout": "coco"}, r"corpus\.yml, layout: expected one of .*saw 'coco'"),
        (TABLE, {"units": "cm"}, r"corpus\.yml, units: Input should be 'metres' or 'pixels'; saw 'cm'"),
        (TABLE, {"person": 1}, r"corpus\.yml, person: Extra inputs .*its keys: layout, .*saw 1"),
        (TABLE, {"persons": 0}, r"corpus\.yml, persons: .*greater than or equal to 1; saw 0"),
        (
            TABLE,
            {"classes": ["a", "a"]},
            r"corpus\.yml, the whole file: expected classes with different names",
        ),
        (TABLE, {"classes": [""]}, r"corpus\.yml, classes\.0: .*at least 1 character"),
        (
            TABLE,
            {"protocols": {"x": {"by": "split", "train": [1]}}},
            r"protocols\.x\.by: .*'subject', 'camera'",
        ),
        (TABLE, {"protocols": {"x": {"by": "camera", "train": [1]}}}, r"x\.by: .*\(subject\), saw 'camera'"),
        (TABLE, {"protocols": {"x": {"by": "subject", "train": ["p2"]}}}, r"x\.train: .*\(p1\), saw 'p2'"),
        (TABLE, {"protocols": {"x/y": {"by": "subject", "train": ["p1"]}}}, r"protocols\.x/y"),
        (
            TABLE,
            {"protocols": {"x": {"by": "subject", "train": ["p1"], "test": ["p1"]}}},
            r"protocols\.x: expected each value in one of train, test, val, saw p1 again",
        ),
        ("", {"pickle": "a.pkl"}, r"expected classes beside pickle"),
        ("", {"pickle": "a.pkl", "classes": ["a"]}, r"corpus\.yml, pickle: .*in this folder, saw 'a\.pkl'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, table: str, facts: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        CUSTOM.open(write(tmp_path, table, **facts))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("place", ["../elsewhere", "link", "/etc/passwd.pkl", "\0"])
@pytest.mark.parametrize("key", ["pickle", "layout", "file"])
def test_nothing_outside_the_folder_is_read(tmp_path: Path, key: str, place: str) -> None:
    elsewhere, folder = tmp_path / "elsewhere.pkl", tmp_path / "raw"
    elsewhere.write_bytes(b"secret")
    folder.mkdir()
    clip(folder / "a.npz")
    (folder / "link.pkl").symlink_to(elsewhere)
    (folder / "link.npz").symlink_to(elsewhere)
    ending = ".npz" if key == "file" else ".pkl"
    name = place if place.startswith("/") else place + ending
    if key == "file":
        [_, item] = CUSTOM.read(write(folder, f"file,action,name\na.npz,wave,a\n{name},wave,b\n"))
        assert isinstance(item, Damaged)
        assert "expected a file in the folder" in f"expected {item.expected}" or "\\x00" in item.seen
        return
    facts = {key: name, "classes": ["a"]}
    with pytest.raises(UserError, match=f"corpus.yml, {key}: expected .*in this folder, saw") as caught:
        CUSTOM.open(write(folder, TABLE, **facts))
    assert "secret" not in caught.value.message


def test_names_and_lists_that_do_not_fit_are_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abc":
        clip(tmp_path / f"{name}.npz")
    rows = ["a.npz,wave,x,Anna,train", "a.npz,Wave,y,anna,test", "b.npz,wa\u0301ve,z,ben,train"]
    table = "file,action,name,subject,split\n" + "\n".join(rows)
    for _ in range(2):
        CUSTOM.open(write(tmp_path, table))
    said = [record.getMessage().partition("clips.csv")[2] for record in caplog.records]
    assert said == [
        ", action: 'Wave' and 'wave' and 'wa\u0301ve' count as 3, though they differ in spelling alone",
        ", subject: 'Anna' and 'anna' count as 2, though they differ in spelling alone",
        ": 1 are in more than one part, such as a.npz",
        ": 1 keypoint files of the folder are in no row, such as c.npz",
    ]


def test_lists_of_a_pickle_that_do_not_fit_are_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keypoint = np.full((1, 4, 17, 2), 2, np.float16)
    names = [f"v{number}" for number in range(4)]
    clips = [{"frame_dir": name, "label": 0, "total_frames": 4, "keypoint": keypoint} for name in names]
    split = {"x_val": ["v1"], "x_train": ["v0", "v1"], "y_train": ["v0.mp4"], "y_val": names}
    (tmp_path / "all.pkl").write_bytes(pickle.dumps({"split": split, "annotations": clips}))
    forget()
    corpus = CUSTOM.open(write(tmp_path, pickle="all.pkl", classes=["a"]))
    both, foreign = (record.getMessage().partition("all.pkl: ")[2] for record in caplog.records)
    assert both == "1 are in more than one part, such as v1; 2 of 4 are in no part and not used, such as v2"
    assert foreign == "1 names of its lists are no frame_dir (y), such as v0.mp4 (there is v0)"
    assert corpus.parse_name("v1")["split_x"] == 2  # what tests does not train


def test_yaml_is_read_as_it_looks(tmp_path: Path) -> None:
    for name in "abc":
        clip(tmp_path / f"{name}.npz")
    (tmp_path / "clips.csv").write_text("file,action,subject\na.npz,on,08\nb.npz,no,09\nc.npz,on,010\n")
    known = "layout: coco17\nunits: pixels\nclasses: [on, no]\n"
    (tmp_path / "corpus.yml").write_text(
        known + "protocols: {x: {by: subject, train: [08, 9], test: ['010']}}\n"
    )
    corpus = CUSTOM.open(tmp_path)
    assert corpus.class_names == ("on", "no")
    assert (corpus.protocols["x"].train, corpus.protocols["x"].test) == ({8, 9}, {10})
    for wrong, message in (
        ("a: &a {<<: *a}\n", "expected YAML|recursi|<<"),
        ("units: metres\n", "line 4: expected YAML, saw: the key 'units' again"),
        ("protocols: {x: {by: subject, train: [true]}}\n", "put it in quotes"),
        ("persons: !!timestamp x\n", "expected YAML"),
        ("# " + "x" * 2**18, "at most 262144 bytes"),
        ('pickle: "\\e[8m.pkl"', r"saw '\\x1b\[8m\.pkl'"),
    ):
        (tmp_path / "corpus.yml").write_text(known + wrong)
        with pytest.raises(UserError, match=message):
            CUSTOM.open(tmp_path)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"expected a folder with corpus\.yml, saw none in it\. Describe your"
    ):
        CUSTOM.open(tmp_path)
    with pytest.raises(UserError, match=r"saw no such folder\. Describe your"):
        CUSTOM.sources(tmp_path / "none")
    (tmp_path / "clips.csv").write_bytes("file,action\na.npz,grüßen\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"clips\.csv: expected text in UTF-8"):
        CUSTOM.open(write(tmp_path))


def test_a_pickle(tmp_path: Path) -> None:
    keypoint = np.full((1, 4, 17, 2), 2, np.float16)
    clips = [
        {"frame_dir": name, "label": label, "total_frames": 4, "keypoint": keypoint}
        for name, label in [("v1", 0), ("v2", 1), ("v3", 1), ("v3", 0), ("v4", 2), ("v5", None)]
    ]
    split = {"xsub_train": ["v1", "v3"], "xsub_val": ["v2"], "other_train": ["v1"]}
    (tmp_path / "all.pkl").write_bytes(pickle.dumps({"split": split, "annotations": clips}))
    forget()
    corpus = CUSTOM.open(write(tmp_path, pickle="all.pkl", classes=["sit", "stand"]))
    assert list(corpus.protocols) == ["xsub", "k_fold"]
    index = pd.DataFrame([{"name": name, **corpus.parse_name(name)} for name in ("v1", "v2", "v3")])
    assert list(index["action"]) == [0, 1, 1]
    assert list(corpus.protocols["xsub"](index, val_share=0)) == ["train", "test", "train"]
    assert sorted(corpus.protocols["xsub"](index)) == ["test", "train", "train"]  # neither can be spared
    items = list(corpus.read(tmp_path))
    assert [item.name for item in items] == ["v1", "v2", "v3", "v3", "v4", "v5"]
    for item in items[:3]:
        assert isinstance(item, Sequence)
        np.testing.assert_array_equal(item.data, np.full((1, 4, 17, 2), [2, -2]))
    assert [(item.expected, item.seen) for item in items[3:] if isinstance(item, Damaged)] == [
        ("a name that occurs once", "the name of all.pkl"),
        ("a label from 0 to 1, as corpus.yml has 2 classes", "2"),
        ("a label from 0 to 1, as corpus.yml has 2 classes", "a NoneType"),
    ]


def test_a_pickle_without_parts_is_drawn(tmp_path: Path) -> None:
    keypoint = np.full((1, 4, 17, 2), 2, np.float16)
    clips = [
        {"frame_dir": f"v{i}", "label": i % 2, "total_frames": 4, "keypoint": keypoint} for i in range(20)
    ]
    (tmp_path / "all.pkl").write_bytes(pickle.dumps({"annotations": clips}))
    forget()
    corpus = CUSTOM.open(write(tmp_path, pickle="all.pkl", classes=["sit", "stand"]))
    index = index_of(corpus, tmp_path)
    split = corpus.protocols["split"](index)
    assert split.value_counts().to_dict() == {"train": 14, "test": 4, "val": 2}


def test_what_is_known_before_a_folder_is_opened() -> None:
    assert CUSTOM.protocols == {}
    assert CUSTOM.class_names == ()
    with pytest.raises(UserError, match="the name of a clip"):
        CUSTOM.parse_name("a")
    with pytest.raises(UserError, match="an opened folder"):
        CUSTOM.parse("a", b"1")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([1, 2], "saw 1 to 2: they begin at 1"), ([2, 2], "saw 2 to 2: they begin at 1"), ([0, 2], "")],
)
def test_labels_from_one_are_refused(tmp_path: Path, labels: list[int], expected: str) -> None:
    clips = [{"frame_dir": f"v{i}", "label": label} for i, label in enumerate(labels)]
    (tmp_path / "all.pkl").write_bytes(pickle.dumps({"split": {}, "annotations": clips}))
    forget()
    folder = write(tmp_path, pickle="all.pkl", classes=["sit", "stand"])
    if not expected:  # a label too large is that clip's own fault
        assert len(CUSTOM.open(folder).faults) == 1
        return
    with pytest.raises(UserError, match=f"all.pkl: expected labels from 0 to 1.*{expected}"):
        CUSTOM.open(folder)


def test_the_drawn_test_part_leaves_every_class_its_training_clips(tmp_path: Path) -> None:
    rows = ["file,action,subject"]
    for subject in "abcdef":
        for action in ["wave", *([f"only {subject}"] if subject in "abcde" else [])]:
            clip(tmp_path / f"{subject}{action[-1]}.npz")
            rows.append(f"{subject}{action[-1]}.npz,{action},{subject}")
    corpus = CUSTOM.open(write(tmp_path, "\n".join(rows)))
    index = index_of(corpus, tmp_path)
    split = corpus.protocols["split"](index, val_share=0)
    assert set(index["subject"][split == "test"]) == {5}  # the one who has no class of their own
