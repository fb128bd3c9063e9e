"""Stage 1: the VQ-VAE learns to write motion in codes."""

from pathlib import Path

import numpy as np
import torch
from transformers import set_seed

from llmar_pipeline.skeletons.augmentation import AugmentationConfig, augment
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.training.trainer import LogFunction, SampleStream, train
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.data import motion_window
from llmar_pipeline.vqvae.model import VQVAE


def train_vqvae(
    sequences: Path,
    names: list[str],
    config: VQVAEConfig,
    augmentation: AugmentationConfig,
    training: TrainingConfig,
    checkpoints: Path,
    on_log: LogFunction | None = None,
) -> tuple[VQVAE, list[dict[str, float]]]:
    """Train on random readings of the named sequences, continuing from the newest checkpoint.

    Args:
        sequences: folder of the normalised store.
        names: clips of the train split.
        config: the model.
        augmentation: strength of the random readings.
        training: the schedule.
        checkpoints: where they are kept.
        on_log: called with (record, step) at every log.

    Returns:
        (the trained model in evaluation mode, log history).

    Raises:
        UserError: no training clip, or a loss or gradient that is not finite.

    Source: first stage of Sec. 3.2 of the paper.
    """
    store = SequenceStore.open(sequences)
    topology = store.topology
    set_seed(training.seed)
    model = VQVAE(config, channels=store.persons * len(topology.joints) * topology.coordinates)

    def read(index: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        data = augment(store.by_name(names[index]).data, topology, augmentation, rng)
        motion, mask = motion_window(data, topology, config.frames, config.stream)
        return {"motion": torch.from_numpy(motion), "mask": torch.from_numpy(mask)}

    stream = SampleStream(len(names), training.max_steps * training.batch_size, training.seed, read)
    fingerprint = {
        "data": store.digest,
        "clips": names,
        "model": config.model_dump(),
        "augmentation": augmentation.model_dump(),
        "training": training.model_dump(),
    }
    history = train(model, stream, training, checkpoints, fingerprint, on_log=on_log)
    return model.eval().cpu(), history
