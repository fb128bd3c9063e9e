import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from damage import DAMAGES

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons import store as store_module
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.skeletons.store_writer import StoreWriter, by_shard
from llmar_pipeline.skeletons.topology import Body, Topology

STICK = Topology("stick", ("a", "b", "c", "d"), (-1, 0, 1, 2), (0, 1, 2, 3), 0, (0, 1), (0, 1))


def clip(name: str, persons: int, frames: int) -> Sequence:
    rng = np.random.default_rng(frames)
    data = rng.normal(size=(persons, frames, 4, 3)).astype(np.float32)
    data[0, 0, 2] = np.nan
    return Sequence(name, data)


CLIPS = [clip("a", 1, 3), clip("b", 2, 7), clip("c", 2, 1)]


def write(folder: Path, *shards: list[Sequence]) -> None:
    with StoreWriter(folder, 2, STICK) as writer:
        for number, clips in enumerate(shards):
            with writer.shard({"key": f"key {number}"}) as shard:
                shard.notes["clips"] = len(clips)
                for item in clips:
                    shard.append(item)


@pytest.mark.parametrize(
    "shards", [[CLIPS], [CLIPS[:1], CLIPS[1:]], [[], CLIPS[:2], [], CLIPS[2:], []]], ids=len
)
def test_what_is_written_is_read(tmp_path: Path, shards: list[list[Sequence]]) -> None:
    write(tmp_path, *shards)
    store = SequenceStore.open(tmp_path)
    assert (len(store), store.names, store.lengths, store.body) == (
        3,
        ["a", "b", "c"],
        [3, 7, 1],
        Body(STICK, 2),
    )
    np.testing.assert_array_equal(store[0].data[:1], CLIPS[0].data)
    assert np.isnan(store[0].data[1]).all()
    assert store[0].data.shape == (2, 3, 4, 3)
    np.testing.assert_array_equal(store[-2].data, CLIPS[1].data)
    np.testing.assert_array_equal(store.by_name("c").data, CLIPS[2].data)
    assert [sequence.name for sequence in store] == ["a", "b", "c"]
    with pytest.raises(IndexError):
        store[3]


def test_file_is_frame_person_joint_coordinate_without_padding(tmp_path: Path) -> None:
    write(tmp_path, CLIPS[:2])
    content = np.fromfile(tmp_path / "shard-00000.bin", "<f4")
    assert content.size == (3 * 1 + 7 * 2) * 4 * 3
    np.testing.assert_array_equal(content[36:].reshape(7, 2, 4, 3), CLIPS[1].data.transpose(1, 0, 2, 3))


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    digests = set()
    for name, clips in {"one": CLIPS, "same": CLIPS, "other": CLIPS[:2]}.items():
        write(tmp_path / name, clips)
        digests.add(SequenceStore.open(tmp_path / name).digest)
    assert len(digests) == 2


def test_the_digest_knows_names_shapes_and_numbers_but_no_order_and_no_shards(tmp_path: Path) -> None:
    flat = Sequence("b", CLIPS[1].data.reshape(1, 14, 4, 3))
    renamed = Sequence("z", CLIPS[1].data)
    swapped = [Sequence("a", CLIPS[2].data), CLIPS[1], Sequence("c", CLIPS[0].data)]
    write(tmp_path / "whole", CLIPS)
    whole = SequenceStore.open(tmp_path / "whole")
    write(tmp_path / "parts", [], [CLIPS[2], CLIPS[0]], [CLIPS[1]])
    parts = SequenceStore.open(tmp_path / "parts")
    assert parts.names == ["c", "a", "b"]
    assert parts.shards == [range(0), range(2), range(2, 3)]
    assert parts.digest == whole.digest
    assert parts.digest_of([1, 2, 0]) == whole.digest_of([0, 1, 2]) != whole.digest_of([1, 0, 2])
    for number, clips in enumerate(([CLIPS[0], flat, CLIPS[2]], [CLIPS[0], renamed, CLIPS[2]], swapped)):
        write(tmp_path / f"{number}", clips)
        other = SequenceStore.open(tmp_path / f"{number}")
        assert other.digest != whole.digest
        assert (other.digest_of([0]) == whole.digest_of([0])) is (clips is not swapped)


