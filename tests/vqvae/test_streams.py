from typing import get_args

import numpy as np
import numpy_streams
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmar_pipeline.skeletons.topology import KINECT20, NTU25, Topology
from llmar_pipeline.vqvae import streams
from llmar_pipeline.vqvae.config import Stream


def with_tensors(function, data, topology, stream):
    """A function of `vqvae.streams` with arrays as `numpy_streams` has them."""
    batch = torch.from_numpy(data.transpose(1, 3, 0, 2)).unsqueeze(0)
    observed = ~batch.isnan().any(dim=2)
    values = function(batch.nan_to_num(), observed, topology, stream)
    values = values.where(observed.unsqueeze(2), torch.nan)
    return values[0].permute(2, 0, 3, 1).numpy()


def to_stream(data, topology, stream):
    """As a stream, written by both implementations, which must agree."""
    values = with_tensors(streams.to_stream, data, topology, stream)
    np.testing.assert_allclose(numpy_streams.to_stream(data, topology, stream), values, atol=1e-5)
    return values


def from_stream(values, topology, stream):
    """Back from a stream, by both implementations, which must agree."""
    data = with_tensors(streams.from_stream, values, topology, stream)
    np.testing.assert_allclose(numpy_streams.from_stream(values, topology, stream), data, atol=3e-5)
    return data


STICK = Topology(
    name="stick",
    joints=("foot", "hip", "head"),
    parents=(1, -1, 1),
    mirror=(0, 1, 2),
    root=1,
    shoulders=(0, 2),
    hips=(0, 2),
    coordinates=2,
)
"""Three joints on a line; the child comes before its parent in the file order."""

WALK = np.array([[[[0, -1], [0, 0], [0, 1]], [[1, -1], [2, 0], [3, 1]]]], np.float32)


def test_joints_are_the_positions() -> None:
    np.testing.assert_array_equal(to_stream(WALK, STICK, "joints"), WALK)


def test_local_joints_hang_on_the_root_and_the_root_stays() -> None:
    expected = [[[[0, -1], [0, 0], [0, 1]], [[-1, -1], [2, 0], [1, 1]]]]
    np.testing.assert_array_equal(to_stream(WALK, STICK, "local"), expected)


def test_bones_are_relative_to_parents_and_the_top_stays() -> None:
    expected = [[[[0, -1], [0, 0], [0, 1]], [[-1, -1], [2, 0], [1, 1]]]]
    np.testing.assert_array_equal(to_stream(WALK, STICK, "bones"), expected)


def test_motion_is_ten_times_the_step() -> None:
    expected = [[[[0, -10], [0, 0], [0, 10]], [[10, 0], [20, 0], [30, 0]]]]
    np.testing.assert_array_equal(to_stream(WALK, STICK, "motion"), expected)


def test_local_motion_is_ten_times_the_step_relative_to_the_root() -> None:
    """Foot and head, once they hang on the hip, step by (-1, 0) and (1, 0); the hip itself by (2, 0)."""
    expected = [[[[0, -10], [0, 0], [0, 10]], [[-10, 0], [20, 0], [10, 0]]]]
    np.testing.assert_array_equal(to_stream(WALK, STICK, "local_motion"), expected)


def test_motion_after_a_gap_is_the_step_since_the_last_observation() -> None:
    data = np.array([[[[0, 0]], [[np.nan, np.nan]], [[3, 0]]]], np.float32)
    point = Topology("point", ("p",), (-1,), (0,), 0, (0, 0), (0, 0), 2)
    np.testing.assert_array_equal(
        to_stream(data, point, "motion"), [[[[0, 0]], [[np.nan, np.nan]], [[30, 0]]]]
    )


@pytest.mark.parametrize("stream", get_args(Stream))
@pytest.mark.parametrize("topology", [NTU25, KINECT20, STICK], ids=lambda t: t.name)
@given(seed=st.integers(0, 2**32 - 1), persons=st.integers(1, 3), frames=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_every_stream_comes_back(
    topology: Topology, stream: Stream, seed: int, persons: int, frames: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = (persons, frames, len(topology.joints), topology.coordinates)
    data = rng.normal(size=shape).astype(np.float32)
    data[rng.random(shape[:3]) < 0.2] = np.nan
    data[rng.random(shape[:2]) < 0.2] = np.nan
    values = to_stream(data, topology, stream)
    np.testing.assert_array_equal(np.isnan(values), np.isnan(data))
    np.testing.assert_allclose(from_stream(values, topology, stream), data, atol=3e-5)


@pytest.mark.parametrize("stream", ["local", "bones", "motion", "local_motion"])
def test_all_but_the_path_is_blind_to_where_a_person_stands(stream: Stream) -> None:
    moved = to_stream(WALK + 7, STICK, stream) - to_stream(WALK, STICK, stream)
    assert np.abs(moved[:, 1:] if "motion" in stream else moved[:, :, [0, 2]]).max() < 1e-6
