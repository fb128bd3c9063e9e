"""How fast the first stage is, written to benchmarks/results/stage1.md.

Three parts: the quantisation step against geoopt's broadcast distance and against a Euclidean quantiser;
training against a plain loop; encoding. The ways that are compared take turns, so that the ratio of their
times does not depend on how busy the machine is.

    python benchmarks/stage1.py [--only quantise|train|encode] [--precision bfloat16] [--compile] [--out F.md]
"""

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import psutil
import torch
from geoopt.manifolds.stereographic import PoincareBall
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from llmar_pipeline.skeletons import transforms
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import SequenceStore, StoreWriter
from llmar_pipeline.skeletons.streams import to_stream
from llmar_pipeline.skeletons.topology import NTU25
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.vqvae import ball, processes
from llmar_pipeline.vqvae.config import TokenizationConfig, VQVAEConfig
from llmar_pipeline.vqvae.losses import gumbel_noise, token_counts
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.tokenize import tokenize_clips
from llmar_pipeline.vqvae.train import Language, train_vqvae

ROOT = Path(__file__).resolve().parents[1]
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")

BATCH, TOKENS, CODES, DIMENSIONS = 256, 16, 512, (576, 5120)  # of the paper; 576: the demo's language model
CHUNK_BYTES, CHUNKS = 64 * 2**20, 4  # of geoopt's [features, codes, d]: size of a chunk, chunks measured
CLIPS, SHORTEST, LONGEST = 200, 50, 150  # clips, frames
# The paper's sizes on a GPU; on a CPU those of conf/sizes/laptop.yml.
MODEL = VQVAEConfig(code_dim=5120) if GPU else VQVAEConfig(code_dim=576, width=128)
MODEL_BATCH = 256 if GPU else 48
AUGMENTATION = AugmentationConfig(min_crop=0.5, rotation=0.3, tilt=0.3, scale=0.1, noise=0, mirror=False)


def now() -> float:
    """Seconds, all work of the GPU done."""
    if GPU:
        torch.cuda.synchronize()
    return time.perf_counter()