@pytest.mark.parametrize("number", [0, 1, 3, 4, 5, 8, 9, 40])
def test_clips_stay_in_their_shards_where_others_come_or_go(number: int) -> None:
    names = [f"clip {i:03}" for i in range(number)]
    shards = by_shard(names, 4)
    assert sorted(clip for shard in shards for clip in shard) == list(range(number))
    assert len(shards) == {0: 1, 1: 1, 3: 1, 4: 1, 5: 2, 8: 2, 9: 4, 40: 16}[number]
    more = [*names[:7], "another", *names[7:]]
    if len(by_shard(more, 4)) == len(shards):
        before, after = ([{n[clip] for clip in shard} for shard in by_shard(n, 4)] for n in (names, more))
        assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_more_shards_than_are_mapped_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_MAPPED", 200)
    write(tmp_path, *[[clip(f"{i}", 1, i + 1)] for i in range(5)])
    store = SequenceStore.open(tmp_path)
    for i in (0, 4, 1, 3, 2, 0):
        np.testing.assert_array_equal(store[i].data[:1], clip("", 1, i + 1).data)


def test_what_is_read_is_a_copy(tmp_path: Path) -> None:
    write(tmp_path, CLIPS)
    store = SequenceStore.open(tmp_path)
    store[1].data[...] = 0
    np.testing.assert_array_equal(store[1].data, CLIPS[1].data)


def test_pickled_store_maps_its_files_anew(tmp_path: Path) -> None:
    write(tmp_path, CLIPS)
    content = pickle.dumps(SequenceStore.open(tmp_path))
    assert len(content) < 400
    np.testing.assert_array_equal(pickle.loads(content)[1].data, CLIPS[1].data)


def test_an_empty_store_opens(tmp_path: Path) -> None:
    write(tmp_path)
    assert list(SequenceStore.open(tmp_path)) == []


def break_off(folder: Path) -> None:
    """A second shard that is not finished."""
    with StoreWriter(folder, 2, STICK) as writer:
        if writer.reuse({"key": "key 0"}) is None:
            with writer.shard({"key": "key 0"}) as shard:
                shard.append(CLIPS[0])
        with writer.shard({"key": "key 1"}) as shard:
            shard.append(CLIPS[1])
            raise KeyboardInterrupt


def test_broken_off_writing_leaves_no_store_but_its_shards(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        break_off(tmp_path)
    with pytest.raises(
        UserError, match=r"manifest.json: expected a complete sequence store, saw no manifest"
    ):
        SequenceStore.open(tmp_path)
    with StoreWriter(tmp_path, 2, STICK) as writer:
        assert writer.reuse({"key": "key 0"}) == {}
        assert writer.reuse({"key": "key 1"}) is None
        with writer.shard({"key": "key 1"}) as shard:
            shard.append(CLIPS[2])
    assert SequenceStore.open(tmp_path).names == ["a", "c"]


def test_shards_are_reused_only_where_key_and_size_fit(tmp_path: Path) -> None:
    write(tmp_path, CLIPS[:1], CLIPS[1:])
    inode = (tmp_path / "shard-00000.bin").stat().st_ino
    with StoreWriter(tmp_path, 2, STICK) as writer:
        assert writer.reuse({"key": "key 0"}) == {"clips": 1}
    assert SequenceStore.open(tmp_path).names == ["a"]
    assert (tmp_path / "shard-00000.bin").stat().st_ino == inode
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest.json",
        "shard-00000.bin",
        "shard-00000.json",
    ]
    with (tmp_path / "shard-00000.bin").open("ab") as file:
        file.write(b"more")
    assert StoreWriter(tmp_path, 2, STICK).reuse({"key": "key 0"}) is None


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", ["bin", "json"])
def test_a_damaged_shard_is_named_and_made_again(tmp_path, suffix, damage, caplog) -> None:
    folder = tmp_path / "store"
    write(folder, CLIPS[:1], CLIPS[1:])
    damage(folder / f"shard-00001.{suffix}")
    with StoreWriter(folder, 2, STICK) as writer:
        assert writer.reuse({"key": "key 0"}) == {"clips": 1}
        assert writer.reuse({"key": "key 1"}) is None
        with writer.shard({"key": "key 1"}) as shard:
            shard.append(CLIPS[1])
    assert SequenceStore.open(folder).names == ["a", "b"]
    unseen = (suffix, damage.__name__) == ("json", "remove")  # as a writing that was killed leaves it
    assert ("sequences, shard-00001 first: " in caplog.text) is not unseen


