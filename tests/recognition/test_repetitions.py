"""Repetitions of one action: exact on recordings glued from different clips of it."""

import numpy as np
import pytest

from llmar_pipeline.corpora.ntu import NTU60
from llmar_pipeline.demo.recordings import DemoConfig, generate_recordings
from llmar_pipeline.recognition.repetitions import repetitions
from llmar_pipeline.skeletons.topology import COCO17, NTU25

ACTIONS = {8: "sit down", 9: "stand up", 10: "clap", 22: "cheer", 23: "wave", 24: "kick", 27: "jump"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Eight different recordings of each action by one person."""
    folder = tmp_path_factory.mktemp("clips")
    config = DemoConfig(
        subjects=(5,), cameras=(1,), replications=8, actions=tuple(ACTIONS), damaged_files=0, seed=3
    )
    generate_recordings(folder, config)
    return {
        action: [NTU60.load(file).data for file in sorted(folder.glob(f"*A{action:03d}.skeleton"))]
        for action in ACTIONS
    }


@pytest.mark.parametrize("action", ACTIONS, ids=ACTIONS.values())
@pytest.mark.parametrize("number", [1, 3, 5, 8])
def test_glued_clips_are_counted_exactly(clips, action, number, benchmarks):
    glued = benchmarks("gluing").glued
    orders = [np.roll(range(8), turn)[:number] for turn in range(8 if number == 1 else 2)]
    for order in orders:
        recording = glued([clips[action][clip] for clip in order], NTU25.root)
        assert repetitions(recording[0], NTU25, 30) == number


def swings(times: int, frames: int = 30, topology=NTU25) -> np.ndarray:
    """A body whose right arm is raised and lowered; every bone 0.3 long."""
    body = np.zeros((times * frames, len(topology.joints), topology.coordinates), np.float32)
    body[..., 1] = 0.3 * np.arange(len(topology.joints))
    raised = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(times * frames) / frames)
    for joint in (9, 10, 11):
        body[:, joint, 1] += 2 * raised
    return body


@pytest.mark.parametrize("times", [1, 2, 4, 9])
@pytest.mark.parametrize("topology", [NTU25, COCO17], ids=["3D", "2D"])
def test_a_steady_motion_is_counted(times, topology):
    assert repetitions(swings(times, topology=topology), topology, 30) == times


def test_where_a_person_stands_and_faces_and_the_unit_do_not_count():
    body = swings(4)
    turn = np.array([[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]], np.float32)
    path = np.linspace(0, 5, len(body), dtype=np.float32)[:, None, None]
    assert repetitions(1000 * (body @ turn + path), NTU25, 30) == 4


def test_missing_frames_and_joints_do_not_count():
    body = swings(4)
    body[10:14] = np.nan
    body[50:60, 9] = np.nan
    body[:, 4] = np.nan
    assert repetitions(body, NTU25, 30) == 4


@pytest.mark.parametrize("frames", [1, 5, 60])
def test_who_stands_still_is_there_once(frames):
    still = swings(1)[:1].repeat(frames, axis=0)
    assert repetitions(still, NTU25, 30) == 1
    assert repetitions(np.full_like(still, np.nan), NTU25, 30) == 1
