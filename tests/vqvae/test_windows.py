from pathlib import Path
from typing import get_args

import numpy as np
import numpy_streams as streams
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons import transforms
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import COCO17, KINECT20, LCRNET13, NTU25, Body, Topology
from llmar_pipeline.vqvae import windows as windows_module
from llmar_pipeline.vqvae.config import Stream
from llmar_pipeline.vqvae.windows import Clips, joint_positions, stacked

NAN = np.float32(np.nan)
CONFIG = AugmentationConfig(min_crop=0.3, rotation=0.6, tilt=0.4, scale=0.2, noise=0, mirror=True)
STREAMS = get_args(Stream)
POINT = Topology("point", ("p",), (-1,), (0,), 0, (0, 0), (0, 0), 2)


def mirrored(data: np.ndarray, topology: Topology) -> np.ndarray:
    """Partners change places and x changes its sign."""
    data = data[:, :, list(topology.mirror)]
    data[..., 0] *= -1
    return data


def recordings(topology: Topology, seed: int = 0, count: int = 9) -> list[np.ndarray]:
    """Ragged clips in metres; absent persons, late persons, gaps, one-frame clips."""
    rng = np.random.default_rng(seed)
    clips = []
    for number in range(count):
        persons, frames = rng.integers(1, 4), 1 if number == 0 else rng.integers(1, 50)
        shape = (persons, frames, len(topology.joints), topology.coordinates)
        data = rng.uniform(-1, 1, shape).astype(np.float32)
        data[rng.random(shape[:3]) < 0.2] = NAN
        data[rng.random(shape[:2]) < 0.2] = NAN
        data[1:, : frames // 3] = NAN
        if rng.random() < 0.3:
            data[-1] = NAN
        clips.append(data)
    return clips


def padded(data: np.ndarray, persons: int) -> np.ndarray:
    return np.concatenate([data, np.full((persons - len(data), *data.shape[1:]), NAN)])


def expected(data: np.ndarray, topology: Topology, frames: int, stream: Stream) -> np.ndarray:
    """The numpy route, [V, channels]."""
    values = streams.to_stream(transforms.resample(data, frames), topology, stream)
    return values.transpose(1, 0, 2, 3).reshape(frames, -1)


def assert_same(motion: torch.Tensor, mask: torch.Tensor, values: list[np.ndarray], stream: Stream) -> None:
    assert (motion.dtype, mask.dtype) == (torch.float32, torch.bool)
    np.testing.assert_array_equal(mask.numpy(), ~np.isnan(np.stack(values)))
    tolerance = 1e-5 if "motion" in stream else 1e-6  # motion is ten times a difference
    np.testing.assert_allclose(motion.numpy(), np.nan_to_num(np.stack(values)), atol=tolerance)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("topology", [NTU25, COCO17], ids=lambda t: t.name)
@pytest.mark.parametrize("frames", [1, 16, 64])
def test_plain_readings_are_what_numpy_makes(topology: Topology, stream: Stream, frames: int) -> None:
    arrays = recordings(topology)
    clips = Clips.from_arrays(arrays, Body(topology, 3))
    order = [5, 0, 0, 8, 1, 2, 3, 4, 6, 7]
    motion, mask = clips.windows(stacked([clips.plain(clip) for clip in order]), frames, stream)
    assert motion.shape == (len(order), frames, clips.body.channels)
    values = [expected(padded(arrays[clip], 3), topology, frames, stream) for clip in order]
    assert_same(motion, mask, values, stream)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("topology", [KINECT20, LCRNET13, COCO17], ids=lambda t: t.name)
def test_random_readings_are_what_numpy_makes(topology: Topology, stream: Stream) -> None:
    arrays = recordings(topology, seed=1, count=40)
    clips = Clips.from_arrays(arrays, Body(topology, 3))
    readings = [clips.random(clip, CONFIG, np.random.default_rng(clip)) for clip in range(len(arrays))]
    assert {augmentation.mirror for _, augmentation in readings} == {True, False}
    values = []
    for clip, reading in readings:
        _, _, x, y, z, size, _ = np.random.default_rng(clip).random(7)
        data = transforms.temporal_crop(padded(arrays[clip], 3), reading.start, reading.length)
        if topology.coordinates == 2:
            data = transforms.rotate_2d(data, 0.6 * (2 * y - 1))
        else:
            data = transforms.rotate(data, (0.4 * (2 * x - 1), 0.6 * (2 * y - 1), 0.4 * (2 * z - 1)))
        data = mirrored(data, topology) if reading.mirror else data
        values.append(expected(transforms.scale(data, 0.8 + 0.4 * size), topology, 32, stream))
    assert_same(*clips.windows(stacked(readings), 32, stream), values, stream)


@pytest.mark.parametrize("frames", [2, 50, 64, 99])
def test_every_length_is_resampled_as_numpy_does_it_to_its_very_last_frame(frames: int) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, (1, length, 1, 2)).astype(np.float32) for length in range(1, 301)]
    for data in arrays:
        data[:, rng.random(data.shape[1]) < 0.3] = NAN
    clips = Clips.from_arrays(arrays, Body(POINT, 1))
    motion, mask = clips.windows(stacked([clips.plain(clip) for clip in range(300)]), frames, "joints")
    assert_same(motion, mask, [expected(data, POINT, frames, "joints") for data in arrays], "joints")


