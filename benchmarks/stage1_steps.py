"""A step of each encoder against its products, and the reader of `.skeleton` files; see stage1.py."""

from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from measuring import DEVICE, ROOT, now, schedule, take_turns
from stage1_training import AUGMENTATION, MODEL, words, write_clips
from torch.utils.flop_counter import FlopCounterMode

from llmar_pipeline.corpora.formats.skeleton_scan import scan
from llmar_pipeline.corpora.ntu import parse
from llmar_pipeline.machine import speed
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.train import Language, train_vqvae

CLASSES = 20
TIMES, MILLISECONDS = 2, 0.5  # the limits: a step in its products, a file from text to sequence


class _EnoughError(Exception):
    """Ends a training whose steps were counted."""


def best() -> dict[str, Any]:
    """The experiment's own sections."""
    text = (ROOT / "conf" / "experiments" / "best.yml").read_text(encoding="utf-8")
    made: dict[str, Any] = yaml.safe_load(text)
    return made


def step_seconds(
    store: SequenceStore, config: VQVAEConfig, augmentation: AugmentationConfig, batch: int, steps: int
) -> float:
    """Of the second half of so many steps of `train_vqvae`, with all its checks and logs."""
    logged: list[tuple[int, float]] = []

    def on_log(record: dict[str, float], step: int) -> None:
        logged.append((step, now()))
        if step == steps:
            raise _EnoughError

    labels = [number % CLASSES for number in range(len(store))]
    training = schedule(steps + 2, batch, log_every=steps // 2, max_gradient_norm=2.0)
    language = Language(words() if config.reads_words else None)
    given = (store.folder, store.names, labels, config, augmentation, training)
    with TemporaryDirectory(prefix="llmar-bench-") as checkpoints, suppress(_EnoughError):
        train_vqvae(*given, Path(checkpoints), language, on_log)
    (first, started), (last, ended) = logged
    return (ended - started) / (last - first)


def step_flops(store: SequenceStore, config: VQVAEConfig, batch: int) -> int:
    """Products of matrices and convolutions of one step, forward and backward."""
    model = VQVAE(config, store.body, CLASSES, words() if config.reads_words else None).to(DEVICE)
    channels = store.body.channels
    motion = torch.randn(batch, config.frames, channels * len(config.streams), device=DEVICE)
    mask = torch.ones(batch, config.frames, channels, dtype=torch.bool, device=DEVICE)
    labels = torch.zeros(batch, dtype=torch.int64, device=DEVICE)
    with FlopCounterMode(display=False) as count:
        model(motion, mask, labels).loss.backward()
    return count.get_total_flops()


def steps_of_both(folder: Path, steps: int, rounds: int = 3) -> list[str]:
    """The Markdown section of steps."""
    own = best()
    # Before the codebook takes its place: so most of the steps are.
    vqvae = (
        {"code_dim": MODEL.code_dim, "width": MODEL.width} | own["vqvae"] | {"continuous_steps": steps + 1}
    )
    turns = AUGMENTATION.model_dump() | own["augmentation"] | {"rotation": 0.35, "tilt": 0.09}
    batch = own["vqvae_training"]["batch_size"]
    ways = {
        "`conv`, two persons": (2, MODEL, AUGMENTATION, 48),
        "`graph`, one person": (1, VQVAEConfig(**vqvae), AugmentationConfig(**turns), batch),
        "`graph`, two persons": (2, VQVAEConfig(**vqvae), AugmentationConfig(**turns), batch),
    }
    stores = {persons: write_clips(folder / f"{persons}" / "store", persons) for persons in (1, 2)}

    def seconds(way: str) -> float:
        persons, *settings = ways[way]
        return step_seconds(stores[persons], *settings, steps)

    took = take_turns({way: lambda way=way: seconds(way) for way in ways}, rounds, warm_up=False)
    peak = speed("float32")
    lines = [
        "## A step against its products",
        "",
        f"| encoder | clips | ms a step | GFLOP | its products, ms | times (at most {TIMES}) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for way, (persons, config, _, size) in ways.items():
        flops = step_flops(stores[persons], config, size)
        step, products = 1000 * median(took[way]), 1000 * flops / peak
        lines.append(
            f"| {way} | {size} | {step:.0f} | {flops / 1e9:.2f} | {products:.0f} | {step / products:.2f} |"
        )
    return [*lines, "", f"{steps} steps, the second half counts. Products at {peak / 1e9:,.0f} GFLOP/s.", ""]


def reader(folder: Path, rounds: int = 7) -> list[str]:
    """The Markdown section of reading."""
    from ingestion import _prepared, generate

    folder.mkdir()
    generate(folder)
    contents = [path.read_bytes() for path in sorted(folder.glob("*.skeleton"))]
    prepared = [_prepared(content.decode()) for content in contents]

    def milliseconds(read: Any, inputs: list[Any]) -> float:
        started = now()
        for given in inputs:
            read(given)
        return 1000 * (now() - started) / len(inputs)

    ways = {
        f"text to sequence (at most {MILLISECONDS})": lambda: milliseconds(
            lambda content: parse("a", content), contents
        ),
        "of it the compiled pass": lambda: milliseconds(lambda arrays: scan(*arrays), prepared),
    }
    took = take_turns(ways, rounds)
    size = sum(map(len, contents)) / len(contents) / 1000
    lines = [f"## Reading: {len(contents)} `.skeleton` files of {size:.0f} kB", ""]
    lines += ["| | ms a file and core | files/s |", "|---|---:|---:|"]
    lines += [f"| {way} | {median(x):.2f} | {1000 / median(x):,.0f} |" for way, x in took.items()]
    return [*lines, ""]