def take_turns(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each way's results, measured in turns; an unmeasured round comes first."""
    turns = [{name: way() for name, way in ways.items()} for _ in range(rounds + 1)]
    return {name: [turn[name] for turn in turns[1:]] for name in ways}


def times(results: dict[str, list[float]], name: str, base: str) -> float:
    """How many times the base's result, at the median turn."""
    return median(own / other for own, other in zip(results[name], results[base], strict=True))


def euclidean(features: Tensor, codes: Tensor) -> Tensor:
    """Squared Euclidean distances, as quantisers of the field compute them (VQ-VAE, T2M-GPT)."""
    squares = features.square().sum(1, keepdim=True), codes.square().sum(1)
    return squares[0] - 2 * features @ codes.T + squares[1]


def broadcast(features: Tensor, codes: Tensor) -> Tensor:
    """geoopt's distance of every pair."""
    manifold = PoincareBall().to(features.device)
    return manifold.dist(manifold.expmap0(features)[:, None], manifold.expmap0(codes)[None])


WAYS = {
    "Euclidean": euclidean,
    "hyperbolic, ours": ball.tangent_distance_matrix,
    "hyperbolic, geoopt": broadcast,
}


def inputs(dimension: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features and codes of norms about 3, as words have, and a gradient of the distances."""
    torch.manual_seed(0)
    shapes = (BATCH * TOKENS, dimension), (CODES, dimension)
    features, codes = ((3 / dimension**0.5 * torch.randn(shape)).to(DEVICE) for shape in shapes)
    return features, codes, torch.randn(BATCH * TOKENS, CODES).to(DEVICE)


def distance_step(way: str, features: Tensor, codes: Tensor, gradient: Tensor) -> float:
    """Seconds of all distances and of their gradients to features and codes.

    geoopt's needs many tensors of N x U x d numbers, so it gets the features in chunks, of which a few are
    measured.
    """
    rows = len(features)
    if way == "hyperbolic, geoopt":
        rows = max(1, CHUNK_BYTES // (codes.numel() * 4))
        features, gradient = features[: rows * CHUNKS], gradient[: rows * CHUNKS]
    codes = codes.clone().requires_grad_()
    started = now()
    for some, of_some in zip(features.split(rows), gradient.split(rows), strict=True):
        WAYS[way](some.detach().requires_grad_(), codes).backward(of_some)
    return (now() - started) * BATCH * TOKENS / len(features)


def training_step(way: str, features: Tensor, codes: Tensor, gradient: Tensor) -> float:
    """Seconds of what training does with the distances: nearest codes, and the soft counts of Eq. 3."""
    features, codes = features.clone().requires_grad_(), codes.clone().requires_grad_()
    started = now()
    distances = WAYS[way](features, codes)
    distances.detach().argmin(1)
    shape = torch.Size((BATCH, TOKENS, CODES))
    everywhere = torch.ones(shape[:2], dtype=torch.bool, device=DEVICE)
    counts = token_counts(distances.view(shape), everywhere, gumbel_noise(shape, distances), 1.0)
    counts.backward(gradient[:BATCH])
    return now() - started


def peak_mib(way: str, dimension: int) -> float:
    """Memory of `distance_step` beyond its inputs; to be called in a fresh process."""
    features, codes, gradient = inputs(dimension)
    distance_step(way, features[:16], codes[:16], gradient[:16, :16])  # loads libraries
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux

    def peak() -> float:
        used = torch.cuda.max_memory_allocated() if GPU else 0
        return (used or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit) / 2**20

    before = peak()
    distance_step(way, features, codes, gradient)
    return peak() - before


def quantise(rounds: int) -> list[str]:
    """The Markdown section of the quantisation step."""
    lines = [f"## Quantisation: {BATCH * TOKENS:,} features, {CODES} codes", ""]
    for dimension in DIMENSIONS:
        peaks = {}
        for way in WAYS:  # first, for a forked process starts with the memory peak of this one
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                peaks[way] = process.submit(peak_mib, way, dimension).result()
        given = inputs(dimension)
        slow = "hyperbolic, geoopt"
        fast = [way for way in WAYS if way != slow]
        distances = take_turns({way: lambda w=way: distance_step(w, *given) for way in fast}, rounds)
        training = take_turns({way: lambda w=way: training_step(w, *given) for way in fast}, rounds)
        distances[slow] = take_turns({slow: lambda: distance_step(slow, *given)}, 2)[slow]
        lines += [
            f"d = {dimension:,}, forward and backward; without and with nearest codes and soft counts (Eq. 3):",
            "",
            "| distance | ms | times | peak memory, MiB | with counts, ms | times |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for way in WAYS:
            ratio = median(distances[way]) / median(distances["Euclidean"])
            ratio = ratio if way == slow else times(distances, way, "Euclidean")
            row = f"| {way} | {median(distances[way]) * 1e3:,.0f} | {ratio:.2f} | {peaks[way]:,.0f} |"
            if way in training:
                row += f" {median(training[way]) * 1e3:,.0f} | {times(training, way, 'Euclidean'):.2f} |"
            lines.append(row if way in training else f"{row} - | - |")
        whole, rows = BATCH * TOKENS * CODES * dimension * 4 / 2**30, CHUNK_BYTES // (CODES * dimension * 4)
        lines += [
            "",
            f"geoopt's tensors of all pairs would take {whole:.1f} GiB each. It gets {rows} features at a time; "
            f"{CHUNKS} such chunks were timed and multiplied up.",
            "",
        ]
    return lines


def write_clips(folder: Path) -> SequenceStore:
    """A store of one-person clips; times do not depend on what they show."""
    rng = np.random.default_rng(0)
    with StoreWriter(folder, 2, NTU25) as writer, writer.shard("") as shard:
        for number in range(CLIPS):
            frames = int(rng.integers(SHORTEST, LONGEST + 1))
            steps = rng.normal(scale=0.02, size=(1, frames, len(NTU25.joints), 3))
            shard.append(Sequence(f"clip {number}", steps.cumsum(1).astype(np.float32)))
    return SequenceStore.open(folder)


class PlainClips(Dataset):  # type: ignore[type-arg]
    """What scripts of the field do: each clip is cut, turned, scaled and resampled by numpy when asked for."""

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
        data = to_stream(transforms.resample(data, MODEL.frames), NTU25, MODEL.stream)
        window = torch.from_numpy(data.transpose(1, 0, 2, 3).reshape(MODEL.frames, -1))
        return window.nan_to_num(), ~window.isnan()


def words() -> Tensor:
    """Made-up word embeddings of norm 3."""
    return 3 / MODEL.code_dim**0.5 * torch.randn(8192, MODEL.code_dim)


def plain_training(store: SequenceStore, steps: int, precision: str) -> float:
    """Clips a second of a plain loop, in the second half of its steps."""
    torch.manual_seed(0)
    channels = store.persons * len(NTU25.joints) * NTU25.coordinates
    model = VQVAE(MODEL, channels, words=words()).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-4, betas=(0.9, 0.99), weight_decay=0)
    loader = DataLoader(PlainClips(store), MODEL_BATCH, shuffle=True, drop_last=True, pin_memory=GPU)
    started = 0.0
    for step, (motion, mask) in enumerate(islice((b for _ in cycle((0,)) for b in loader), steps)):
        if step == steps // 2:
            started = now()
        optimizer.zero_grad()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(motion.to(DEVICE), mask.to(DEVICE)).loss
        loss.backward()
        optimizer.step()
    return (steps - steps // 2) * MODEL_BATCH / (now() - started)


def our_training(store: SequenceStore, steps: int, precision: str, compiled: bool) -> float:
    """Clips a second of `train_vqvae` with all its checks and logs, in the second half of its steps."""
    training = TrainingConfig(
        max_steps=steps,
        batch_size=MODEL_BATCH,
        micro_batch_size=MODEL_BATCH,
        learning_rate=2e-4,
        adam_betas=(0.9, 0.99),
        weight_decay=0,
        warmup_steps=0,
        schedule="constant",
        step_decay_at=0,
        step_decay_factor=1,
        max_gradient_norm=0,
        save_every=steps,
        log_every=steps // 2,
        seed=0,
        precision=precision,
        compile=compiled,
    )
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
    return (last - first) * MODEL_BATCH / (ended - started)


def step_flops(store: SequenceStore) -> int:
    """Of one training step: the products of matrices and the convolutions, forward and backward."""
    model = VQVAE(MODEL, store.persons * len(NTU25.joints) * NTU25.coordinates, words=words()).to(DEVICE)
    motion, mask = next(iter(DataLoader(PlainClips(store), MODEL_BATCH)))
    with FlopCounterMode(display=False) as count:
        model(motion.to(DEVICE), mask.to(DEVICE)).loss.backward()
    return count.get_total_flops()


def matmul_flops(precision: str) -> float:
    """Flops a second of large square matrix products here, at their best."""
    size = 8192 if GPU else 2048
    matrix = torch.randn(size, size, device=DEVICE, dtype=getattr(torch, precision))
    best = np.inf
    for _ in range(5):
        started = now()
        matrix @ matrix
        best = min(best, now() - started)
    return 2 * size**3 / best


def train(folder: Path, rounds: int, steps: int, precision: str, compiled: bool) -> list[str]:
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
    flops, peak = step_flops(store) / MODEL_BATCH, matmul_flops(precision)
    lines = [
        f"## Training: batch {MODEL_BATCH}, du {MODEL.code_dim:,}, width {MODEL.width}",
        "",
        "| loop | clips/s | times | TFLOP/s | of the peak |",
        "|---|---:|---:|---:|---:|",
    ]
    for way, speed in speeds.items():
        reached = median(speed) * flops
        lines.append(
            f"| {way} | {median(speed):,.0f} | {times(speeds, way, next(iter(ways))):.2f} | "
            f"{reached / 1e12:.2f} | {reached / peak:.0%} |"
        )
    lines += [
        "",
        f"*peak*: a large {precision} matrix product, {peak / 1e12:.2f} TFLOP/s. {steps} steps, the second half counts.",
        "",
    ]
    return lines


def encode(folder: Path, rounds: int, readings: int = 4) -> list[str]:
    """The Markdown section of encoding."""
    store = write_clips(folder / "encode")
    VQVAE(MODEL, store.persons * len(NTU25.joints) * NTU25.coordinates).save(folder / "model")
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
        f"{CLIPS * (1 + readings) / took:,.0f} readings a second: {CLIPS} clips, each as it is and in {readings} "
        f"random readings, in {took:.1f} s, loading the model included.",
        "",
    ]


def machine(command: str) -> list[str]:
    """What the numbers were measured on."""
    from demo import processor

    from llmar_pipeline.io.tracking import git_revision

    gpu = f"{torch.cuda.get_device_name()}, " if GPU else ""
    memory = psutil.virtual_memory().total / 2**30
    return [
        f"- command: `{command}`",
        "- seed: 0",
        f"- machine: {gpu}{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        f"- Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads",
        f"- revision {git_revision() or 'unknown'}, {date.today().isoformat()}",
        "",
        "*times* is the time (or the speed) relative to the table's first row, at the median of turns in which",
        "all take part; seconds depend on what else the machine does.",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["quantise", "train", "encode"], help="one part; default: all")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each comparison")
    parser.add_argument("--steps", type=int, default=20, help="of each training")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--compile", action="store_true", help="compile encoder and decoder")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "stage1.md")
    arguments = parser.parse_args()
    command = " ".join(["python benchmarks/stage1.py", *sys.argv[1:]])

    lines = ["# The first stage", ""]
    with tempfile.TemporaryDirectory(prefix="llmar-bench-") as name:
        if arguments.only in (None, "quantise"):
            lines += quantise(3 * arguments.rounds)
        if arguments.only in (None, "train"):
            settings = (arguments.steps, arguments.precision, arguments.compile)
            lines += train(Path(name), min(3, arguments.rounds), *settings)
        if arguments.only in (None, "encode"):
            lines += encode(Path(name), min(3, arguments.rounds))
    page = "\n".join([*lines, *machine(command)])
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
