"""Every clip's action sentence."""

from __future__ import annotations

import zlib
from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from llmar_pipeline.code_digest import CODE, code_of
from llmar_pipeline.files import file_checksum, json_checksum
from llmar_pipeline.kept_batches import Part, in_kept_batches
from llmar_pipeline.skeletons.augmentation import AugmentationConfig, plain
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.training import processes
from llmar_pipeline.training.digests import tensor_checksum
from llmar_pipeline.training.world import together
from llmar_pipeline.vqvae.config import TokenizationConfig
from llmar_pipeline.vqvae.features import feature_file
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.trained import codebook_of, load_vqvae
from llmar_pipeline.vqvae.windows import Clips, Reading, stacked

if TYPE_CHECKING:
    import pandas as pd


_TEST_CROP = 0.9


def tokenize_clips(
    model_folder: Path,
    sequences: Path,
    splits: pd.DataFrame,
    config: TokenizationConfig,
    augmentation: AugmentationConfig,
    features: Path | None = None,
    kept: Path | None = None,
    others: SequenceOf[Path] = (),
) -> pd.DataFrame:
    """Encode whole clips, resampled to V frames; training clips also in random readings.

    A random reading depends on (seed, clip name, reading) alone, so it does not change with the order or the
    number of clips. Codes are decided in float64: which clips share a batch changes the last digits of a
    convolution, and in float32 now and then the nearest code.

    Args:
        model_folder: a trained VQ-VAE.
        sequences: folder of the normalised store.
        splits: columns name, split, label, action.
        config: number of readings, batch size, seed.
        augmentation: strength of the random readings.
        features: file for what the codes were taken from, written batch by batch; none without.
        kept: folder in which codes are kept as they are made, so that a killed run goes on; one file a shard
            of the sequences. Those of the same model, clips, settings and code are not made again.
        others: such folders of other runs, from which equal ones are taken.

    Returns:
        Columns name, split, label, action, reading (0: the clip as it is), codes (int array [S]); `head`, the
        log-probabilities that the class head gives the classes of the training, in the order of their labels,
        from the features, float32 array [classes], where there is such a head. `attrs["codebook"]` is the
        checksum of the log-mapped codes. With a file for them, `features` is the row there of each reading's
        features and `attrs["features"]` the file, as `read_clips` takes both: float16 [readings, W * P, du],
        the encoder's output before the codebook, time step by time step, part by part. They are tangent
        vectors at the origin of the ball, as log-mapped codes are.

    Source: "action sentence" of Sec. 3.1 of the paper; features: Table 5; readings ours.
    """

    model, store = load_vqvae(model_folder), SequenceStore.open(sequences)
    model.check_body(store.body, sequences)
    table, names, clip_of = _readings(splits, config)
    number_of, trains = table["reading"].to_numpy(), (table["split"] == "train").to_numpy()

    def encode(batch: SequenceOf[int]) -> np.ndarray:
        loaded = {clip: place for place, clip in enumerate(dict.fromkeys(clip_of[list(batch)].tolist()))}
        clips = Clips.load(store, [names[clip] for clip in loaded], processes.device())
        readings = []
        for row in batch:
            name, clip, reading = names[clip_of[row]], loaded[int(clip_of[row])], int(number_of[row])
            if not trains[row]:
                readings.append(readings_to_recognize(clips, clip, config.test_readings)[reading])
            elif reading:
                seed = [config.seed, zlib.crc32(name.encode()), reading]
                readings.append(clips.random(clip, augmentation, np.random.default_rng(seed)))
            else:
                readings.append(clips.plain(clip))
        batch_features, mask = encode_readings(model, clips, readings)
        keep(batch_features)
        columns = [model.nearest_codes(batch_features).int()]
        if (told := model.classify(batch_features, mask)) is not None:
            columns.append(told)
        return torch.cat(columns, dim=1).cpu().numpy()

    codebook = tensor_checksum(codebook_of(model_folder))
    fingerprint = {
        "vqvae": [file_checksum(model_folder / name) for name in ("config.json", "model.safetensors")],
        "tokenization": config.model_dump(mode="json"),
        "augmentation": augmentation.model_dump(mode="json"),
        CODE: code_of(__name__),
    }
    # Features are large and made beside the codes, one behind the other, so with them nothing is kept.
    folder, parts = (None, []) if features else (kept, _by_shard(table, names, clip_of, store))
    rows = range(len(table))
    with feature_file(features, len(table), model) as keep:
        made = in_kept_batches(
            rows,
            config.batch_size,
            encode,
            folder,
            fingerprint,
            "action sentences",
            parts,
            others,
            together(),
        )
    if model.settings.classifies:
        trained = table[table["split"] == "train"].drop_duplicates("label").sort_values("label")
        told = made[:, -len(trained) :].astype(np.float32)
        table["head"] = list(told)
        made = made[:, : -len(trained)]
    table = table.assign(codes=list(made.astype(np.int32, copy=False)))
    table.attrs["codebook"] = codebook
    if features is not None:
        table = table.assign(features=np.arange(len(table)))
        table.attrs["features"] = str(features)
    return table


