"""Every clip's action sentence, and the motion that a sentence brings back."""

import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from llmar_pipeline.skeletons.augmentation import AugmentationConfig, augment
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.vqvae.config import TokenizationConfig
from llmar_pipeline.vqvae.data import motion_window, positions
from llmar_pipeline.vqvae.model import VQVAE


def tokenize_clips(
    model_folder: Path,
    sequences: Path,
    splits: pd.DataFrame,
    config: TokenizationConfig,
    augmentation: AugmentationConfig,
) -> pd.DataFrame:
    """Encode whole clips, resampled to V frames; training clips also in random readings.

    A random reading depends on (seed, clip name, reading) alone, so it does not change with the order or the
    number of clips.

    Args:
        model_folder: a trained VQ-VAE.
        sequences: folder of the normalised store.
        splits: columns name, split, label, action.
        config: number of readings, batch size, seed.
        augmentation: strength of the random readings.

    Returns:
        Columns name, split, label, action, reading (0: the clip as it is), codes (int array [W]).

    Source: "action sentence" of Sec. 3.1 of the paper; readings ours.
    """
    model, store = VQVAE.load(model_folder), SequenceStore.open(sequences)
    settings, topology = model.settings, store.topology
    rows = [
        {**row, "reading": reading}
        for row in splits[splits["split"] != "unused"].to_dict("records")
        for reading in range(1 + (config.readings if row["split"] == "train" else 0))
    ]

    def motion(row: dict[str, object]) -> np.ndarray:
        data = store.by_name(str(row["name"])).data
        if row["reading"]:
            seed = [config.seed, zlib.crc32(str(row["name"]).encode()), int(str(row["reading"]))]
            data = augment(data, topology, augmentation, np.random.default_rng(seed))
        return motion_window(data, topology, settings.frames, settings.stream)[0]

    codes: list[np.ndarray] = []
    for start in range(0, len(rows), config.batch_size):
        batch = np.stack([motion(row) for row in rows[start : start + config.batch_size]])
        codes += list(model.tokenize(torch.from_numpy(batch)).numpy().astype(np.int32))
    return pd.DataFrame(rows).assign(codes=codes)


def codebook_size(model_folder: Path) -> int:
    """U of a trained VQ-VAE."""
    return VQVAE.load(model_folder).settings.codes


def reconstruct_clips(
    model_folder: Path, sequences: Path, names: list[str], batch_size: int = 64
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Motion before and after the codebook.

    Args:
        model_folder: a trained VQ-VAE.
        sequences: folder of the normalised store.
        names: which clips.
        batch_size: clips in one pass.

    Returns:
        One (original, reconstruction) a clip, both [person, V, joint, coordinate], NaN where the original is.
    """
    model, store = VQVAE.load(model_folder), SequenceStore.open(sequences)
    settings, topology = model.settings, store.topology
    pairs = []
    for start in range(0, len(names), batch_size):
        windows = [
            motion_window(store.by_name(name).data, topology, settings.frames, settings.stream)
            for name in names[start : start + batch_size]
        ]
        motion = torch.from_numpy(np.stack([window for window, _ in windows]))
        with torch.no_grad():
            decoded = model.decode(model.tokenize(motion)).numpy()
        for (window, mask), output in zip(windows, decoded, strict=True):
            pair = (positions(values, mask, topology, settings.stream) for values in (window, output))
            pairs.append(tuple(pair))
    return pairs  # type: ignore[return-value]


def reconstruction_error(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean distance between a joint and its reconstruction, in the unit of the sequences.

    Source: the mean per-joint position error (MPJPE) of the pose-estimation literature.
    """
    distances = [np.linalg.norm(output - window, axis=-1).ravel() for window, output in pairs]
    return float(np.nanmean(np.concatenate(distances)))
