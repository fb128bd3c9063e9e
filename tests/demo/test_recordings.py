import json
import re
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from llmar_pipeline.corpora.ntu import NTU60
from llmar_pipeline.demo.recordings import DAMAGE, DemoConfig, generate_recordings
from llmar_pipeline.demo.sensor import record, to_camera
from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Damaged, Sequence

SMALL = DemoConfig(subjects=(1, 3), cameras=(1, 2), actions=(8, 9, 59), damaged_files=0)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def check_layout(text: str) -> list[list[int]]:
    """Counts and fields of a file agree; returns the body ids of each frame."""
    lines = iter(line.split() for line in text.splitlines())
    ids: list[list[int]] = []
    for _ in range(int(next(lines)[0])):
        ids.append([])
        for _ in range(int(next(lines)[0])):
            body = next(lines)
            assert len(body) == 10
            ids[-1].append(int(body[0]))
            assert next(lines) == ["25"]
            for _ in range(25):
                joint = next(lines)
                assert len(joint) == 12
                assert np.isfinite([float(field) for field in joint]).all()
                assert joint[-1] in {"0", "1", "2"}
    assert list(lines) == []
    return ids


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    generate_recordings(folder, SMALL)
    return folder


def test_default_names():
    config = DemoConfig()
    assert len(config.names) == 12 * 3 * 10
    assert len(DemoConfig(replications=2, damaged_files=0).names) > 700
    assert {int(name[17:20]) for name in config.names} == {8, 9, 10, 22, 23, 24, 27, 35, 59, 60}
    assert "S001C001P003R001A008" in config.names  # setups[3 % 2]
    assert not NTU60.excluded & set(config.names)


def test_damaged_files_belong_to_training_performers():
    damage = DemoConfig(damaged_files=6).damage
    assert sorted(damage.values()) == sorted([*DAMAGE, *DAMAGE[:2]])
    assert {int(name[9:12]) for name in damage} <= {1, 2, 4, 5, 8, 9, 13, 14}


def test_files_names_and_layout(small: Path):
    files = sorted(small.glob("*.skeleton"))
    assert [path.stem for path in files] == SMALL.names
    assert len(files) == 2 * 2 * 3
    for path in files:
        assert re.fullmatch(r"S\d{3}C\d{3}P\d{3}R\d{3}A\d{3}", path.stem)
        ids = check_layout(path.read_text(encoding="ascii"))
        assert 40 <= len(ids) <= 90
        seen = {body for frame in ids for body in frame}
        assert all(body > 2**53 and len(str(body)) == 17 for body in seen)
        assert len({float(body) for body in seen}) == 1  # floats cannot tell them apart
        if path.stem.endswith("A059"):
            assert len(seen) >= 2
    assert "SYNTHETIC" in (small / "README.txt").read_text(encoding="utf-8")


def test_the_ordinary_reader_reads_them(small: Path):
    sequences = list(NTU60.read(small))
    assert len(sequences) == 12
    for sequence in sequences:
        assert isinstance(sequence, Sequence)
        action = NTU60.parse_name(f"{sequence.name}.skeleton")["action"] + 1
        assert sequence.n_persons == (2 if action == 59 else 1)
        assert 2.0 < np.nanmin(sequence.data[..., 2]) < np.nanmax(sequence.data[..., 2]) < 6.0
        pelvis = sequence.data[0, :, 0, 1]
        if action != 59:
            assert np.sign(pelvis[-5:].mean() - pelvis[:5].mean()) == (-1 if action == 8 else 1)


def test_same_settings_same_bytes(small: Path, tmp_path: Path):
    generate_recordings(tmp_path, SMALL)
    assert content(tmp_path) == content(small)
    other = SMALL.model_copy(update={"seed": 1})
    generate_recordings(tmp_path, other)
    same = {name for name, data in content(tmp_path).items() if data == (small / name).read_bytes()}
    assert same == {"README.txt"}


def generate(folder: Path, config: DemoConfig) -> dict[str, bytes]:
    generate_recordings(folder, config)
    return {path.stem: path.read_bytes() for path in folder.glob("*.skeleton")}


def test_a_file_depends_on_no_other(small: Path, tmp_path: Path):
    part = generate(tmp_path, DemoConfig(subjects=(3,), cameras=(2,), actions=(59, 9), damaged_files=0))
    assert len(part) == 2
    for name, data in part.items():
        assert (small / f"{name}.skeleton").read_bytes() == data


def test_damaged_files_are_listed_and_found_by_the_reader(tmp_path: Path):
    config = DemoConfig(subjects=(1, 3), cameras=(1, 2), actions=(8, 10, 23), damaged_files=4)
    files = generate_recordings(tmp_path, config)
    assert list(files.columns) == ["name", "damaged", "damage"]
    listed = files[files.damaged]
    assert sorted(listed.damage) == sorted(DAMAGE)
    assert (files[~files.damaged].damage == "").all()
    found = {item.name for item in NTU60.read(tmp_path) if isinstance(item, Damaged)}
    assert found == set(listed.name)
    assert json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["files"] == files.to_dict(
        "records"
    )


