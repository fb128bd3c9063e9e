"""benchmarks/peer.py: its network, its streams, and the page of its rows."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from llmar_pipeline.commands.rows import read_rows, row_file
from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.paired import paired_difference_of_shares
from llmar_pipeline.skeletons.augmentation import plain
from llmar_pipeline.skeletons.topology import KINECT20, NTU25, Body, Topology
from llmar_pipeline.vqvae.windows import Clips

CHAIN = Topology("chain", ("a", "b", "c"), (-1, 0, 1), (0, 1, 2), 0, (1, 2), (1, 2))
BEST = {"environment": "nwucla", "protocol": "xview", "experiment": "best", "size": "laptop"}


@pytest.fixture(scope="module")
def peer(benchmarks: Callable[[str], ModuleType]) -> ModuleType:
    return benchmarks("peer")


@pytest.fixture(scope="module")
def network(peer: ModuleType) -> ModuleType:
    return sys.modules["peer_network"]


@pytest.mark.parametrize(("topology", "persons"), [(KINECT20, 1), (NTU25, 2)])
def test_the_network_gives_a_score_of_each_class(
    network: ModuleType, topology: Topology, persons: int
) -> None:
    made = network.PeerNetwork(Body(topology, persons), 7, ((8, 1), (16, 2)))
    motion = torch.randn(4, 12, topology.coordinates, persons, len(topology.joints))
    scores = made(motion)
    assert scores.shape == (4, 7)
    scores.sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


def test_persons_are_averaged(network: ModuleType) -> None:
    made = network.PeerNetwork(Body(KINECT20, 2), 5, ((8, 1),)).eval()
    motion = torch.randn(3, 8, 3, 2, 20)
    torch.testing.assert_close(made(motion), made(motion.flip(3)))


def test_the_graph_starts_as_the_skeleton(network: ModuleType) -> None:
    own, parent, children = network.skeleton_graph(CHAIN)
    assert own.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert parent.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert children.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_without_refinement_joints_take_what_the_shared_graph_says(network: ModuleType) -> None:
    layer = network.TopologyRefinement(1, 1, torch.tensor([[[0.0, 2.0], [1.0, 0.0]]]))
    with torch.no_grad():
        layer.values[0].weight.fill_(10.0)
        layer.values[0].bias.fill_(1.0)
    made = layer(torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]]))
    assert made.tolist() == [[[[82.0, 102.0, 122.0], [11.0, 21.0, 31.0]]]]


def test_the_refined_topology_is_that_of_the_publication(network: ModuleType) -> None:
    """Features mapped, then pooled; tanh of differences, mapped; alpha of it added: joint by joint."""
    torch.manual_seed(0)
    inputs, outputs, clips, joints, frames = 2, 3, 2, 3, 4
    layer = network.TopologyRefinement(inputs, outputs, network.skeleton_graph(CHAIN)).double()
    layer.alpha.data.fill_(0.7)
    x = np.random.default_rng(0).normal(size=(inputs, clips, joints, frames))
    weights = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    expected = np.zeros((outputs, clips, joints, frames))
    for k in range(3):

        def mapped(name: str, clip: int, joint: int, frame: int, k: int = k) -> np.ndarray:
            return weights[f"{name}.{k}.weight"] @ x[:, clip, joint, frame] + weights[f"{name}.{k}.bias"]

        for clip in range(clips):
            pooled = [
                np.mean([mapped("compare", clip, joint, frame) for frame in range(frames)], axis=0)
                for joint in range(joints)
            ]
            half = len(pooled[0]) // 2
            for to in range(joints):
                for come in range(joints):
                    apart = np.tanh(pooled[to][:half] - pooled[come][half:])
                    refined = weights[f"refine.{k}.weight"] @ apart + weights[f"refine.{k}.bias"]
                    adjacency = weights["shared"][k, to, come] + 0.7 * refined
                    for frame in range(frames):
                        expected[:, clip, to, frame] += adjacency * mapped("values", clip, come, frame)
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach().numpy(), expected)


def test_the_streams_are_the_fields(peer: ModuleType) -> None:
    joints = np.random.default_rng(0).normal(size=(1, 5, 3, 3)).astype(np.float32)
    clips = Clips.from_arrays([joints], Body(CHAIN, 1))
    bones = joints.copy()
    bones[:, :, 0] = 0
    bones[:, :, 1:] -= joints[:, :, :2]
    for name, still in (("joint", joints), ("bone", bones)):
        made = {
            stream: peer.motion_of(clips, [(0, plain(5, 3))], 5, stream)[0, :, :, 0].transpose(1, 2).numpy()
            for stream in (f"{name}s", f"{name}_motion")
        }
        np.testing.assert_allclose(made[f"{name}s"], still[0], atol=1e-6)
        moved = 10 * np.diff(still[0], axis=0)  # vqvae/streams.py counts motion tenfold
        np.testing.assert_allclose(made[f"{name}_motion"][1:], moved, atol=1e-5)


def test_the_seconds_of_best_are_those_of_whole_runs(peer: ModuleType) -> None:
    rows = [{**BEST, "seed": seed, "processor_seconds": seconds} for seed, seconds in ((1, 10.0), (2, 20.0))]
    rows += [{**BEST, "seed": 0, "processor_seconds": 3.0, "note": "stage 1 was there"}]
    rows += [{**BEST, "experiment": "llm_ar", "seed": 1, "processor_seconds": 99.0}]
    assert [peer.seconds_of_best(rows, {**BEST, "seed": seed}) for seed in range(3)] == [15.0, 10.0, 20.0]
    with pytest.raises(UserError, match="--seconds"):
        peer.seconds_of_best(rows, {**BEST, "environment": "utdmhad", "seed": 0})


def test_further_seeds_and_other_training_clips_take_the_steps_of_the_first(peer: ModuleType) -> None:
    made = {"beside": {**BEST, "seed": 0}, "streams": ["joints"], "budget": "as best", "steps": 1500}
    five = {**made, "beside": made["beside"] | {"overrides": {"shots": 5, "shots_seed": 0}}, "steps": 1600}
    rows = [{**made, "budget": "9000 steps", "steps": 9000}, made, five]

    def steps(streams: tuple[str, ...] = ("joints",), **others: object) -> int:
        return peer.steps_of_alike(rows, {**BEST, "seed": 2, **others}, list(streams))

    assert steps() == 1500
    assert steps(overrides={"shots": 5, "shots_seed": 0}) == 1600
    assert steps(overrides={"shots": 3, "shots_seed": 0}) == 1600
    assert steps(("bones",)) == steps(environment="utdmhad") == steps(overrides={"val_share": 0}) == 0


def a_row(seed: int, right: str, streams: tuple[str, ...] = ("joints",)) -> dict:
    accuracy = right.count("1") / len(right)
    return {
        **{key: BEST[key] for key in ("environment", "protocol")},
        **{"command": "python benchmarks/peer.py", "seed": seed, "streams": streams, "budget": "as best"},
        **{"machine": "one thread", "revision": "abc", "beside": {**BEST, "seed": seed}},
        **{"steps": 1500, "epochs": 50.0, "parameters": 1234, "blocks": [[32, 1], [64, 2]]},
        "processor_seconds": 1300 + seed,
        "metrics": {"accuracy": accuracy, "accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1},
        **{"one_reading_accuracy": 0.4, "best_epoch_accuracy": 0.45, "right": right, "clips": "digest"},
    }


def write(folder: Path, name: str, row: dict) -> None:
    (folder / name).write_text(json.dumps(row))


def test_the_page_says_what_the_rows_say(peer: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="table-only"):
        peer.page(tmp_path)
    theirs, ours = ("1100", "1101"), ("1110", "1111")
    four = ("joints", "bones", "joint_motion", "bone_motion")
    for seed in range(2):
        write(tmp_path, f"peer-a-seed{seed}.json", a_row(seed, theirs[seed]))
        best = {**BEST, "seed": seed, "metrics": {"accuracy": ours[seed].count("1") / 4}}
        write(tmp_path, row_file(tmp_path, best).name, best | {"right": ours[seed], "clips": "digest"})
    write(tmp_path, "peer-b-seed5.json", a_row(5, "1000", four))
    assert len(read_rows(tmp_path)) == 2  # the experiment's; the peer's are none of the grid's

    page = peer.page(tmp_path)
    table = [line.strip("| ").split(" | ") for line in page if line.startswith("| nwucla")]
    assert [row[1:3] for row in table] == [
        *(["joints", seed] for seed in ("0", "1", "mean ± s.d.")),
        ["joints, bones, joint motion, bone motion", "5"],
    ]
    assert [row[3] for row in table] == [
        *("50.0 (40.0 to 60.0)", "75.0 (65.0 to 85.0)", "**62.5 ± 17.7**", "25.0 (15.0 to 35.0)")
    ]
    assert table[0][4:8] == ["40.0", "45.0", "+5.0", "75.0"]
    found = paired_difference_of_shares(np.array([1, 1, 1, 0.5]), np.array([1, 1, 0, 0.5]))
    assert table[2][8] == f"+25.0 ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    assert table[3][8] == "no row of `best`"
    assert table[2][9:] == ["1,234", "1,500", "50", "1,300"]
    assert "32/1, 64/2." in "\n".join(page)
    assert "- machine: one thread" in page


def test_rows_of_best_that_do_not_know_their_clips_have_no_interval(peer: ModuleType, tmp_path: Path) -> None:
    for seed in range(2):
        write(tmp_path, f"peer-a-seed{seed}.json", a_row(seed, "1100"))
    write(tmp_path, "best-0.json", {**BEST, "seed": 0, "metrics": {"accuracy": 0.75}})
    assert any("+25.0 (no interval: rows of `best`" in line for line in peer.page(tmp_path))
    one = {**BEST, "seed": 1, "metrics": {"accuracy": 0.5}, "right": "1100", "clips": "digest"}
    write(tmp_path, "best-1.json", one)
    assert any("+0.0 (+0.0 to +0.0, seeds 1 alone)" in line for line in peer.page(tmp_path))
