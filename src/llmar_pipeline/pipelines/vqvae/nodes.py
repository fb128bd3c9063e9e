"""Training clips -> the action-based VQ-VAE."""

from pathlib import Path

import pandas as pd

from llmar_pipeline.io.tracking import log_live
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.vqvae.config import VQVAEConfig


def train(
    sequences: Path,
    splits: pd.DataFrame,
    vqvae_checkpoints: Path,
    vqvae_folder: Path,
    vqvae: VQVAEConfig,
    augmentation: AugmentationConfig,
    vqvae_training: TrainingConfig,
) -> tuple[Path, pd.DataFrame]:
    """Train the VQ-VAE on the train split, continuing where a killed run stopped."""
    from llmar_pipeline.vqvae.train import train_vqvae

    names = splits.loc[splits["split"] == "train", "name"].tolist()
    model, history = train_vqvae(
        sequences,
        names,
        vqvae,
        augmentation,
        vqvae_training,
        vqvae_checkpoints,
        log_live("vqvae"),
    )
    model.save(vqvae_folder)
    return vqvae_folder, pd.DataFrame(history)