def test_more_damaged_files_than_training_files_are_refused():
    with pytest.raises(ValidationError, match="at most 3"):
        DemoConfig(subjects=(1, 3), cameras=(1,), actions=(8, 10, 23), damaged_files=4)


def test_a_finished_folder_is_left_alone(tmp_path: Path):
    first = generate_recordings(tmp_path, SMALL)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = generate_recordings(tmp_path, SMALL)
    assert first.equals(again)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times


def test_an_unfinished_folder_is_written_anew(small: Path, tmp_path: Path):
    generate_recordings(tmp_path, SMALL)
    (tmp_path / "manifest.json").unlink()
    spoilt = tmp_path / f"{SMALL.names[0]}.skeleton"
    spoilt.write_text("half")
    generate_recordings(tmp_path, SMALL)
    assert content(tmp_path) == content(small)
    spoilt.unlink()
    generate_recordings(tmp_path, SMALL)
    assert content(tmp_path) == content(small)


def test_other_settings_replace_the_files(tmp_path: Path):
    generate_recordings(tmp_path, SMALL)
    config = DemoConfig(subjects=(3,), cameras=(1,), actions=(10,), damaged_files=0)
    generate_recordings(tmp_path, config)
    assert [path.stem for path in tmp_path.glob("*.skeleton")] == ["S001C001P003R001A010"]
    assert json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["synthetic"] is True


@pytest.mark.parametrize("marked", [False, True])
def test_files_of_another_origin_are_never_deleted(tmp_path: Path, marked: bool):
    if marked:
        generate_recordings(tmp_path, SMALL)
        (tmp_path / "manifest.json").unlink()
    real = tmp_path / ("S017C003P020R002A054.skeleton" if marked else f"{SMALL.names[0]}.skeleton")
    real.write_text("real")
    with pytest.raises(UserError, match=real.name):
        generate_recordings(tmp_path, SMALL)
    assert real.read_text() == "real"


@pytest.mark.parametrize(
    "wrong",
    [{"actions": (1,)}, {"cameras": (4,)}, {"subjects": ()}, {"setups": (0,)}, {"noise": -1}, {"x": 1}],
)
def test_wrong_settings_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        DemoConfig(**{"damaged_files": 0, **wrong})


def test_to_camera_by_hand():
    # At the height of its aim the sensor looks level: 0.9 m up and 3 m away.
    level = np.array([3.0, 0.9])
    points = np.array([[0, 0.9, 0], [1, 0.9, 0], [0, 1.9, 0], [0, 0.9, 1.0]])
    # Camera 1 looks along -z, and its own left is the world's -x.
    np.testing.assert_allclose(
        to_camera(points, 1, level), [[0, 0, 3], [-1, 0, 3], [0, 1, 3], [0, 0, 2]], atol=1e-12
    )
    # Camera 3 stands at +45 degrees: a step of 1 m along x is 0.7071 m nearer and 0.7071 m to its right.
    np.testing.assert_allclose(
        to_camera(points[1], 3, level), [-np.sqrt(0.5), 0, 3 - np.sqrt(0.5)], atol=1e-12
    )
    far = to_camera(np.random.default_rng(0).normal(size=(9, 3)), 2, np.array([3.0, 1.3]))
    assert far.shape == (9, 3)


def test_a_performer_who_faces_the_sensor_has_the_left_hand_at_negative_x(small: Path):
    for name in ("S001C002P001R001A009", "S001C002P003R001A009"):  # camera 2, as in real files
        joints = NTU60.load(small / f"{name}.skeleton").data[0]
        assert (joints[:, 4, 0] < joints[:, 8, 0]).mean() > 0.9
        assert (joints[:, 15, 2] < joints[:, 14, 2]).mean() > 0.8  # toes towards the sensor


def test_dropped_frames_ghosts_and_line_ends():
    world = np.zeros((1, 50, 25, 3)) + np.random.default_rng(0).normal(0, 0.3, (25, 3)) + [0, 1, 0]
    texts = [record(world, 1, np.array([3.0, 1.2]), 0.004, 0.2, np.random.default_rng(s)) for s in range(100)]
    ids = [check_layout(text) for text in texts]
    empty = np.mean([len(frame) == 0 for file in ids for frame in file])
    assert empty == pytest.approx(0.2, abs=0.02)
    ghosts = [file for file in ids if len({body for frame in file for body in frame}) == 2]
    assert 1 <= len(ghosts) <= 15
    for file in ghosts:
        assert 1 <= sum(len(frame) == 2 for frame in file) <= 11
    assert 3 <= sum("\r\n" in text for text in texts) <= 30
    still = record(world, 1, np.array([3.0, 1.2]), 0.0, 0.0, np.random.default_rng(7))
    first = still.splitlines()[4].split()
    camera = to_camera(world[0, 0, 0], 1, np.array([3.0, 1.2]))
    np.testing.assert_allclose([float(field) for field in first[:3]], camera, rtol=1e-6)
    # Pinhole projection; the orientation is a unit quaternion.
    assert float(first[3]) == pytest.approx(256 + 365 * camera[0] / camera[2], rel=1e-6)
    assert np.linalg.norm([float(field) for field in first[7:11]]) == pytest.approx(1, abs=1e-5)
