import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llmar_pipeline.corpora.corpus import Corpus
from llmar_pipeline.corpora.ntu import NTU60
from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.ingestion import ingest as ingestion
from llmar_pipeline.ingestion.ingest import Ingested, IngestionConfig, ingest
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.skeletons.store_writer import by_shard

CONFIG = IngestionConfig(workers=1, max_quarantined_share=0.5)


def body(seed: int) -> np.ndarray:
    joints = np.random.default_rng(seed).normal(size=(25, 3)) * (1, 4, 1)  # taller than wide
    return joints.astype(np.float32).round(4)


@pytest.fixture
def raw(tmp_path: Path, skeleton_text: Callable[..., str]) -> Path:
    """Eleven clips in subfolders: one damaged, one with two people and a ghost."""
    folder = tmp_path / "raw"
    for action in range(1, 12):
        frames = [[("7", body(action + t))] for t in range(action)]
        if action == 3:
            frames = [[("7", body(t)), ("8", body(99 + t))] for t in range(15)]
            frames[4].append(("9", body(5)))
        path = folder / f"{action % 3}" / f"S001C001P001R001A{action:03}.skeleton"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\nnonsense" if action == 5 else skeleton_text(frames))
    return folder


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "CLIPS_PER_SHARD", 4)


def counting(seen: list[str]) -> Corpus:
    """NTU RGB+D that takes down what it reads."""

    class Counting(Corpus):
        def load(self, source: Source | Path) -> Sequence:
            seen.append(source.name)
            return super().load(source)

    return Counting(**{name: getattr(NTU60, name) for name in NTU60.__dataclass_fields__})


def shards(raw: Path, *more: str) -> list[set[str]]:
    """The names that lie together."""
    names = sorted({path.stem for path in raw.rglob("*.skeleton")} | set(more))
    return [{names[clip] for clip in shard} for shard in by_shard(names, 4)]


def assert_same(one: Ingested, other: Ingested) -> None:
    for first, second in zip(one[:4], other[:4], strict=True):
        assert first.equals(second)
    assert one.facts == other.facts


def test_what_lies_in_the_folder_is_stored_listed_and_reported(raw: Path, tmp_path: Path) -> None:
    index, quarantine, bodies, _, facts = ingest(NTU60, raw, tmp_path / "store", CONFIG)
    assert facts.class_names == NTU60.class_names
    store = SequenceStore.open(tmp_path / "store")
    assert sorted(store.names) == index["name"].tolist()
    assert len(store.shards) == 4
    assert index["action"].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert index["frames"].tolist() == [1, 2, 15, 4, 6, 7, 8, 9, 10, 11]
    assert [store.by_name(name).n_frames for name in index["name"]] == index["frames"].tolist()
    assert index["persons"].tolist() == [1, 1, 2, 1, 1, 1, 1, 1, 1, 1]
    second = store.by_name("S001C001P001R001A002")
    np.testing.assert_array_equal(second.data[0], [body(2), body(3)])
    assert quarantine.to_dict("records") == [
        {
            "name": "S001C001P001R001A005",
            "file": "2/S001C001P001R001A005.skeleton",
            "line": 2,
            "expected": "the number of bodies of frame 1 of 1",
            "seen": "'nonsense'",
        }
    ]
    assert bodies["name"].unique().tolist() == ["S001C001P001R001A003"]
    assert dict(zip(bodies["body"], bodies["frames"], strict=True)) == {"7": 15, "8": 15, "9": 1}
    decisions = dict(zip(bodies["body"], bodies["decision"], strict=True))
    assert {decisions["7"], decisions["8"]} == {"actor 1", "actor 2"}
    assert decisions["9"] == "dropped: seen in fewer than 12 frames"


def test_neither_workers_nor_the_order_of_files_matter(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = ingest(NTU60, raw, tmp_path / "one", CONFIG)
    walk = os.walk

    def shuffled(*args: object, **kwargs: object) -> list:
        found = [(at, folders, files[::-1]) for at, folders, files in walk(*args, **kwargs)]  # type: ignore[call-overload]
        return random.Random(1).sample(found, len(found))

    monkeypatch.setattr(os, "walk", shuffled)
    together = ingest(NTU60, raw, tmp_path / "two", CONFIG.model_copy(update={"workers": 2}))
    assert_same(alone, together)
    assert SequenceStore.open(tmp_path / "one").digest == SequenceStore.open(tmp_path / "two").digest


def test_a_killed_ingestion_continues_without_reading_twice(raw: Path, tmp_path: Path) -> None:
    whole = ingest(NTU60, raw, tmp_path / "whole", CONFIG)
    seen: list[str] = []

    class Killed(type(counting(seen))):  # type: ignore[misc]
        def load(self, source: Source | Path) -> Sequence:
            if len(seen) == 6:
                raise KeyboardInterrupt
            return super().load(source)

    killed = Killed(**{name: getattr(NTU60, name) for name in NTU60.__dataclass_fields__})
    with pytest.raises(KeyboardInterrupt):
        ingest(killed, raw, tmp_path / "store", CONFIG)
    first, seen[:] = list(seen), []
    resumed = ingest(counting(seen), raw, tmp_path / "store", CONFIG)
    assert_same(whole, resumed)
    assert SequenceStore.open(tmp_path / "whole").digest == SequenceStore.open(tmp_path / "store").digest
    whole_shards = [len(shard) for shard in shards(raw)]
    done = max(sum(whole_shards[:n]) for n in range(4) if sum(whole_shards[:n]) <= 6)
    assert len(first) == 6
    assert done > 0
    assert len(seen) == 11 - done  # shards that were complete are not read again
    seen.clear()
    assert_same(whole, ingest(counting(seen), raw, tmp_path / "store", CONFIG))
    assert seen == []


@pytest.mark.parametrize("edit", ["change", "add", "remove"])
def test_a_file_that_comes_or_goes_or_changes_costs_its_shard_alone(
    edit: str, raw: Path, tmp_path: Path, skeleton_text: Callable[..., str]
) -> None:
    before = ingest(NTU60, raw, tmp_path / "store", CONFIG)
    written = {path.name: path.stat().st_ino for path in (tmp_path / "store").glob("*.bin")}
    file = next(raw.rglob("*A011.skeleton"))
    if edit == "add":
        file = file.with_name("S001C001P001R001A012.skeleton")
    its_shard = next(shard for shard in shards(raw, file.stem) if file.stem in shard)
    if edit == "remove":
        file.unlink()
    else:
        file.write_text(skeleton_text([[("7", body(0))]]))
    seen: list[str] = []
    read = ingest(counting(seen), raw, tmp_path / "store", CONFIG)
    assert seen == sorted(its_shard - ({file.stem} if edit == "remove" else set()))
    kept = {path.name: path.stat().st_ino for path in (tmp_path / "store").glob("*.bin")}
    assert len(kept.items() & written.items()) == len(written) - 1
    assert len(read.index) == len(before.index) + {"change": 0, "add": 1, "remove": -1}[edit]
    assert_same(read, ingest(NTU60, raw, tmp_path / "afresh", CONFIG))
    assert SequenceStore.open(tmp_path / "store").digest == SequenceStore.open(tmp_path / "afresh").digest