def test_numbers_by_hand() -> None:
    """Two persons, a gap between frames 1 and 2 of the first, the second only in the last frame."""
    first, second = [[0, 0], [1, 2], [NAN, NAN], [5, 8]], [[NAN, NAN]] * 3 + [[7, 7]]
    data = np.float32([first, second])[:, :, None]
    clips = Clips.from_arrays([data], Body(POINT, 2))
    motion, mask = clips.windows(stacked([clips.plain(0)]), 7, "joints")  # at 0, 0.5, 1, 1.5, 2, 2.5, 3
    assert motion[0, :, :2].tolist() == [[0, 0], [0.5, 1], [1, 2], [1, 2], [0, 0], [5, 8], [5, 8]]
    assert motion[0, :, 2].tolist() == [0, 0, 0, 0, 0, 7, 7]
    assert mask[0, :, 0].tolist() == [True, True, True, True, False, True, True]
    assert mask[0, :, 3].tolist() == [False] * 5 + [True] * 2
    steps, _ = clips.windows(stacked([clips.plain(0)]), 4, "motion")
    assert steps[0].tolist() == [[0, 0, 0, 0], [10, 20, 0, 0], [0, 0, 0, 0], [40, 60, 70, 70]]


def test_a_joint_that_lacks_a_coordinate_is_missing() -> None:
    clips = Clips.from_arrays([np.float32([[[[1, 2]], [[3, NAN]]]])], Body(POINT, 1))
    motion, mask = clips.windows(stacked([clips.plain(0)]), 2, "joints")
    assert motion[0].tolist() == [[1, 2], [0, 0]]
    assert mask[0].tolist() == [[True, True], [False, False]]
    assert clips.seen[0].tolist() == [True, False]


@pytest.mark.parametrize("stream", STREAMS)
def test_a_window_does_not_depend_on_its_batch(stream: Stream) -> None:
    clips = Clips.from_arrays(recordings(NTU25), Body(NTU25, 3))
    noisy = CONFIG.model_copy(update={"noise": 0.05})
    readings = [clips.random(clip, noisy, np.random.default_rng(clip)) for clip in range(6)]
    readings.insert(2, clips.plain(7))
    together = clips.windows(stacked(readings), 37, stream)
    for number, reading in enumerate(readings):
        for alone, window in zip(clips.windows(stacked([reading]), 37, stream), together, strict=True):
            assert torch.equal(alone[0], window[number])


