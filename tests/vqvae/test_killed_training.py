"""Stage 1, killed again and again at random moments, ends like a training that was not."""

import os
import random
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import GRAPH, schedule

from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import NTU25
from llmar_pipeline.training.history import read_history
from llmar_pipeline.training.launch import train_and_save
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.train import Language, train_vqvae

NAMES = [f"clip {i}" for i in range(10)]  # two and a half batches: checkpoints lie amid the epochs


CHANGES = {
    "lineage": {},
    "graph": GRAPH | {"continuous_steps": 60},
}


def train_into(folder, changes):
    """Everything random is on: augmentation with noise, Gumbel noise, resets, words drawn for the MMD."""
    small = {"code_dim": 16, "codes": 32, "width": 16, "frames": 16, "usage_decay": 0.5, "mmd_words": 20}
    train_and_save(
        train_vqvae,
        VQVAE.save,
        folder / "model",
        folder.parent / "store",
        NAMES,
        [i % 3 for i in range(10)],
        VQVAEConfig(**small | CHANGES[changes]),
        AugmentationConfig(min_crop=0.5, rotation=0.3, tilt=0.1, scale=0.1, noise=0.01, mirror=True),
        schedule(max_steps=120, save_every=7, log_every=5),
        folder / "checkpoints",
        Language(words=torch.randn(50, 16, generator=torch.Generator().manual_seed(0))),
        val_names=NAMES,
        val_labels=[i % 3 for i in range(10)],
    )


@pytest.mark.slow
@pytest.mark.parametrize("changes", CHANGES)
def test_killed_at_random_moments(changes, tmp_path):
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "store", 2, NTU25) as writer, writer.shard("all") as shard:
        for name in NAMES:
            steps = rng.normal(0, 0.05, (2, int(rng.integers(8, 40)), 25, 3))
            shard.append(Sequence(name, steps.cumsum(1).astype(np.float32)))
    train_into(tmp_path / "whole", changes)

    command = (
        f"import sys, pathlib, {__name__} as test; test.train_into(pathlib.Path(sys.argv[1]), sys.argv[2])"
    )
    dice, kills = random.Random(1), 0
    while True:
        process = subprocess.Popen(
            [sys.executable, "-c", command, tmp_path / "killed", changes],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "OMP_NUM_THREADS": str(torch.get_num_threads()),  # it may change the last bits
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started, checkpoints = time.monotonic(), tmp_path / "killed" / "checkpoints"
        before = set(checkpoints.glob("checkpoint-*/complete.json"))
        while process.poll() is None and set(checkpoints.glob("checkpoint-*/complete.json")) <= before:
            assert time.monotonic() < started + 120
            time.sleep(0.01)
        if kills < 4 and process.poll() is None:
            time.sleep(dice.uniform(0, 0.3))  # some steps past a checkpoint, or while one is written
            process.kill()
            kills += process.wait() == -9
        elif process.wait() == 0:
            break
    assert kills >= 2
    whole, killed = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed")
    )
    for name, tensor in whole.items():
        assert torch.equal(tensor, killed[name]), name
    whole_history, history = (read_history(tmp_path / name / "model") for name in ("whole", "killed"))
    assert whole_history["validation_loss"].count() == 120 // 7 + 1
    pd.testing.assert_frame_equal(history, whole_history, check_exact=True, check_like=True)
