"""What readings change beside crop, turn, scale and mirror, which `test_windows.py` compares with numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.topology import COCO17, NTU25, Body, Topology
from llmar_pipeline.vqvae import variation
from llmar_pipeline.vqvae.variation import frame_positions
from llmar_pipeline.vqvae.windows import Clips, Reading, stacked

OFF = AugmentationConfig(min_crop=1, rotation=0, tilt=0, scale=0, noise=0, mirror=False)
EACH: list[dict[str, Any]] = [
    {"joint_dropout": 0.3},
    {"axis_dropout": 0.5},
    {"speed": 0.9},
    {"sampling": "random"},
    {"swap_persons": True},
]
EVERYTHING = {name: value for one in EACH for name, value in one.items()} | {"noise": 0.1, "mirror": True}
FRAMES = 24


def clips_of(topology: Topology, persons: int = 3) -> Clips:
    """One to `persons` persons, with gaps; clip 0 has one frame, and of the last clip nobody is seen."""
    rng = np.random.default_rng(0)
    arrays = []
    for number in range(8):
        shape = (1 + number % persons, 1 + 6 * number, len(topology.joints), topology.coordinates)
        data = rng.uniform(1, 2, shape).astype(np.float32)  # nothing observed is zero
        data[rng.random(shape[:3]) < 0.2] = np.nan
        data[:, :, topology.root] = 1.5
        arrays.append(data if number < 7 else np.full_like(data, np.nan))
    return Clips.from_arrays(arrays, Body(topology, persons))


def readings(clips: Clips, config: dict[str, Any], count: int = 32) -> list[Reading]:
    chosen = OFF.model_copy(update=config)
    return [clips.random(i % len(clips), chosen, np.random.default_rng(i)) for i in range(count)]


def bodies(clips: Clips, given: list[Reading]) -> tuple[Tensor, Tensor]:
    """Windows and masks as `[B, frame, person, joint, coordinate]`."""
    motion, mask = clips.windows(stacked(given), FRAMES, "joints")
    shape = (clips.body.persons, len(clips.body.topology.joints), clips.body.topology.coordinates)
    return motion.unflatten(2, shape), mask.unflatten(2, shape)


@pytest.fixture(params=[NTU25, COCO17], ids=lambda topology: topology.name)
def clips(request: pytest.FixtureRequest) -> Clips:
    return clips_of(request.param)


@pytest.mark.parametrize("config", [*EACH, EVERYTHING], ids=lambda config: "-".join(config))
def test_a_reading_depends_on_itself_alone(clips: Clips, config: dict[str, Any]) -> None:
    given = [*readings(clips, config, 12), clips.plain(3)]
    together = clips.windows(stacked(given), FRAMES, "local", "box")
    assert torch.isfinite(together[0]).all()
    assert not together[0][..., : clips.body.channels][~together[1]].any()
    for number, reading in enumerate(given):
        alone = clips.windows(stacked([reading]), FRAMES, "local", "box")
        assert all(torch.equal(one[0], all_[number]) for one, all_ in zip(alone, together, strict=True))


def test_with_the_later_changes_off_windows_are_what_they_were_before_these() -> None:
    """Numbers of the version before them, the next one of the generator included."""
    data = np.arange(2 * 9 * 25 * 3, dtype=np.float32).reshape(2, 9, 25, 3) / 1000
    data[:, 4, 3:] = np.nan
    clips = Clips.from_arrays([data], Body(NTU25, 2))
    config = AugmentationConfig(min_crop=0.5, rotation=0.4, tilt=0.2, scale=0.1, noise=0.01, mirror=True)
    rng = np.random.default_rng(2)
    given = [*(clips.random(0, config, rng) for _ in range(2)), clips.plain(0)]
    motion, _ = clips.windows(stacked(given), 8, "local")
    before = [
        [-0.009375706315040588, 0.0020067542791366577, 0.0150068998336792],
        [0.013458728790283203, 0.0047858357429504395, 0.012499064207077026],
        [0.003000000026077032, 0.003000020980834961, 0.003000020980834961],
    ]
    # Equal to the bit where they were made; other machines' cosines may end otherwise.
    np.testing.assert_allclose(motion[:, ::3, 7], before, atol=2e-7)
    assert rng.random() == 0.9674359524936766


@pytest.mark.parametrize("config", EACH, ids=lambda config: "-".join(config))
def test_each_changes_readings_and_none_is_needed_to_pack_the_others(
    clips: Clips, config: dict[str, Any]
) -> None:
    plain = readings(clips, {})
    assert set(stacked(plain)) == {"clip", "start", "length", "matrix"}
    assert not torch.equal(bodies(clips, readings(clips, config))[0], bodies(clips, plain)[0])


def test_a_dropped_joint_is_missing_in_every_frame_and_the_root_never_is(clips: Clips) -> None:
    given = readings(clips, {"joint_dropout": 0.3}, 400)
    (motion, mask), (before, seen) = bodies(clips, given), bodies(clips, readings(clips, {}, 400))
    assert torch.equal(motion, before * mask)
    there, kept = seen[..., 0].any(1), mask[..., 0].any(1)  # [B, person, joint]
    assert torch.equal(mask, seen & kept[:, None, ..., None])
    root = clips.body.topology.root
    assert torch.equal(kept[..., root], there[..., root])
    others = [joint for joint in range(there.shape[2]) if joint != root]
    share = 1 - kept[..., others].sum() / there[..., others].sum()
    assert share.item() == pytest.approx(0.3, abs=0.01)


def test_a_dropped_axis_is_zero_and_stays_observed_even_under_noise(clips: Clips) -> None:
    coordinates = clips.body.topology.coordinates
    given = readings(clips, {"axis_dropout": 0.5, "noise": 0.01}, 400)
    given = [reading for reading in given if reading[0] != 7]
    motion, mask = bodies(clips, given)
    dropped = ~motion.flatten(1, 3).any(1)
    assert torch.equal(mask, bodies(clips, [clips.plain(clip) for clip, _ in given])[1])
    assert set(dropped.sum(1).tolist()) == {0, 1}
    shares = dropped.float().mean(0)
    torch.testing.assert_close(shares, torch.full_like(shares, 0.5 / coordinates), atol=0.06, rtol=0)


def test_speed_sways_within_its_bounds_from_the_first_frame_to_the_last() -> None:
    clips = Clips.from_arrays([np.zeros((1, 101, 25, 3), np.float32)], Body(NTU25, 1))
    frames = 401
    position = frame_positions(stacked(readings(clips, {"speed": 0.6}, 200)), frames)
    steps = position.diff(dim=1) * (frames - 1) / 100  # 1: as in the recording
    assert torch.equal(position[:, 0], torch.zeros(200, dtype=torch.float64))
    assert torch.equal(position[:, -1], torch.full((200,), 100.0, dtype=torch.float64))
    assert 0.4 <= steps.min() < 0.5
    assert 1.5 < steps.max() <= 1.6


def test_speed_by_hand() -> None:
    """Of speed 1 + 0.5 cos(2 pi s), a quarter of the frames shows 0.25 + 0.5 / (2 pi) of the crop."""
    given = {"length": torch.tensor([101]), "sway": torch.tensor([0.5 + 0j])}
    shares = [0, 0.25 + 0.25 / np.pi, 0.5, 0.75 - 0.25 / np.pi, 1]
    np.testing.assert_allclose(frame_positions(given, 5)[0], 100 * np.array(shares), rtol=1e-12)


def test_random_frames_lie_anywhere_in_their_order() -> None:
    clips = Clips.from_arrays([np.zeros((1, 101, 25, 3), np.float32)], Body(NTU25, 1))
    position = frame_positions(stacked(readings(clips, {"sampling": "random"}, 500)), 16)
    assert (position.diff(dim=1) >= 0).all()
    assert 0 <= position.min() < 1
    assert 99 < position.max() <= 100
    # The k-th of n sorted numbers is k / (n + 1) in the mean.
    np.testing.assert_allclose(position.mean(0), 100 * np.arange(1, 17) / 17, atol=1.5)


@pytest.mark.parametrize("frames", [1, 2, 16])
def test_frames_lie_in_the_crop_however_they_are_drawn(frames: int) -> None:
    clips = clips_of(NTU25)
    packed = stacked(readings(clips, EVERYTHING | {"min_crop": 0.1}, 400))
    position = frame_positions(packed, frames)
    assert (position >= 0).all()
    assert (position <= packed["length"][:, None] - 1).all()


def test_persons_who_are_there_take_turns_to_come_first(clips: Clips) -> None:
    given = readings(clips, {"swap_persons": True}, 480)
    (motion, mask), (before, seen) = bodies(clips, given), bodies(clips, readings(clips, {}, 480))
    for persons in (1, 2, 3):
        numbers = [i for i, (clip, _) in enumerate(given) if clip % 3 == persons - 1 and clip < 7]
        turns = []
        for i in numbers:
            rolled = [before[i, :, :persons].roll(-turn, 1) for turn in range(persons)]
            turns.append(
                next(turn for turn in range(persons) if torch.equal(motion[i, :, :persons], rolled[turn]))
            )
            assert torch.equal(mask[i, :, :persons], seen[i, :, :persons].roll(-turns[-1], 1))
            assert not mask[i, :, persons:].any()
        shares = np.bincount(turns, minlength=persons) / len(numbers)
        np.testing.assert_allclose(shares, 1 / persons, atol=0.1)


def test_the_box_holds_all_that_a_window_shows_however_large_it_is(clips: Clips) -> None:
    given = [reading for reading in readings(clips, {"joint_dropout": 0.3}) if reading[0] not in (0, 7)]
    channels = clips.body.channels
    motion, mask = clips.windows(stacked(given), FRAMES, "joints", "box", "box_bones", "box_motion")
    joints, box = motion[..., :channels], motion[..., channels : 2 * channels]
    for number in range(len(given)):
        for axis in range(clips.body.topology.coordinates):
            seen = mask[number].unflatten(1, (-1, clips.body.topology.coordinates))[..., axis]
            values, inside = (
                x[number].unflatten(1, (-1, clips.body.topology.coordinates))[..., axis][seen]
                for x in (joints, box)
            )
            expected = 2 * (values - values.min()) / (values.max() - values.min()) - 1
            torch.testing.assert_close(inside, expected, atol=1e-5, rtol=0)
    larger = [
        (clip, reading.__class__(**{**vars(reading), "matrix": 3 * reading.matrix}))
        for clip, reading in given
    ]
    scaled, _ = clips.windows(stacked(larger), FRAMES, "joints", "box", "box_bones", "box_motion")
    torch.testing.assert_close(scaled[..., channels:], motion[..., channels:], atol=1e-4, rtol=0)


def test_along_a_flat_axis_the_box_is_zero() -> None:
    clips = Clips.from_arrays(
        [
            np.ones((1, 1, 25, 3), np.float32),
            np.eye(3, dtype=np.float32)[:1] * np.arange(25, dtype=np.float32)[None, None, :, None],
        ],
        Body(NTU25, 1),
    )
    motion, _ = clips.windows(stacked([clips.plain(0), clips.plain(1)]), 2, "box")
    assert not motion[0].any()
    torch.testing.assert_close(motion[1, 0].unflatten(0, (25, 3))[:, 0], torch.linspace(-1, 1, 25))
    assert not motion[1, 0].unflatten(0, (25, 3))[:, 1:].any()


def test_random_numbers_are_splitmix64() -> None:
    first = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    seed = torch.tensor([1234567, 5])
    sums = [sum(number >> shift & 0xFFFF for shift in (0, 16, 32, 48)) for number in first]
    normal = variation._normal(seed, 40_000)
    expected = (np.array(sums) - 2 * 65535) / np.sqrt((2**32 - 1) / 3)
    np.testing.assert_allclose(normal[0, :4].numpy(), expected, rtol=1e-6)
    assert normal.std().item() == pytest.approx(1, abs=0.01)
    assert normal.mean().item() == pytest.approx(0, abs=0.01)
    uniform = variation._uniform(seed, 40_000)
    assert uniform[0, :4].tolist() == [(number >> 11) / 2**53 for number in first]
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01)
    assert 0 <= uniform.min() <= uniform.max() < 1
