from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ntu_names import official_names

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.corpora.ntu import MISSING, MISSING_60
from llmar_pipeline.corpora.splits import split_clips
from llmar_pipeline.errors import UserError
from llmar_pipeline.ingestion.completeness import compare
from llmar_pipeline.skeletons.sequence import Damaged, Sequence, SkeletonFileError

NTU60, NTU120 = CORPORA["ntu60"], CORPORA["ntu120"]
REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "ntu_rgbd"


def index_of(names: list[str]) -> pd.DataFrame:
    return pd.DataFrame([{"name": name, **NTU120.parse_name(name)} for name in names])


def test_class_names() -> None:
    assert len(NTU60.class_names) == 60
    assert len(set(NTU120.class_names)) == 120
    assert NTU120.class_names[:60] == NTU60.class_names
    assert NTU60.class_names[0] == "drink water"
    assert NTU60.class_names[8] == "standing up (from sitting position)"
    assert NTU60.class_names[59] == "walking apart from each other"
    assert NTU120.class_names[105] == "hit other person with something"
    assert NTU120.class_names[119] == "finger-guessing game (playing rock-paper-scissors)"


def test_parse_name() -> None:
    expected = {"action": 59, "subject": 3, "camera": 2, "setup": 17, "replication": 1}
    assert NTU60.parse_name("S017C002P003R001A060.skeleton") == expected
    assert NTU60.parse_name("raw/S017C002P003R001A060") == expected
    assert NTU120.parse_name("S032C003P106R002A120")["action"] == 119


@pytest.mark.parametrize(
    "name", ["S017C002P003R001A061", "S001C001P001R001A000", "S1C1P1R1A1", "xS001C001P001R001A001"]
)
def test_foreign_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="expected a name such as S001C002P003R002A013, action 1 to 60"):
        NTU60.parse_name(name + ".skeleton")


def test_missing_lists() -> None:
    assert (len(MISSING_60), len(MISSING)) == (302, 535)
    assert MISSING_60 < MISSING
    assert all(NTU60.parse_name(name) for name in MISSING_60)
    assert all(NTU120.parse_name(name) for name in MISSING)


def test_official_counts_fit_the_missing_lists() -> None:
    """A person's actions in a setup fill 3 cameras x 2 replications x 60 actions but for the missing list."""
    missing_60, missing = index_of(sorted(MISSING_60)), index_of(sorted(MISSING))
    front = missing_60["camera"].isin([2, 3])
    assert 37_646 + front.sum() == 56_880 * 2 // 3
    assert 18_932 + (~front).sum() == 56_880 // 3

    def left_out(index: pd.DataFrame, column: str, values: frozenset[int]) -> tuple[int, int]:
        inside = int(index[column].isin(values).sum())
        return inside, len(index) - inside

    for index, column, values, counts in [
        (missing_60, "subject", NTU60.protocols["xsub"].train, (40_091, 16_487)),
        (missing, "subject", NTU120.protocols["xsub"].train, (63_026, 50_919)),
        (missing, "setup", NTU120.protocols["xset"].train, (54_468, 59_477)),
    ]:
        for kept, gone in zip(counts, left_out(index, column, values), strict=True):
            assert (kept + gone) % 360 == 0


def official_split(corpus: str, protocol: str, names: list[str]) -> list[str]:
    return list(CORPORA[corpus].protocols[protocol](index_of(names), val_share=0))


def test_all_official_names_are_split_as_the_authors_count() -> None:
    """And none validates where none is asked for; where a tenth is, two subjects are."""
    names = official_names()
    index = index_of(names)
    assert (len(names), len(set(names)), index["subject"].nunique()) == (56_578, 56_578, 40)
    facts = CorpusFacts.of(NTU60)
    for protocol, counts in (("xsub", (40_091, 16_487)), ("xview", (37_646, 18_932))):
        split = split_clips(index, facts, protocol, val_share=0)["split"].value_counts().to_dict()
        assert split == dict(zip(("train", "test"), counts, strict=True))
    tenth = split_clips(index, facts, "xsub")["split"]
    assert index["subject"].groupby(tenth).nunique().to_dict() == {"train": 18, "val": 2, "test": 20}
    found, amiss = compare(index, pd.DataFrame(columns=["name"]), NTU60)
    assert (found, len(amiss)) == ("", 0)


