"""The action-based VQ-VAE: motion to codes and back."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, cast

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.utils import ModelOutput

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import write_json
from llmar_pipeline.skeletons.topology import Body
from llmar_pipeline.vqvae import layers, losses
from llmar_pipeline.vqvae.ball import at_least_float32
from llmar_pipeline.vqvae.biases import AuxiliaryHead, HumanBiases, auxiliary_heads
from llmar_pipeline.vqvae.codebook import Codebook
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.graph_encoder import GraphEncoder
from llmar_pipeline.vqvae.quantizer import Quantized, Quantizer


@dataclass
class VQVAEOutput(ModelOutput):
    """What `VQVAE.forward` returns; the Hugging Face Trainer takes `loss`. A term that is off is None."""

    loss: Tensor | None = None  # [] Eq. 12, plus the auxiliary loss
    reconstruction_loss: Tensor | None = None  # [] Eq. 11, as the next two
    embedding_loss: Tensor | None = None  # []
    commitment_loss: Tensor | None = None  # []
    zipf_loss: Tensor | None = None  # [] Eq. 4
    context_loss: Tensor | None = None  # [] Eq. 5
    mmd_loss: Tensor | None = None  # [] Eq. 7
    auxiliary_loss: Tensor | None = None  # [] ours
    codes_in_use: Tensor | None = None  # [] `Codebook.health`, as the next three, averaged over the codebooks
    perplexity: Tensor | None = None  # []
    dead_codes: Tensor | None = None  # []
    zipf_js: Tensor | None = None  # []
    codes: Tensor | None = None  # [B, S] int64, the action sentences
    reconstruction: Tensor | None = None  # [B, V, channels]


class VQVAE(nn.Module):
    """Encoder, codebooks and decoder over motion `[B, V, persons * joints * coordinates]`.

    Features and codes are tangent vectors at the origin of the Poincare ball. An action sentence has
    S = W * P * L codes, with W = V / 4 time steps, P body parts and L residual levels (in the paper 1 each).

    Args:
        config: The settings.
        body: What it works on.
        classes: Number of classes that the auxiliary head tells apart.
        words: The language model's input word embeddings `[N, du]` for the MMD; None leaves that term out.
        class_texts: Word embeddings of the classes' names `[classes, du]`, for a head that reads them.

    Source: Sec. 3.1 of the paper; encoder and decoder: lineage; parts, levels and auxiliary heads: ours.
    """

    def __init__(
        self,
        config: VQVAEConfig,
        body: Body,
        classes: int = 0,
        words: Tensor | None = None,
        class_texts: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.settings = config
        self.body = body
        self.parts = body.part_channels(config.body_parts)
        self.classes = classes
        kind = GraphEncoder if config.encoder == "graph" else layers.ConvEncoder
        self.encoder = kind(body, config)
        codebooks = [_codebook(config) for _ in range(self.tokens_a_step)]
        self.quantizer = Quantizer(codebooks, config.residual_levels)
        shape = (config.downsamplings, config.depth, config.dilation_growth)
        self.decoder = layers.decoder(len(self.parts) * config.code_dim, config.width, body.channels, *shape)
        self.biases = HumanBiases(config, words)
        self.auxiliary = auxiliary_heads(config, classes, class_texts)

    def check_body(self, body: Body, where: object) -> None:
        """Refuse sequences of another body than that of the training.

        Args:
            body: Whose sequences they are.
            where: Where they lie, for the message.

        Raises:
            UserError: It is another one.
        """
        if body != self.body:
            seen = f"{body} with other bones" if str(body) == str(self.body) else str(body)
            raise UserError(
                f"expected sequences of {self.body}, as the VQ-VAE was trained on, saw those of {seen} in "
                f"{where}; load the model that was trained on them, or run `kedro run --pipelines=stage1`"
            )

    @property
    def tokens_a_step(self) -> int:
        """Codes that a time step is written in: parts x levels."""
        return len(self.parts) * self.settings.residual_levels

    def code_embeddings(self) -> Tensor:
        """The log-mapped codes of all codebooks: what the decoder and the language model read.

        Returns:
            Tangent vectors, `[tokens_a_step * U, du]`.

        Source: Eq. 10 of the paper.
        """
        return self.quantizer.embeddings()

    def encode(self, motion: Tensor) -> Tensor:
        """Encode motion to features.

        Args:
            motion: `[B, V, streams * channels]`, zero where nothing was observed; V any multiple of the
                stride.

        Returns:
            Tangent vectors, `[B, W, P, du]`, float32 at least, none longer than `max_norm`.

        Raises:
            UserError: The number of channels or of frames does not fit.
        """
        channels = self.body.channels * len(self.settings.streams)
        if motion.ndim != 3 or motion.shape[2] != channels or motion.shape[1] % self.settings.stride:
            raise UserError(
                f"expected motion [batch, a multiple of {self.settings.stride} frames, {channels} channels] "
                f"for the VQ-VAE, saw {list(motion.shape)}; "
                "resample the clips, or load the model that was trained on this corpus"
            )
        features = at_least_float32(self.encoder(motion))
        if (longest := self.settings.max_norm) is None:
            return features
        made: Tensor = features * (longest / features.norm(dim=-1, keepdim=True).clamp(min=longest))
        return made

    def decode(self, sentences: Tensor) -> Tensor:
        """Decode action sentences, or the features that they stand for, to motion.

        Args:
            sentences: Codes, `[B, S]`, or features, `[B, W, P, du]`.

        Returns:
            Motion, `[B, V, channels]`.
        """
        features = sentences if sentences.is_floating_point() else self.quantizer.lookup(sentences)
        # A vector of norm 1 has entries of 1/sqrt(du); a convolution is initialised for entries of 1.
        scaled = features.flatten(2) * self.settings.code_dim**0.5
        decoded: Tensor = self.decoder(scaled.transpose(1, 2))
        return decoded.transpose(1, 2)

    @torch.no_grad()
    def tokenize(self, motion: Tensor) -> Tensor:
        """Turn motion into action sentences.

        Args:
            motion: As `encode` takes it.

        Returns:
            Codes, `[B, S]`, int64.
        """
        return self.nearest_codes(self.encode(motion))

    @torch.no_grad()
    def classify(self, features: Tensor, mask: Tensor) -> Tensor | None:
        """What the head before the codebook says.

        Args:
            features: As `encode` returns them, `[B, W, P, du]`.
            mask: True where observed, `[B, V, channels]`.

        Returns:
            Log-probabilities, `[B, classes]`; None without a head that tells classes.

        Source: ours.
        """
        if not self.settings.classifies:
            return None
        return cast(AuxiliaryHead, self.auxiliary[0]).logits(features, self._present(mask)).log_softmax(1)

    @torch.no_grad()
    def code_votes(self) -> Tensor | None:
        """What speaks for each class in each code: the mean over a sentence's codes is what the head reads.

        It is the head behind the codebook, where there are two.

        Returns:
            Logits, `[tokens_a_step * U, classes]`; None without a head that tells classes.

        Source: ours; a linear function of a mean is the mean of the function.
        """
        if not self.settings.classifies:
            return None
        # Each token is one summand of a step's feature, among as many as there are levels.
        codes = self.code_embeddings() * self.settings.residual_levels
        everywhere = torch.ones(len(codes), 1, 1, dtype=torch.bool, device=codes.device)
        return cast(AuxiliaryHead, self.auxiliary[-1]).logits(codes[:, None, None], everywhere)

    @torch.no_grad()
    def nearest_codes(self, features: Tensor) -> Tensor:
        """Discretise features into action sentences.

        Args:
            features: As `encode` returns them, `[B, W, P, du]`.

        Returns:
            Codes, `[B, S]`, int64.

        Source: Eq. 1 of the paper.
        """
        everywhere = torch.ones_like(features[..., 0], dtype=torch.bool)
        return self.quantizer.sentences(self.quantizer(features, everywhere))

    def forward(self, motion: Tensor, mask: Tensor, labels: Tensor | None = None) -> VQVAEOutput:
        """Reconstruct motion through the codebooks; in training mode, also keep the codebooks in use.

        Args:
            motion: `[B, V, streams * channels]`, zero where nothing was observed; the first stream is what
                the decoder gives back.
            mask: True where observed, `[B, V, channels]`.
            labels: Classes for the auxiliary head, `[B]`, int64.

        Returns:
            Losses, codes, reconstruction and health; frames without any observed entry count in none.

        Source: Eq. 11 and 12 of the paper; straight-through estimator: lineage.
        """
        if self.frozen:
            self.encoder.eval()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.encode(motion)
        target = motion[..., : self.body.channels]
        present = self._present(mask)
        with torch.autocast(motion.device.type, enabled=False):  # the geometry needs float32
            made = [] if self.continuous else self.quantizer(features, present, learn=self.training)
            embeddings = self.quantizer.sums(made) if made else features
            straight_through = features + (embeddings - features).detach()
        reconstruction = self.decode(straight_through)
        with torch.autocast(motion.device.type, enabled=False):
            terms = {
                "reconstruction_loss": losses.reconstruction_loss(target, reconstruction, mask),
                **self._of_codes(made),
            }
            loss = self._total(terms)
            if self.auxiliary and labels is not None:
                read = (features, straight_through)[: len(self.auxiliary)]
                told = [head(x, present, labels) for head, x in zip(self.auxiliary, read, strict=True)]
                terms["auxiliary_loss"] = torch.stack(told).mean()
                loss = loss + self.settings.auxiliary_weight * torch.stack(told).sum()
            idle = self.encoder if self.frozen else self.quantizer if self.continuous else None
            if idle is not None:
                # every parameter takes part, as training over several processes wants
                loss = loss + 0 * sum(parameter.sum() for parameter in idle.parameters())
            health = [codebook.health() for codebook in self.quantizer.books]
        return VQVAEOutput(
            loss=loss,
            **terms,
            **{name: _mean(entry[name] for entry in health) for name in health[0]},
            codes=self.quantizer.sentences(made) if made else None,
            reconstruction=reconstruction,
        )

    @property
    def continuous(self) -> bool:
        """Whether features go on as they are, since the codebook has not yet taken its place."""
        return bool(self.settings.continuous_steps) and not self.quantizer.placed

    @property
    def frozen(self) -> bool:
        """Whether the encoder is no longer trained, since the codebook has taken its place after it.

        Features that stay where they are cannot run away from codes that follow them.
        """
        return bool(self.settings.continuous_steps) and self.quantizer.placed

    @torch.no_grad()
    def place_codes(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Let the codebook take its place among the features of many clips, and end the continuous steps.

        Args:
            batches: Motion and mask as `forward` takes them, of all the clips that the codes start from. Of
                the clips only their features are kept.
        """
        training = self.training
        self.eval()
        encoded = [(self.encode(clips), self._present(seen)) for clips, seen in batches]
        self.quantizer.place(*(torch.cat(parts) for parts in zip(*encoded, strict=True)))
        self.train(training)

    def _present(self, mask: Tensor) -> Tensor:
        """Where a token covers an observed frame, `[B, W, P]`."""
        # One part has all channels; a list of them would be sent to a GPU each time.
        parts = [mask] if len(self.parts) == 1 else [mask[..., part] for part in self.parts]
        present = torch.stack([part.any(-1) for part in parts], dim=-1)
        made: Tensor = present.unflatten(1, (-1, self.settings.stride)).any(2)
        return made

    def _of_codes(self, made: list[Quantized]) -> dict[str, Tensor]:
        if not made:
            return {}
        return {
            "embedding_loss": _mean(losses.embedding_loss(*m.compared()) for m in made),
            "commitment_loss": _mean(losses.commitment_loss(*m.compared()) for m in made),
            **self.biases(made),
        }

    def _total(self, terms: dict[str, Tensor]) -> Tensor:
        """Eq. 12. The moving average of "ema" takes the place of L_embed."""
        settings = self.settings
        return losses.total_loss(
            terms["reconstruction_loss"],
            terms.get("embedding_loss", 0.0) * (settings.codebook_update == "gradient"),
            terms.get("commitment_loss", 0.0),
            losses.human_loss(
                terms.get("zipf_loss", 0.0),
                terms.get("context_loss", 0.0),
                terms.get("mmd_loss", 0.0),
                settings.zipf_weight,
                settings.context_weight,
                settings.mmd_weight,
            ),
            settings.commitment_weight,
            settings.human_weight,
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
        settings = {
            "body": asdict(self.body),
            "classes": self.classes,
            "config": self.settings.model_dump(),
        }
        write_json(folder / "config.json", settings)

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
                raise UserError(f"expected a trained VQ-VAE in {folder}, saw no {name}; run stage 1")
        try:
            settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if "body" not in settings and "channels" in settings:
                raise UserError(
                    f"expected the body that the VQ-VAE works on in {folder / 'config.json'}, saw a model "
                    "that was saved before models kept it; run `kedro run --pipelines=stage1` again"
                )
            config = VQVAEConfig(**settings["config"])
            body = TypeAdapter(Body).validate_python(settings["body"])
            model = cls(config, body, settings["classes"])
            model.load_state_dict(load_file(folder / "model.safetensors"))
        except (ValueError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"expected config.json and model.safetensors of one VQ-VAE in {folder}, saw that reading "
                f"fails ({reason}); run stage 1 again"
            ) from error
        return model.eval()


def _codebook(config: VQVAEConfig) -> Codebook:
    return Codebook(
        codes=config.codes,
        code_dim=config.code_dim,
        geometry=config.geometry,
        curvature=config.curvature,
        codes_as=config.codes_as,
        initialisation=config.initialisation,
        update=config.codebook_update,
        reset_dead_codes=config.reset_dead_codes,
        usage_decay=config.usage_decay,
        dead_below=config.dead_below,
    )


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()
