"""What stage 1 makes of clips before any code is chosen."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llmar_pipeline.files import whole_file
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.training import processes
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.windows import plain_windows


def feature_rows(features: Tensor) -> np.ndarray:
    """Features as the language model reads them in place of codes.

    Args:
        features: the first that `encode_readings` returns.

    Returns:
        `[B, W * P, du]` float16, time step by time step, part by part.

    Source: Table 5 of the paper.
    """
    return features.flatten(1, 2).half().cpu().numpy()


@contextmanager
def feature_file(file: Path | None, readings: int, model: VQVAE) -> Iterator[Callable[[Tensor], None]]:
    """What writes features behind those of the batches before, so that one batch of them is in memory."""
    if file is None:
        yield lambda _: None
        return
    settings = model.settings
    shape = (readings, settings.frames // settings.stride * len(model.parts), settings.code_dim)
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False}
    with whole_file(file) as stream:
        np.lib.format.write_array_header_1_0(stream, header | {"shape": shape})

        def keep(features: Tensor) -> None:
            stream.write(feature_rows(features).tobytes())

        yield keep


def mean_of_steps(features: Tensor) -> np.ndarray:
    """What one vector says of each clip: the mean of its features over steps and parts.

    Args:
        features: `[B, W, P, du]`, as `VQVAE.encode` returns them.

    Returns:
        `[B, du]`, of the same number type.

    Source: ours; what the class head reads, but for steps without anybody.
    """
    return features.mean(dim=(1, 2)).cpu().numpy()


@torch.no_grad()
def mean_features(model: VQVAE, store: SequenceStore, names: SequenceOf[str]) -> np.ndarray:
    """What stage 1 makes of clips as they are: the mean of their features, `[clips, du]`, float64.

    Args:
        model: as `load_vqvae` returns it.
        store: where the clips are.
        names: which.

    Source: ours.
    """
    settings = model.settings
    windows = plain_windows(store, names, processes.device(), settings.frames, *settings.streams)
    made = [mean_of_steps(model.encode(motion.double())) for motion, _ in windows]
    return np.concatenate(made) if made else np.zeros((0, settings.code_dim))
