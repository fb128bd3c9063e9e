"""Two processes that share every batch train as one process that has it to itself."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_training import one_after_another, schedule

from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import NTU25
from llmar_pipeline.training.launch import launch, train_and_save
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.train import Language, train_vqvae

pytestmark = pytest.mark.slow  # new processes import torch anew

CLIPS = 10
SHIFTS = {"encoder.last.0.bias", "encoder.last.1.bias", "encoder.standardize_features.mean"}
"""Of the graph encoder: what its last standardisation takes away has no gradient but rounding."""
AUGMENTATION = AugmentationConfig(min_crop=0.7, rotation=0.3, tilt=0.1, scale=0.1, noise=0.0, mirror=False)
VALIDATION = {"val_names": [f"clip{number}" for number in range(8)], "val_labels": [0, 1, 2, 0, 1, 2, 0, 1]}


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    """Clips whose persons and frames are partly missing, so that the halves of a batch weigh differently."""
    folder = tmp_path_factory.mktemp("sequences")
    rng = np.random.default_rng(0)
    with StoreWriter(folder, 2, NTU25) as store, store.shard("all") as shard:
        for number in range(CLIPS):
            data = rng.normal(size=(2, 30 + number, 25, 3)).cumsum(1) / 8
            if number % 2:
                data[1] = np.nan
            if number % 3 == 0:
                data[:, : 15 + number // 2] = np.nan
            shard.append(Sequence(f"clip{number}", data.astype(np.float32)))
    return folder


def settings_of(number_of_processes, config, folder, sequences):
    training = schedule(
        learning_rate=1e-4,
        micro_batch_size=4 // number_of_processes,
        processes=number_of_processes,
        save_every=100,
    )
    names, labels = [f"clip{number}" for number in range(CLIPS)], [number % 3 for number in range(CLIPS)]
    words = torch.randn(64, config.code_dim, generator=torch.Generator().manual_seed(0))
    language = Language(words=words, class_texts=words[:3])
    return (
        folder / "model",
        sequences,
        names,
        labels,
        config,
        AUGMENTATION,
        training,
        folder / "checkpoints",
        language,
    )


SMALL = {"code_dim": 16, "codes": 8, "width": 16, "frames": 32, "mmd_words": 32}
DYING = SMALL | {"usage_decay": 0.3, "dead_below": 0.5}  # codes die and restart within the eight steps
CONFIGS = {
    "gradient": {"residual_levels": 2, "auxiliary": "class"},
    "ema": {"body_parts": True, "codebook_update": "ema", "initialisation": "kmeans", "auxiliary": "text"},
    "ball": {"codes_as": "ball", "auxiliary": "class"},
    "graph": {
        "encoder": "graph",
        "further_streams": ("bones", "motion"),
        "auxiliary": "class",
        "auxiliary_reads": "both",
        "initialisation": "kmeans",
        "codebook_update": "ema",
        "continuous_steps": 4,
        "max_norm": 1.5,
    },
}


@pytest.fixture(scope="module")
def trained(sequences, tmp_path_factory):
    """History and model of each configuration, by number of processes."""
    made = {}
    for count in (1, 2):
        folder = tmp_path_factory.mktemp(f"by_{count}")
        of_each = [
            settings_of(count, VQVAEConfig(**DYING | changes), folder / name, sequences)
            for name, changes in CONFIGS.items()
        ]
        trainings = [
            partial(train_and_save, train_vqvae, VQVAE.save, *arguments, **VALIDATION)
            for arguments in of_each
        ]
        histories = launch(one_after_another, count, trainings)
        for name, history, arguments in zip(CONFIGS, histories, of_each, strict=True):
            made[name, count] = pd.DataFrame(history), VQVAE.load(arguments[0])
    return made


@pytest.mark.parametrize("name", CONFIGS)
def test_the_same_losses_and_weights(name, trained):
    (alone, model), (together, shared) = trained[name, 1], trained[name, 2]
    assert len(alone) == 8
    parts = ("reconstruction", "embedding", "commitment", "zipf", "context", "mmd", "auxiliary")
    others = {"loss", "grad_norm", "error", "validation_loss"}
    assert {f"{part}_loss" for part in parts} | others <= set(alone.columns)
    assert alone["dead_codes"].max() > 0
    for column in alone.columns:
        np.testing.assert_allclose(together[column], alone[column], rtol=5e-4, atol=1e-6, err_msg=column)
    expected, found = model.state_dict(), shared.state_dict()
    assert expected.keys() == found.keys()
    for weight, value in expected.items():
        if weight in SHIFTS:
            continue
        # By norm: AdamW turns the rounding of a gradient that should be 0 into a step of its own.
        gap = (found[weight].float() - value.float()).norm() / value.float().norm()
        assert gap < 5e-4, weight


def test_a_training_of_two_processes_goes_on_in_one(sequences, tmp_path):
    """The schedule does not stretch, so that a training of fewer steps is the beginning of a longer one."""
    config = VQVAEConfig(**SMALL)
    losses = []
    for runs in (((1, 6),), ((2, 3), (1, 6))):
        for count, steps in runs:
            arguments = list(settings_of(count, config, tmp_path / str(len(runs)), sequences))
            constant = {"schedule": "constant", "max_steps": steps, "save_every": 3}
            arguments[6] = arguments[6].model_copy(update=constant)
            history = launch(train_and_save, count, train_vqvae, VQVAE.save, *arguments)
        losses.append([record["loss"] for record in history])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert not list((tmp_path / "2").glob("checkpoints.before-*"))