def _readings(splits: pd.DataFrame, config: TokenizationConfig) -> tuple[pd.DataFrame, list[str], np.ndarray]:
    """One row a reading, the names of the clips, and which of them each row is of."""
    used = splits[splits["split"] != "unused"]
    counts = np.where(used["split"] == "train", 1 + config.readings, config.test_readings)
    clip_of = np.repeat(np.arange(len(used)), counts)
    reading = np.arange(len(clip_of)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = used.iloc[clip_of].reset_index(drop=True).assign(reading=reading)
    return table, used["name"].tolist(), clip_of


def _by_shard(
    table: pd.DataFrame, names: SequenceOf[str], clip_of: np.ndarray, store: SequenceStore
) -> list[Part]:
    """Readings whose codes are kept together: those of a shard's clips, which a changed one costs alone."""
    place = np.array([store.number(name) for name in names])
    firsts = [clips.start for clips in store.shards]
    shard_of = (np.searchsorted(firsts, place, side="right") - 1)[clip_of]
    order = np.argsort(shard_of, kind="stable")
    parts = []
    for rows in np.split(order, np.flatnonzero(np.diff(shard_of[order])) + 1):
        clips = store.digest_of(place[clip_of[rows]].tolist())
        of_shard = zip(*(table[key].iloc[rows].tolist() for key in ("reading", "split")), strict=True)
        read = [
            [names[clip], reading, split == "train"]
            for clip, (reading, split) in zip(clip_of[rows], of_shard, strict=True)
        ]
        parts.append(Part(rows.tolist(), json_checksum([clips, read])))
    return parts


def readings_to_recognize(clips: Clips, clip: int, count: int) -> list[Reading]:
    """How a clip is read that is to be recognised: as it is, then nine tenths of it, from start to end.

    Args:
        clips: of the model's body.
        clip: number of the clip.
        count: of readings.

    Returns:
        So many readings, always the same.

    Source: ours, after the several crops of a clip that the field of video recognition answers from.
    """
    seen, coordinates = clips.seen[clip], clips.body.topology.coordinates
    readings = [clips.plain(clip)]
    length = max(1, round(_TEST_CROP * len(seen)))
    for start in np.linspace(0, len(seen) - length, count - 1).round().astype(int).tolist():
        crop = replace(plain(length, coordinates), start=start)
        readings.append((clip, crop) if seen[start : start + length].any() else readings[0])
    return readings


@torch.no_grad()
def encode_readings(model: VQVAE, clips: Clips, readings: SequenceOf[Reading]) -> tuple[Tensor, Tensor]:
    """Features of clips, each resampled to V frames, in float64.

    Args:
        model: as `load_vqvae` returns it.
        clips: of the model's body.
        readings: which of them, and how they are read.

    Returns:
        `[B, W, P, du]`, what `VQVAE.nearest_codes` takes; where motion was observed, `[B, V, channels]`.
    """
    motion, mask = clips.windows(stacked(readings), model.settings.frames, *model.settings.streams)
    return model.encode(motion.double()), mask
