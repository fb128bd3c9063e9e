"""The action-based VQ-VAE: motion to codes and back."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.utils import ModelOutput

from llmar_pipeline.errors import UserError
from llmar_pipeline.vqvae import losses
from llmar_pipeline.vqvae.codebook import Codebook, perplexity
from llmar_pipeline.vqvae.config import VQVAEConfig


@dataclass
class VQVAEOutput(ModelOutput):
    """What `VQVAE.forward` returns; the Hugging Face Trainer takes `loss`."""

    loss: Tensor | None = None  # [] Eq. 12
    reconstruction_loss: Tensor | None = None  # [] Eq. 11, as the next two
    embedding_loss: Tensor | None = None  # []
    commitment_loss: Tensor | None = None  # []
    codes: Tensor | None = None  # [B, W] int64
    reconstruction: Tensor | None = None  # [B, V, channels]
    perplexity: Tensor | None = None  # [] codes in use in this batch


class VQVAE(nn.Module):
    """Encoder, codebook and decoder over motion `[B, V, persons * joints * coordinates]`.

    Features and codes are tangent vectors at the origin of the Poincare ball.

    Args:
        config: The settings.
        channels: Numbers a frame: persons x joints x coordinates (NTU RGB+D: 2 x 25 x 3 = 150).

    Source: Sec. 3.1 of the paper; encoder and decoder: lineage.
    """

    def __init__(self, config: VQVAEConfig, channels: int) -> None:
        super().__init__()
        self.settings = config
        self.channels = channels
        self.encoder = _encoder(config, channels)
        # The ball is flat far below norm 1 and a tree far above it. The entries of an untrained encoder's
        # output are about 0.1 at every du, so with this factor the features start at norms of about 1.
        self.feature_scale = nn.Parameter(torch.tensor(10 / config.code_dim**0.5))
        self.codebook = Codebook(
            config.codes,
            config.code_dim,
            config.geometry,
            config.curvature,
            config.initialise_from_data,
            config.reset_dead_codes,
            config.usage_decay,
            config.dead_below,
        )
        self.decoder = _decoder(config, channels)

    def encode(self, motion: Tensor) -> Tensor:
        """Encode motion to features.

        Args:
            motion: `[B, V, channels]`, zero where nothing was observed; V any multiple of the stride.

        Returns:
            Tangent vectors, `[B, W, du]`, float32.

        Raises:
            UserError: The number of channels or of frames does not fit.
        """
        if motion.ndim != 3 or motion.shape[2] != self.channels or motion.shape[1] % self.settings.stride:
            raise UserError(
                f"the VQ-VAE expects motion [batch, a multiple of {self.settings.stride} frames, "
                f"{self.channels} channels], but got {list(motion.shape)}: "
                "resample the clips, or load the model that was trained on this corpus"
            )
        return self.encoder(motion.transpose(1, 2)).transpose(1, 2).float() * self.feature_scale

    def quantize(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Replace each feature by its nearest code.

        Args:
            features: Tangent vectors, `[B, W, du]`.

        Returns:
            The codes, `[B, W]`, int64, and their embeddings, `[B, W, du]`.

        Source: Eq. 1 of the paper.
        """
        codes = self.codebook.nearest(features.flatten(0, 1)).view(features.shape[:2])
        return codes, self.codebook.lookup(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes or their embeddings to motion.

        Args:
            codes: Code indices, `[B, W]`, or embeddings, `[B, W, du]`.

        Returns:
            Motion, `[B, V, channels]`.
        """
        embeddings = codes if codes.is_floating_point() else self.codebook.lookup(codes)
        # A vector of norm 1 has entries of 1/sqrt(du); a convolution is initialised for entries of 1.
        scaled = embeddings * self.settings.code_dim**0.5
        return self.decoder(scaled.transpose(1, 2)).transpose(1, 2)

    @torch.no_grad()
    def tokenize(self, motion: Tensor) -> Tensor:
        """Turn motion into action sentences.

        Args:
            motion: `[B, V, channels]`, zero where nothing was observed; V any multiple of the stride.

        Returns:
            Codes, `[B, W]`, int64.
        """
        return self.quantize(self.encode(motion))[0]

    def forward(self, motion: Tensor, mask: Tensor) -> VQVAEOutput:
        """Reconstruct motion through the codebook; in training mode, also keep the codebook in use.

        Args:
            motion: `[B, V, channels]`, zero where nothing was observed.
            mask: True where observed, `[B, V, channels]`.

        Returns:
            Losses, codes, reconstruction and perplexity; frames without any observed entry count in none.

        Source: Eq. 11 and 12 of the paper; straight-through estimator: lineage.
        """
        features = self.encode(motion)
        present = mask.unflatten(1, (-1, self.settings.stride)).any(-1).any(-1)
        if self.training:
            self.codebook.refresh(features[present].detach())
        codes, embeddings = self.quantize(features)
        if self.training:
            self.codebook.count(codes[present])

        straight_through = features + (embeddings - features).detach()
        reconstruction = self.decode(straight_through)
        reconstruction_loss = losses.reconstruction_loss(motion, reconstruction, mask)
        embedding_loss = losses.embedding_loss(features, embeddings, present)
        commitment_loss = losses.commitment_loss(features, embeddings, present)
        return VQVAEOutput(
            loss=losses.total_loss(
                reconstruction_loss, embedding_loss, commitment_loss, self.settings.commitment_weight
            ),
            reconstruction_loss=reconstruction_loss,
            embedding_loss=embedding_loss,
            commitment_loss=commitment_loss,
            codes=codes,
            reconstruction=reconstruction,
            perplexity=perplexity(codes[present], self.settings.codes),
        )

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and, last, `config.json`: a folder with the latter is complete.

        Args:
            folder: Made where it does not exist; an earlier model in it is replaced.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").unlink(missing_ok=True)
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / "model.safetensors.tmp")
        os.replace(folder / "model.safetensors.tmp", folder / "model.safetensors")
        settings = {"channels": self.channels, "config": self.settings.model_dump()}
        (folder / "config.json.tmp").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        os.replace(folder / "config.json.tmp", folder / "config.json")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model that `save` wrote, in evaluation mode and on the CPU.

        Args:
            folder: With `model.safetensors` and `config.json`.

        Raises:
            UserError: A file is missing, unreadable, or does not fit the other.
        """
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise UserError(f"expected a trained VQ-VAE in {folder}, but {name} is missing: run stage 1")
        try:
            settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            model = cls(VQVAEConfig(**settings["config"]), settings["channels"])
            model.load_state_dict(load_file(folder / "model.safetensors"))
        except (ValueError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"expected config.json and model.safetensors of one VQ-VAE in {folder}, but reading them "
                f"failed ({reason}): run stage 1 again"
            ) from error
        return model.eval()


class _ResidualBlock(nn.Module):
    """x + Conv1d(k1) of ReLU of a dilated Conv1d(k3) of ReLU of x. Source: lineage."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
            nn.ReLU(),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


def _residual_blocks(config: VQVAEConfig) -> list[nn.Module]:
    """Blocks with the widest dilation first."""
    dilations = [config.dilation_growth**level for level in reversed(range(config.depth))]
    return [_ResidualBlock(config.width, dilation) for dilation in dilations]


def _encoder(config: VQVAEConfig, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv1d(channels, config.width, 3, padding=1), nn.ReLU()]
    for _ in range(config.downsamplings):
        layers += [nn.Conv1d(config.width, config.width, 4, stride=2, padding=1), *_residual_blocks(config)]
    return nn.Sequential(*layers, nn.Conv1d(config.width, config.code_dim, 3, padding=1))


def _decoder(config: VQVAEConfig, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv1d(config.code_dim, config.width, 3, padding=1), nn.ReLU()]
    for _ in range(config.downsamplings):
        layers += [
            *_residual_blocks(config),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv1d(config.width, config.width, 3, padding=1),
        ]
    layers += [nn.Conv1d(config.width, config.width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv1d(config.width, channels, 3, padding=1))
