"""Where stage 1 may start: from a trained VQ-VAE, also one of other classes, joints or streams."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import file_checksum
from llmar_pipeline.skeletons.topology import Body
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.layers import ConvEncoder
from llmar_pipeline.vqvae.model import VQVAE

logger = logging.getLogger(__name__)

NEW = -1
"""Has no counterpart in the trained model: it starts as it would without one."""
KIND = (
    *("encoder", "width", "depth", "dilation_growth", "downsamplings"),
    *("code_dim", "geometry", "curvature", "codes_as"),
)
"""Settings that must be those of the trained model: with others its weights would mean something else."""
_CODES, _HEADS = "quantizer.", "auxiliary."


class InitialWeights(NamedTuple):
    """A trained VQ-VAE to start from.

    Attributes:
        folder: As `VQVAE.save` wrote it.
        classes: Of each class of the training to come, its number in that of the folder, or `NEW`.
    """

    folder: Path
    classes: tuple[int, ...] = ()

    def identity(self) -> dict[str, Any]:
        """What the weights of a training that starts so depend on; JSON-able."""
        return {"weights": file_checksum(self.folder / "model.safetensors"), "classes": list(self.classes)}


def check_kind(config: VQVAEConfig, source: VQVAE, folder: Path) -> None:
    """Refuse a trained VQ-VAE of another kind than the one to come.

    Args:
        config: Of the VQ-VAE to come.
        source: The trained one.
        folder: Where it lies, for the message.

    Raises:
        UserError: One of `KIND` differs.

    Source: ours.
    """
    for name in KIND:
        wanted, seen = getattr(config, name), getattr(source.settings, name)
        if wanted != seen:
            raise UserError(
                f"init_from: expected a VQ-VAE with vqvae.{name}={wanted}, saw {seen} in {folder}; choose "
                "the experiment and size that it was trained with"
            )


def start_from(model: VQVAE, initial: InitialWeights) -> None:
    """Give a VQ-VAE that is to be trained the weights of a trained one, wherever they mean the same.

    What belongs to a joint is taken from the joint of the same name, what belongs to a stream from the stream
    of the same name, what belongs to a class from the class that `initial` says. Codes are taken whole or
    not at all; not where continuous steps come first, since the codebook then takes its place after them.

    Args:
        model: Changed in place; what has no counterpart stays as it is.
        initial: What to start from.

    Raises:
        UserError: There is no trained VQ-VAE, or one of another kind or width.

    Source: ours; fine-tuning.
    """
    source = VQVAE.load(initial.folder)
    check_kind(model.settings, source, initial.folder)
    own, theirs = model.state_dict(), source.state_dict()  # own: the model's tensors themselves
    axes = _axes(model, source, initial.classes)
    codes = {name: theirs.get(name) for name in own if name.startswith(_CODES)}
    fit = all(its is not None and its.shape == own[name].shape for name, its in codes.items())
    skipped = model.settings.continuous_steps > 0 or not fit
    new = []
    for name, tensor in own.items():
        its = theirs.get(name)
        if (skipped and name.startswith(_CODES)) or (its is None and name.startswith(_HEADS)):
            new.append(name)
            continue
        of_axis = next((found for pattern, found in axes.items() if re.fullmatch(pattern, name)), {})
        if its is None or not _take(tensor, its, of_axis):
            seen = "none" if its is None else f"one of shape {list(its.shape)}"
            raise UserError(
                f"init_from: expected a VQ-VAE with {name} of shape {list(tensor.shape)}, saw {seen} in "
                f"{initial.folder}; choose the experiment and size that it was trained with"
            )
        if any(NEW in numbers for numbers in of_axis.values()):
            new.append(f"parts of {name}")
    logger.info("starting from %s%s", initial.folder, f"; new: {', '.join(new)}" if new else "")


def _take(tensor: Tensor, source: Tensor, of_axis: Mapping[int, Sequence[int]]) -> bool:
    """Copy what has a counterpart, by number along the axes that are given; False: another shape."""
    if tensor.ndim != source.ndim or any(
        axis not in of_axis and size != source.shape[axis] for axis, size in enumerate(tensor.shape)
    ):
        return False
    numbers = [np.array(of_axis.get(axis, range(size)), dtype=int) for axis, size in enumerate(tensor.shape)]
    if any(len(its) != size for its, size in zip(numbers, tensor.shape, strict=True)):
        return False
    into = np.ix_(*(np.flatnonzero(its != NEW) for its in numbers))
    tensor.numpy()[into] = source.numpy()[np.ix_(*(its[its != NEW] for its in numbers))]
    return True


def _axes(model: VQVAE, source: VQVAE, classes: Sequence[int]) -> dict[str, dict[int, Sequence[int]]]:
    """Pattern of a tensor's name -> axis -> of each entry along it, its number in the source, or `NEW`."""
    body, its = model.body, source.body
    nodes, channels, streams = _nodes(body, its), _channels(body, its), _streams(model, source)
    alike = body.topology.coordinates == its.topology.coordinates
    inputs = [
        stream * its.topology.coordinates + axis if alike and stream != NEW else NEW
        for stream in streams
        for axis in range(body.topology.coordinates)
    ]
    a_frame = len(source.settings.streams) * its.topology.coordinates
    stem = [
        frame * a_frame + number if number != NEW else NEW
        for frame in range(model.settings.stride)
        for number in inputs
    ]
    axes: dict[str, dict[int, Sequence[int]]] = {
        r"encoder\.place": {0: nodes},
        r"encoder\.graph\.\d+\.adjacency": {1: nodes, 2: nodes},
        r"encoder\.standardize_input\..*": {0: inputs},
        r"encoder\.stem\.weight": {1: stem},
        rf"decoder\.{len(model.decoder) - 1}\..*": {0: channels},
        r"auxiliary\.\d+\.linear\..*": {0: classes},
    }
    if isinstance(model.encoder, ConvEncoder) and isinstance(source.encoder, ConvEncoder):
        read = [
            stream * its.channels + channel if stream != NEW and channel != NEW else NEW
            for stream in streams
            for channel in channels
        ]
        for number, (part, known) in enumerate(zip(model.encoder.parts, source.encoder.parts, strict=False)):
            places = {channel: place for place, channel in enumerate(known)}
            axes[rf"encoder\.{number}\.0\.weight"] = {1: [places.get(read[c], NEW) for c in part]}
    return axes


def _nodes(body: Body, source: Body) -> list[int]:
    """Of each joint of each person, the joint of the same name of the same person."""
    joints = {name: number for number, name in enumerate(source.topology.joints)}
    return [
        person * len(joints) + joints[name] if name in joints and person < source.persons else NEW
        for person in range(body.persons)
        for name in body.topology.joints
    ]


def _channels(body: Body, source: Body) -> list[int]:
    """Of each coordinate of each joint of each person, the same; none between two dimensions and three."""
    size = body.topology.coordinates
    alike = size == source.topology.coordinates
    return [
        node * size + axis if alike and node != NEW else NEW
        for node in _nodes(body, source)
        for axis in range(size)
    ]


def _streams(model: VQVAE, source: VQVAE) -> list[int]:
    known = list(source.settings.streams)
    return [known.index(stream) if stream in known else NEW for stream in model.settings.streams]