def test_protocols() -> None:
    assert list(NTU60.protocols) == ["xsub", "xview"]
    assert list(NTU120.protocols) == ["xsub", "xset"]
    assert len(NTU60.protocols["xsub"].train) == 20
    assert len(NTU120.protocols["xsub"].train) == 53
    names = [f"S001C00{camera}P00{subject}R001A001" for camera in (1, 2, 3) for subject in (1, 3)]
    assert official_split("ntu60", "xsub", names) == ["train", "test"] * 3
    assert official_split("ntu60", "xview", names) == ["test", "test", "train", "train", "train", "train"]
    names = ["S018C001P045R001A061", "S019C001P045R001A061", "S018C001P044R001A061", "S031C001P103R001A061"]
    assert official_split("ntu120", "xsub", names) == ["train", "train", "test", "train"]
    assert official_split("ntu120", "xset", names) == ["train", "test", "train", "test"]
    assert official_split("ntu60", "xsub", ["S001C002P005R002A008", "S001C002P005R001A008"]) == [
        "unused",
        "train",
    ]


def body(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(25, 3)).astype(np.float32).round(4)


def test_what_lies_beside_recordings(
    tmp_path: Path, skeleton_text: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    recording = skeleton_text([[("7", body(0))], [("7", body(1))]])
    raw, elsewhere = tmp_path / "raw", tmp_path / "elsewhere"
    for folder in (raw / "__MACOSX", elsewhere):
        folder.mkdir(parents=True)
    for path in (raw / "__MACOSX", raw):
        (path / "._S001C001P001R001A001.skeleton").write_bytes(b"\0\5\x16\7")
    (raw / "S001C001P001R001A002.SKELETON").write_text(recording)
    (raw / "S018C001P001R001A061.skeleton").write_text(recording)
    (raw / "\x1b[8m.skeleton").write_text(recording)
    (elsewhere / "S001C001P001R001A003.skeleton").write_text(recording)
    (raw / "away").symlink_to(elsewhere)
    (raw / "S001C001P001R001A004.skeleton").symlink_to(elsewhere / "S001C001P001R001A003.skeleton")
    (raw / "S001C001P001R001A005.skeleton").symlink_to(raw / "S001C001P001R001A002.SKELETON")
    linked = tmp_path / "linked"
    linked.symlink_to(raw)
    escape, *two, other = NTU60.read(linked)
    assert [item.name for item in two] == ["S001C001P001R001A002", "S001C001P001R001A005"]
    assert all(isinstance(item, Sequence) for item in two)
    assert isinstance(other, Damaged)
    assert "--env=ntu120" in other.expected
    assert isinstance(escape, Damaged)
    assert escape.file == "\\x1b[8m.skeleton"
    assert caplog.messages[0].startswith(f"2 links leave {linked} and are not followed, such as ")


def test_a_body_of_zeros_is_nobody(skeleton_text: Callable[..., str]) -> None:
    one_joint = body(3)
    one_joint[5] = 0
    frames = [[("7", body(n)), ("8", 0 * body(0))] for n in range(15)] + [[("7", one_joint)]]
    sequence = NTU60.parse("S001C001P001R001A001", skeleton_text(frames).encode())
    assert sequence.data.shape == (1, 16, 25, 3)
    assert sequence.bodies == ()
    assert np.argwhere(np.isnan(sequence.data[..., 0])).tolist() == [[0, 15, 5]]
    with pytest.raises(SkeletonFileError, match="a body in at least one frame"):
        NTU60.parse("S001C001P001R001A001", skeleton_text([[("8", 0 * body(0))]] * 3).encode())


def test_read_a_folder(tmp_path: Path, skeleton_text: Callable[..., str]) -> None:
    recording = skeleton_text([[("7", body(0))], [], [("7", body(1))]])
    deep = tmp_path / "b" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "README.txt").write_text("not a recording")
    (tmp_path / "a.skeleton").write_text(recording)
    (deep / "S001C001P001R001A002.skeleton").write_text(recording)
    (deep / "S001C002P005R002A008.skeleton").write_text("on the missing list")
    (tmp_path / "b" / "S001C001P001R001A001.skeleton").write_text(recording.replace("\n25\n", "\n24\n"))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "S001C001P001R001A002.skeleton").write_text(recording)
    (tmp_path / "c" / "S001C001P001R001A003.skeleton").write_text("")
    (tmp_path / "c" / "S001C001P001R001A004.skeleton").write_bytes(b"1\n1\n\xff")
    (tmp_path / "c" / "S001C001P001R001A005.skeleton").write_text("2\n0\n0\n")
    (tmp_path / "c" / "S001C001P001R001A006.skeleton").symlink_to(tmp_path / "nowhere")

    items = list(NTU60.read(tmp_path))

    sequence = items[1]
    assert isinstance(sequence, Sequence)
    assert sequence.name == "S001C001P001R001A002"
    np.testing.assert_array_equal(sequence.data, [[body(0), body(1)]])
    damaged = [item for item in items if isinstance(item, Damaged)]
    assert [(item.file, item.line) for item in damaged] == [
        ("b/S001C001P001R001A001.skeleton", 4),
        ("c/S001C001P001R001A002.skeleton", None),
        ("c/S001C001P001R001A003.skeleton", None),
        ("c/S001C001P001R001A004.skeleton", 3),
        ("c/S001C001P001R001A005.skeleton", None),
        ("c/S001C001P001R001A006.skeleton", None),
        ("a.skeleton", None),
    ]
    assert [(item.expected, item.seen) for item in damaged] == [
        ("25 joints of body 1 of 1 in frame 1 of 3", "'24'"),
        ("a name that occurs once", "the name of b/deep/S001C001P001R001A002.skeleton"),
        ("a skeleton recording", "an empty file"),
        ("text in UTF-8", "byte 0xff"),
        ("a body in at least one frame", "2 frames without one"),
        ("a readable file", "No such file or directory"),
        ("a name such as S001C002P003R002A013, action 1 to 60", "'a'"),
    ]
    assert damaged[-1].name == "a"


