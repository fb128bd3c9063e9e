import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import SequenceStore, StoreWriter


def clip(name: str, persons: int, frames: int) -> Sequence:
    rng = np.random.default_rng(frames)
    data = rng.normal(size=(persons, frames, 4, 3)).astype(np.float32)
    data[0, 0, 2] = np.nan
    return Sequence(name, data)


CLIPS = [clip("a", 1, 3), clip("b", 2, 7), clip("c", 2, 1)]


def write(folder: Path, clips: list[Sequence]) -> None:
    with StoreWriter(folder, persons=2, joints=4, coordinates=3) as writer:
        for item in clips:
            writer.append(item)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path, CLIPS)
    store = SequenceStore.open(tmp_path)
    assert (len(store), store.names, store.lengths, store.persons) == (3, ["a", "b", "c"], [3, 7, 1], 2)
    np.testing.assert_array_equal(store[0].data[:1], CLIPS[0].data)
    assert np.isnan(store[0].data[1]).all()
    assert store[0].data.shape == (2, 3, 4, 3)
    np.testing.assert_array_equal(store[-2].data, CLIPS[1].data)
    np.testing.assert_array_equal(store.by_name("c").data, CLIPS[2].data)
    assert [sequence.name for sequence in store] == ["a", "b", "c"]
    with pytest.raises(IndexError):
        store[3]


def test_file_is_frame_person_joint_coordinate_without_padding(tmp_path: Path) -> None:
    write(tmp_path, CLIPS[1:])
    content = (tmp_path / "frames.bin").read_bytes()
    assert len(content) == (7 + 1) * 2 * 4 * 3 * 4
    np.testing.assert_array_equal(
        np.frombuffer(content, "<f4").reshape(8, 2, 4, 3)[:7], CLIPS[1].data.transpose(1, 0, 2, 3)
    )
    assert SequenceStore.open(tmp_path).digest == hashlib.sha256(content).hexdigest()


def test_what_is_read_is_a_copy(tmp_path: Path) -> None:
    write(tmp_path, CLIPS)
    store = SequenceStore.open(tmp_path)
    store[1].data[...] = 0
    np.testing.assert_array_equal(store[1].data, CLIPS[1].data)


def test_pickled_store_maps_its_file_anew(tmp_path: Path) -> None:
    write(tmp_path, CLIPS)
    content = pickle.dumps(SequenceStore.open(tmp_path))
    assert len(content) < 400
    np.testing.assert_array_equal(pickle.loads(content)[1].data, CLIPS[1].data)


def test_an_empty_store_opens(tmp_path: Path) -> None:
    write(tmp_path, [])
    assert list(SequenceStore.open(tmp_path)) == []


def test_broken_off_writing_leaves_no_store_or_the_old_one(tmp_path: Path) -> None:
    def break_off() -> None:
        with StoreWriter(tmp_path, 2, 4, 3) as writer:
            writer.append(CLIPS[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    with pytest.raises(
        UserError, match=r"manifest.json: expected a complete sequence store, saw no manifest"
    ):
        SequenceStore.open(tmp_path)
    write(tmp_path, CLIPS)
    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert SequenceStore.open(tmp_path).names == ["a", "b", "c"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames.bin", "manifest.json"]


def test_manifest_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    write(tmp_path, CLIPS)
    frames, path = tmp_path / "frames.bin", tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    frames.write_bytes(frames.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"frames.bin: expected 1056 bytes as its manifest says, saw 1052"):
        SequenceStore.open(tmp_path)
    path.write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(UserError, match="99"):
        SequenceStore.open(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match="expected a store's manifest"):
        SequenceStore.open(tmp_path)


def test_misfits_are_refused(tmp_path: Path) -> None:
    with StoreWriter(tmp_path, persons=1, joints=4, coordinates=3) as writer:
        writer.append(CLIPS[0])
        with pytest.raises(UserError, match="'a' twice"):
            writer.append(CLIPS[0])
        with pytest.raises(UserError, match=r"at most 1 persons .* saw \[2, 7, 4, 3\] in 'b'"):
            writer.append(CLIPS[1])
    with pytest.raises(UserError, match="saw 'nobody'"):
        SequenceStore.open(tmp_path).by_name("nobody")