def test_shards_of_another_origin_are_set_aside_once_and_the_newest_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "store"
    for wanted, kept in (("key", []), ("second", ["store.before-1"]), ("third", ["store.before-2"])):
        caplog.clear()
        with StoreWriter(folder, 2, STICK) as writer:
            for number, item in enumerate(CLIPS):
                assert writer.reuse({"key": f"{wanted} {number}"}) is None
                with writer.shard({"key": f"{wanted} {number}"}) as shard:
                    shard.append(item)
        assert [path.name for path in tmp_path.iterdir() if path != folder] == kept
        assert sum("made again" in message for message in caplog.messages) == len(kept)
    aside = tmp_path / "store.before-2"
    assert SequenceStore.open(aside).names == SequenceStore.open(folder).names  # whole, to be looked at
    assert "sequences, shard-00000 first: key changed from second 0 to third 0; set aside as " in caplog.text


def test_a_changed_shard_takes_the_manifest_away_first(tmp_path: Path) -> None:
    write(tmp_path, CLIPS)
    with pytest.raises(KeyboardInterrupt):
        break_off(tmp_path)
    with pytest.raises(UserError, match="no manifest"):
        SequenceStore.open(tmp_path)


def test_manifest_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    write(tmp_path, CLIPS)
    data, path = tmp_path / "shard-00000.bin", tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"shard-00000.bin: expected 912 bytes as its manifest says, saw 908"):
        SequenceStore.open(tmp_path)
    path.write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(UserError, match="99"):
        SequenceStore.open(tmp_path)
    path.write_text(json.dumps(manifest | {"names": ["a"]}))
    with pytest.raises(UserError, match="columns of 3 clips, saw of 1, 3, 3, 3"):
        SequenceStore.open(tmp_path)
    path.write_text(json.dumps(manifest | {"topology": {"name": "nothing else"}}))
    with pytest.raises(UserError, match="expected a store's manifest"):
        SequenceStore.open(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match="expected a store's manifest"):
        SequenceStore.open(tmp_path)


def test_misfits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'a' twice"):
        write(tmp_path, CLIPS[:2], CLIPS[:1])
    with pytest.raises(UserError, match=r"at most 2 persons .* saw \[3, 2, 4, 3\] in 'x'"):
        write(tmp_path, [Sequence("x", np.zeros((3, 2, 4, 3), np.float32))])
    write(tmp_path, CLIPS)
    with pytest.raises(UserError, match="saw 'nobody'"):
        SequenceStore.open(tmp_path).by_name("nobody")


def test_a_link_in_the_place_of_a_shard_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "store").mkdir()
    for name in ("shard-00000.bin", "shard-00000.json", "manifest.json"):
        (tmp_path / "store" / name).symlink_to(tmp_path / "precious")
    write(tmp_path / "store", [clip("a", 1, 2)])
    assert SequenceStore.open(tmp_path / "store").names == ["a"]
    assert (tmp_path / "precious").read_text() == "precious"