def test_noise_has_its_standard_deviation_and_leaves_the_mask() -> None:
    clips = Clips.from_arrays(recordings(NTU25), Body(NTU25, 3))
    still = AugmentationConfig(min_crop=1, rotation=0, tilt=0, scale=0, noise=0, mirror=False)
    noisy = still.model_copy(update={"noise": 0.2})
    plain, mask = clips.windows(stacked([clips.plain(8)] * 4), 64, "joints")
    readings = [clips.random(8, noisy, np.random.default_rng(seed)) for seed in (0, 1, 2, 2)]
    changed, its_mask = clips.windows(stacked(readings), 64, "joints")
    noise = changed - plain
    assert torch.equal(mask, its_mask)
    assert not noise[~mask].any()
    assert noise[mask].std().item() == pytest.approx(0.2, rel=0.03)
    assert noise[mask].mean().item() == pytest.approx(0, abs=0.01)
    assert torch.equal(changed[2], changed[3])
    observed = torch.stack([noise[0][mask[0]], noise[1][mask[1]]])
    assert abs(torch.corrcoef(observed)[0, 1]) < 0.05


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("topology", [NTU25, COCO17], ids=lambda t: t.name)
def test_positions_are_what_numpy_makes(topology: Topology, stream: Stream) -> None:
    clips = Clips.from_arrays(recordings(topology), Body(topology, 3))
    readings = stacked([clips.plain(clip) for clip in range(9)])
    motion, mask = clips.windows(readings, 20, stream)
    joints, seen = clips.windows(readings, 20, "joints")
    found = joint_positions(motion, mask, topology, stream)
    assert found.shape == (9, 3, 20, len(topology.joints), topology.coordinates)
    back = found.movedim(1, 2).flatten(2)
    assert torch.equal(back.isnan(), ~seen)
    np.testing.assert_allclose(back.nan_to_num(), joints, atol=1e-5)
    # A reconstruction is no stream of anything: everything must be undone as numpy undoes it.
    output = torch.randn(motion.shape, generator=torch.Generator().manual_seed(0))
    for ours, values in zip(
        joint_positions(output, mask, topology, stream), np.where(mask, output, NAN), strict=True
    ):
        values = values.reshape(20, 3, len(topology.joints), -1).transpose(1, 0, 2, 3)
        np.testing.assert_allclose(ours, streams.from_stream(values, topology, stream), atol=1e-5)


@pytest.mark.parametrize("stream", STREAMS)
def test_positions_have_gradients_where_observed_and_none_elsewhere(stream: Stream) -> None:
    generator = torch.Generator().manual_seed(0)
    motion = torch.randn(2, 5, 2 * 13 * 3, dtype=torch.float64, generator=generator, requires_grad=True)
    mask = (torch.rand(2, 5, 2 * 13, generator=generator) < 0.7).repeat_interleave(3, -1)

    def error(motion: torch.Tensor) -> torch.Tensor:
        return joint_positions(motion, mask, LCRNET13, stream).norm(dim=-1).nanmean()

    assert torch.autograd.gradcheck(error, (motion,))
    error(motion).backward()
    assert motion.grad is not None
    assert torch.isfinite(motion.grad).all()
    assert not motion.grad[~mask].any()
    assert motion.grad[:, 0][mask[:, 0]].all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.sampled_from(STREAMS))
def test_any_random_reading_is_finite_and_shows_somebody_if_the_clip_does(seed, frames, stream) -> None:
    clips = Clips.from_arrays(recordings(LCRNET13, seed), Body(LCRNET13, 3))
    noisy = CONFIG.model_copy(update={"noise": 0.1})
    readings = [clips.random(clip, noisy, np.random.default_rng([seed, clip])) for clip in range(9)]
    motion, mask = clips.windows(stacked(readings), frames, stream)
    assert torch.isfinite(motion).all()
    assert not motion[~mask].any()
    if frames >= 50:  # no frame of a clip is passed over
        seen = torch.tensor([frames.any() for frames in clips.seen])
        assert torch.equal(mask.flatten(1).any(1), seen)


def test_clips_of_a_store_come_in_the_order_of_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows_module, "_CLIPS_AT_ONCE", 2)
    arrays = recordings(KINECT20)
    with StoreWriter(tmp_path / "store", persons=4, topology=KINECT20) as writer:
        for number in range(0, 9, 3):
            with writer.shard(f"{number}") as shard:
                for i in range(number, number + 3):
                    shard.append(Sequence(f"clip {i}", arrays[i]))
    store = SequenceStore.open(tmp_path / "store")
    order = [7, 2, 0, 5, 6]
    clips = Clips.load(store, [f"clip {i}" for i in order])
    assert (len(clips), clips.body.channels, clips.device.type) == (5, 4 * 20 * 3, "cpu")
    assert [len(seen) for seen in clips.seen] == [arrays[i].shape[1] for i in order]
    motion, mask = clips.windows(stacked([clips.plain(clip) for clip in range(5)]), 24, "local")
    values = [expected(padded(arrays[i], 4), KINECT20, 24, "local") for i in order]
    assert_same(motion, mask, values, "local")
    assert len(Clips.load(store, [])) == 0
    with pytest.raises(UserError, match="expected a stored name, saw 'clip 99'"):
        Clips.load(store, ["clip 1", "clip 99"])


