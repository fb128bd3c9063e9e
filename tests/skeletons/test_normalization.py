from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from llmar_pipeline.skeletons import normalization
from llmar_pipeline.skeletons.normalization import NormalizationConfig, normalize, normalize_store
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import COCO17, KINECT20, Topology

NAN = np.nan
STEPS = ("fill_gaps", "center", "align_view", "scale_to_body")


def steps(*chosen: str) -> NormalizationConfig:
    return NormalizationConfig.model_validate({step: step in chosen for step in STEPS})


def sideways() -> np.ndarray:
    """Two persons in pixels, 3 frames; person 1 lies on the back, the nose is missing in frame 1."""
    data = np.full((2, 3, 17, 2), NAN, np.float32)
    data[0, :, 0] = [[600, 400], [NAN, NAN], [620, 400]]
    data[0, :, [5, 6]] = [[550, 400]] * 3
    data[0, :, [11, 12]] = [[450, 400]] * 3
    data[1, 2, 0] = [600, 500]
    return data


def test_all_steps_in_2d() -> None:
    # The torso is 100 pixels, so 200 pixels are a metre; its head end at the right turns to the top.
    normalized = normalize(sideways(), COCO17, steps(*STEPS))
    np.testing.assert_allclose(normalized[0, :, 0], [[0, 0], [0, 0.05], [0, 0.1]], atol=1e-6)
    np.testing.assert_allclose(normalized[0, :, 11], [[0, -0.75]] * 3, atol=1e-6)
    np.testing.assert_allclose(normalized[1, 2, 0], [-0.5, 0], atol=1e-6)
    assert np.isnan(normalized[1, :2]).all()
    assert normalized.dtype == np.float32


def test_each_step_can_be_taken_alone() -> None:
    data = sideways()
    np.testing.assert_array_equal(normalize(data, COCO17, steps()), data)
    np.testing.assert_array_equal(normalize(data, COCO17, steps("fill_gaps"))[0, 1, 0], [610, 400])
    np.testing.assert_array_equal(normalize(data, COCO17, steps("center"))[0, 2, 11], [-150, 0])
    upright = normalize(data, COCO17, steps("align_view"))
    np.testing.assert_allclose(upright[0, 0, 5] - upright[0, 0, 11], [0, 100], atol=1e-4)
    np.testing.assert_allclose(normalize(data, COCO17, steps("scale_to_body"))[0, 0, 0], [3, 2])


def test_all_steps_in_3d() -> None:
    data = np.zeros((1, 1, 20, 3), np.float32)
    data[...] = [5, 1, 3]
    left, right = KINECT20.shoulders
    data[0, 0, left] += [0, 0.5, -0.25]
    data[0, 0, right] += [0, 0.5, 0.25]
    normalized = normalize(data, KINECT20, steps(*STEPS))  # the torso is 0.5 m long already
    np.testing.assert_allclose(normalized[0, 0, left], [-0.25, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(normalized[0, 0, right], [0.25, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(normalized[0, 0, 1], [0, 0, 0], atol=1e-6)


def test_every_step_is_named_in_the_configuration() -> None:
    with pytest.raises(ValidationError, match="scale_to_body"):
        NormalizationConfig.model_validate({"fill_gaps": True, "center": True, "align_view": False})


def store(folder: Path, clips: list[Sequence], topology: Topology, persons: int) -> Path:
    with StoreWriter(folder, persons, topology) as writer:
        for start in range(0, len(clips), 2):
            with writer.shard("") as shard:
                for clip in clips[start : start + 2]:
                    shard.append(clip)
    return folder


def test_a_store_is_normalised_clip_by_clip(tmp_path: Path) -> None:
    config = steps("fill_gaps", "center", "scale_to_body")
    both = sideways()
    clips = [Sequence("both", both), Sequence("first", both[:1]), Sequence("short", both[:1, 2:])]
    clips += [Sequence("nobody", np.full((1, 2, 17, 2), NAN, np.float32)), Sequence("late", both[:, 1:])]
    recorded = store(tmp_path / "recorded", clips, COCO17, persons=2)
    assert normalize_store(recorded, tmp_path / "normalized", config) == tmp_path / "normalized"
    normalized = SequenceStore.open(tmp_path / "normalized")
    assert normalized.names == ["both", "first", "short", "nobody", "late"]
    assert normalized.shards == [range(2), range(2, 4), range(4, 5)]
    assert normalized.body.topology == COCO17
    for clip, written in zip(clips, normalized, strict=True):
        expected = np.full((2, clip.n_frames, 17, 2), NAN, np.float32)
        expected[: clip.n_persons] = normalize(clip.data, COCO17, config)
        np.testing.assert_array_equal(written.data, expected)


def test_a_killed_run_continues_but_not_with_another_root_or_other_steps(tmp_path: Path) -> None:
    recorded, target = tmp_path / "recorded", tmp_path / "normalized"
    clips = [Sequence("both", sideways())]

    def written(topology: Topology, config: NormalizationConfig) -> float:
        store(recorded, clips, topology, persons=2)
        normalize_store(recorded, target, config)
        (target / "manifest.json").unlink()  # as after a kill
        store_written = SequenceStore.open(normalize_store(recorded, target, config))
        return float(store_written[0].data[0, 0, 0, 0])

    assert written(COCO17, steps("center")) == 0
    assert written(replace(COCO17, root=5), steps("center")) == 50
    assert written(COCO17, steps()) == 600
    before = (target / "shard-00000.bin").stat().st_mtime_ns
    assert written(COCO17, steps()) == 600
    assert (target / "shard-00000.bin").stat().st_mtime_ns == before
    clips[0] = Sequence("renamed", sideways())  # the same numbers
    assert written(COCO17, steps()) == 600
    assert SequenceStore.open(target).names == ["renamed"]


def test_a_changed_recording_costs_its_shard_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, target = tmp_path / "recorded", tmp_path / "normalized"
    clips = [Sequence(name, sideways()) for name in "abcde"]
    normalize_store(store(recorded, clips, COCO17, persons=2), target, steps("center"))
    made: list[str] = []
    monkeypatch.setattr(normalization, "without_absent", lambda data: made.append("a clip") or data)
    normalize_store(recorded, target, steps("center"))
    assert made == []
    clips[3] = Sequence("d", sideways()[:1])
    normalize_store(store(recorded, clips, COCO17, persons=2), target, steps("center"))
    assert len(made) == 2
    assert SequenceStore.open(target).names == list("abcde")


def test_absent_persons_take_no_room_in_a_normalised_store(tmp_path: Path) -> None:
    alone = [Sequence("alone", sideways()[:1])]
    recorded = store(tmp_path / "recorded", alone, COCO17, persons=2)
    target = normalize_store(recorded, tmp_path / "normalized", steps("center"))
    assert sum(path.stat().st_size for path in target.glob("*.bin")) == 3 * 17 * 2 * 4


def test_how_many_joints_are_missing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = np.ones((1, 3, 17, 2), np.float32)
    data[0, 0, :10] = NAN
    data[0, 2] = NAN  # nobody is seen there
    recorded = store(tmp_path / "recorded", [Sequence("holes", data)], COCO17, persons=2)
    with caplog.at_level("INFO"):
        normalize_store(recorded, tmp_path / "normalized", steps("center"))
    assert caplog.messages[-1] == "missing joints of people who are there: 29 %"  # 10 of 34