def test_workers_change_nothing(tmp_path: Path, skeleton_text: Callable[..., str]) -> None:
    for action in range(1, 41):
        text = skeleton_text([[("7", body(action))]]) if action % 7 else "damaged"
        (tmp_path / f"S001C001P001R001A{action:03}.skeleton").write_text(text)

    def comparable(item: Sequence | Damaged) -> object:
        return (item.name, item.data.tobytes()) if isinstance(item, Sequence) else item

    alone = [comparable(item) for item in NTU60.read(tmp_path)]
    assert len(alone) == 40
    assert [comparable(item) for item in NTU60.read(tmp_path, workers=2)] == alone


def test_no_files_says_where_to_get_them(tmp_path: Path) -> None:
    expected = r"expected ntu60 files \(\*.skeleton\) or one pickle of pyskl \(\*.pkl\), saw none\. Request"
    with pytest.raises(UserError, match=expected):
        NTU60.read(tmp_path)
    with pytest.raises(UserError, match="saw no such folder"):
        NTU120.read(tmp_path / "absent")


def test_load_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "S001C001P001R001A001.skeleton"
    path.write_text("1\nx\n")
    with pytest.raises(SkeletonFileError, match=r"A001.skeleton, line 2: expected the number of bodies"):
        NTU60.load(path)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real NTU RGB+D samples are not on this machine")
def test_real_recordings() -> None:
    items = list(NTU60.read(REAL))
    assert {item.name: item.data.shape[:2] for item in items if isinstance(item, Sequence)} == {
        "S001C001P001R001A001": (1, 103),
        "S001C001P001R001A011": (1, 82),
        "S001C001P001R001A050": (2, 74),
        "S001C003P008R002A058": (2, 70),
        "S002C001P003R001A003": (1, 100),
        "S017C003P020R002A054": (2, 42),
        "S017C003P020R002A055": (2, 66),
    }
    first = items[0]
    assert isinstance(first, Sequence)
    np.testing.assert_array_equal(first.data[0, 0, 0], np.float32([0.2181153, 0.1725972, 3.785547]))
    assert not np.isnan(first.data).any()