@pytest.mark.parametrize("topology", [KINECT20, COCO17], ids=lambda topology: topology.name)
def test_a_batch_reads_its_own_clips_and_a_device_that_holds_all_reads_the_same(
    topology: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows_module, "_CLIPS_AT_ONCE", 4)
    arrays = recordings(topology)
    with StoreWriter(tmp_path, persons=4, topology=topology) as writer, writer.shard("all") as shard:
        for i, data in enumerate(arrays):
            shard.append(Sequence(str(i), data))
    store, read = SequenceStore.open(tmp_path), []
    frames = store.frames
    monkeypatch.setattr(store, "frames", lambda clip: read.append(clip) or frames(clip))
    lazy = Clips.load(store, store.names)
    assert read == []
    monkeypatch.setattr(windows_module, "_fits", lambda *_: True)
    resident = Clips.load(store, store.names)
    assert set(read) == set(range(9))
    later = {"joint_dropout": 0.2, "speed": 0.5, "swap_persons": True, "sampling": "random", "noise": 0.1}
    config = CONFIG.model_copy(update=later)
    readings = stacked([resident.random(i, config, np.random.default_rng(i)) for i in (7, 2, 2, 5)])
    for stream in STREAMS:
        read.clear()
        motion, mask = lazy.windows(readings, 24, stream)
        assert set(read) == {2, 5, 7}
        read.clear()
        same, its_mask = resident.windows(readings, 24, stream)
        assert read == []
        assert torch.equal(mask, its_mask)
        assert torch.equal(motion, same)


def test_arrays_of_another_shape_are_refused() -> None:
    data = np.zeros((2, 5, 25, 3), np.float32)
    assert Clips.from_arrays([data], Body(NTU25, 3)).body.channels == 3 * 25 * 3
    for wrong, message in (
        (data[0], "saw \\[5, 25, 3\\]"),
        (data[:, :, :20], "25 joints"),
        (data[:, :0], "saw \\[2, 0, 25, 3\\]"),
        (data.repeat(2, 0), "at most 3 persons, saw 4"),
    ):
        with pytest.raises(UserError, match=f"clip 1: expected .*{message}"):
            Clips.from_arrays([data, wrong], Body(NTU25, 3))


def test_readings_travel_through_a_data_loader() -> None:
    clips = Clips.from_arrays(recordings(NTU25), Body(NTU25, 3))
    readings = [clips.random(clip, CONFIG, np.random.default_rng(clip)) for clip in range(6)]
    loader: DataLoader = DataLoader(readings, batch_size=4, collate_fn=stacked, num_workers=1)
    motion = torch.cat([clips.windows(batch, 8, "joints")[0] for batch in loader])
    assert torch.equal(motion, clips.windows(stacked(readings), 8, "joints")[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("memory_share", [0.0, 0.5])
def test_on_the_gpu_windows_are_the_same_wherever_the_clips_lie(tmp_path: Path, memory_share: float) -> None:
    arrays = recordings(NTU25)
    with StoreWriter(tmp_path, persons=3, topology=NTU25) as writer, writer.shard("all") as shard:
        for i, data in enumerate(arrays):
            shard.append(Sequence(str(i), data))
    store = SequenceStore.open(tmp_path)
    here = Clips.load(store, store.names)
    there = Clips.load(store, store.names, "cuda", memory_share)
    later = {"joint_dropout": 0.2, "axis_dropout": 0.5, "speed": 0.5, "swap_persons": True}
    noisy = CONFIG.model_copy(update={"noise": 0.1, **later})
    readings = stacked([here.random(clip, noisy, np.random.default_rng(clip)) for clip in range(9)])
    on_gpu = {name: tensor.cuda() for name, tensor in readings.items()}
    for stream in STREAMS:
        motion, mask = here.windows(readings, 64, stream)
        for batch in (readings, on_gpu):
            its_motion, its_mask = there.windows(batch, 64, stream)
            assert its_motion.device.type == "cuda"
            assert torch.equal(its_mask.cpu(), mask)
            torch.testing.assert_close(its_motion.cpu(), motion, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            joint_positions(its_motion, its_mask, NTU25, stream).cpu(),
            joint_positions(motion, mask, NTU25, stream),
            atol=1e-4, rtol=0, equal_nan=True,
        )  # fmt: skip
