"""Training of the first stage against a plain loop, and encoding; see stage1.py."""

import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from measuring import DEVICE, GPU, now, schedule, take_turns, times
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torch.utils.flop_counter import FlopCounterMode

from llmar_pipeline.machine import Precision, speed
from llmar_pipeline.skeletons import transforms
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import NTU25
from llmar_pipeline.vqvae.config import TokenizationConfig, VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.tokenize import tokenize_clips
from llmar_pipeline.vqvae.train import Language, train_vqvae

CLIPS, SHORTEST, LONGEST = 200, 50, 150  # clips, frames
# The paper's sizes on a GPU; on a CPU those of conf/sizes/laptop.yml.
MODEL = VQVAEConfig(code_dim=5120) if GPU else VQVAEConfig(code_dim=576, width=128)
BATCH = 256 if GPU else 48
AUGMENTATION = AugmentationConfig(min_crop=0.5, rotation=0.3, tilt=0.3, scale=0.1, noise=0, mirror=False)


def write_clips(folder: Path, persons: int = 2) -> SequenceStore:
    """A store of one-person clips, of a body of so many; times do not depend on what they show."""
    rng = np.random.default_rng(0)
    with StoreWriter(folder, persons, NTU25) as writer, writer.shard("") as shard:
        for number in range(CLIPS):
            frames = int(rng.integers(SHORTEST, LONGEST + 1))
            steps = rng.normal(scale=0.02, size=(1, frames, len(NTU25.joints), 3))
            shard.append(Sequence(f"clip {number}", steps.cumsum(1).astype(np.float32)))
    return SequenceStore.open(folder)


class PlainClips(Dataset[tuple[Tensor, Tensor]]):
    """What scripts of the field do: each clip is cut, turned, scaled and resampled when asked for."""

    def __init__(self, store: SequenceStore) -> None:
        self.clips = [sequence.data for sequence in store]
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Motion and mask, `[V, channels]`."""
        data, rng = self.clips[index], self.rng
        length = round(data.shape[1] * rng.uniform(AUGMENTATION.min_crop, 1))
        data = transforms.temporal_crop(data, rng.integers(data.shape[1] - length + 1), length)
        limits = np.array([AUGMENTATION.tilt, AUGMENTATION.rotation, AUGMENTATION.tilt])
        data = transforms.rotate(data, rng.uniform(-limits, limits))
        data = transforms.scale(data, 1 + rng.uniform(-AUGMENTATION.scale, AUGMENTATION.scale))
        data = transforms.resample(data, MODEL.frames)
        root = data[:, :, [NTU25.root]].copy()
        data = data - np.nan_to_num(root)  # the stream "local"
        data[:, :, [NTU25.root]] = root
        window = torch.from_numpy(data.transpose(1, 0, 2, 3).reshape(MODEL.frames, -1))
        return window.nan_to_num(), ~window.isnan()


def plain_batches(store: SequenceStore, steps: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """So many full batches, loaded in this process."""
    clips = PlainClips(store)
    sampler = RandomSampler(clips, replacement=True, num_samples=steps * BATCH)
    return DataLoader(clips, BATCH, sampler=sampler, pin_memory=GPU)


def words() -> Tensor:
    """Made-up word embeddings of norm 3."""
    return 3 / MODEL.code_dim**0.5 * torch.randn(8192, MODEL.code_dim)


def plain_training(store: SequenceStore, steps: int, precision: Precision) -> float:
    """Clips a second of a plain loop, in the second half of its steps."""
    torch.manual_seed(0)
    model = VQVAE(MODEL, store.body, words=words()).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-4, betas=(0.9, 0.99), weight_decay=0)
    started = 0.0
    for step, (motion, mask) in enumerate(plain_batches(store, steps)):
        if step == steps // 2:
            started = now()
        optimizer.zero_grad()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(motion.to(DEVICE), mask.to(DEVICE)).loss
        loss.backward()
        optimizer.step()
    return (steps - steps // 2) * BATCH / (now() - started)


def our_training(store: SequenceStore, steps: int, precision: Precision, compiled: bool) -> float:
    """Clips a second of `train_vqvae` with all its checks and logs, in the second half of its steps."""
    training = schedule(steps, BATCH, precision=precision, compile=compiled)
    logged = []
    with tempfile.TemporaryDirectory(prefix="llmar-bench-") as folder:
        train_vqvae(
            store.folder,
            store.names,
            [0] * len(store),
            MODEL,
            AUGMENTATION,
            training,
            Path(folder),
            Language(words()),
            lambda record, step: logged.append((step, now())),
        )
    (first, started), (last, ended) = logged[0], logged[1]
    return (last - first) * BATCH / (ended - started)


def step_flops(store: SequenceStore) -> int:
    """Of one training step: the products of matrices and the convolutions, forward and backward."""
    model = VQVAE(MODEL, store.body, words=words()).to(DEVICE)
    motion, mask = next(iter(plain_batches(store, 1)))
    with FlopCounterMode(display=False) as count:
        model(motion.to(DEVICE), mask.to(DEVICE)).loss.backward()
    return count.get_total_flops()


def train(folder: Path, steps: int, precision: Precision, compiled: bool, rounds: int = 3) -> list[str]:
    """The Markdown section of training."""
    store = write_clips(folder / "train")
    ways = {
        f"plain loop, {precision}": lambda: plain_training(store, steps, precision),
        "plain loop, float32": lambda: plain_training(store, steps, "float32"),  # the same, where it is
        f"ours, {precision}{', compiled' * compiled}": lambda: our_training(
            store, steps, precision, compiled
        ),
    }
    speeds = take_turns(ways, rounds)
    flops, peak = step_flops(store) / BATCH, speed(precision)
    lines = [
        f"## Training: batch {BATCH}, du {MODEL.code_dim:,}, width {MODEL.width}",
        "",
        "| loop | clips/s | times | GFLOP/s | of the peak |",
        "|---|---:|---:|---:|---:|",
    ]
    for way, rates in speeds.items():
        reached = median(rates) * flops
        lines.append(
            f"| {way} | {median(rates):,.0f} | {times(speeds, way, next(iter(ways))):.2f} | "
            f"{reached / 1e9:,.0f} | {reached / peak:.0%} |"
        )
    lines += [
        "",
        f"{steps} steps, of which the second half counts. *peak*: of a large {precision} matrix product, "
        f"{peak / 1e9:,.0f} GFLOP/s.",
        "",
    ]
    return lines


def encode(folder: Path, rounds: int = 3, readings: int = 4) -> list[str]:
    """The Markdown section of encoding."""
    store = write_clips(folder / "encode")
    VQVAE(MODEL, store.body).save(folder / "model")
    clips = pd.DataFrame({"name": store.names, "split": "train", "label": 0, "action": "none"})
    config = TokenizationConfig(readings=readings)

    def seconds() -> float:
        started = now()
        tokenize_clips(folder / "model", store.folder, clips, config, AUGMENTATION)
        return now() - started

    took = median(take_turns({"ours": seconds}, rounds)["ours"])
    return [
        f"## Encoding: du {MODEL.code_dim:,}, width {MODEL.width}",
        "",
        f"{CLIPS * (1 + readings) / took:,.0f} readings a second: {CLIPS} clips, each as it is and in "
        f"{readings} random readings, in {took:.1f} s, loading the model included.",
        "",
    ]
