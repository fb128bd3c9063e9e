"""The motion that an action sentence brings back, beside the motion that it was made of."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llmar_pipeline.progress import Progress
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.training import processes
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.windows import joint_positions, plain_windows


def reconstruct_clips(
    model: VQVAE, sequences: Path, names: list[str], batch_size: int = 64
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Motion before and after the codebook, clip by clip.

    Args:
        model: as `load_vqvae` returns it.
        sequences: folder of the normalised store.
        names: which clips.
        batch_size: clips in one pass.

    Yields:
        (original, reconstruction), both [person, V, joint, coordinate], NaN where the original is.
    """
    store = SequenceStore.open(sequences)
    model.check_body(store.body, sequences)
    with Progress(total=len(names), title="reconstructing") as progress:
        frames, streams = model.settings.frames, model.settings.streams
        device = processes.device()
        for motion, mask in plain_windows(store, names, device, frames, *streams, at_once=batch_size):
            yield from zip(*reconstructed(model, motion, mask), strict=True)
            progress.update(len(motion))


@torch.no_grad()
def reconstructed(model: VQVAE, motion: Tensor, mask: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Motion before and after the codebook.

    Args:
        model: as `load_vqvae` returns it.
        motion: as `Clips.windows` returns it.
        mask: likewise.

    Returns:
        (original, reconstruction), both [B, person, V, joint, coordinate], NaN where the original is.
    """
    decoded = model.decode(model.tokenize(motion.double()))
    topology, stream = model.body.topology, model.settings.stream
    before, after = (
        joint_positions(values.float(), mask, topology, stream).cpu().numpy()
        for values in (motion[..., : model.body.channels], decoded)
    )
    return before, after


def reconstruction_error(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean distance between a joint and its reconstruction, in the unit of the sequences.

    Args:
        pairs: what `reconstruct_clips` yields.

    Source: the mean per-joint position error (MPJPE) of the pose-estimation literature.
    """
    total, joints = 0.0, 0
    for original, reconstruction in pairs:
        distances = np.linalg.norm(reconstruction - original, axis=-1)
        observed = ~np.isnan(distances)
        total += float(distances[observed].sum(dtype=np.float64))
        joints += int(observed.sum())
    return total / joints if joints else float("nan")
