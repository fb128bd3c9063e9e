"""What else the codes are trained for than the motion: human language, and the names of actions."""

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmar_pipeline.errors import UserError
from llmar_pipeline.training import processes
from llmar_pipeline.vqvae import losses
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.quantizer import Quantized

_WORDS = 4096  # enough for a median and a mean
_CONTRAST = 0.07  # temperature of cosines, as in CLIP


class HumanBiases(nn.Module):
    """The three terms of L_human, each with the weight 0 switched off; averaged over the codebooks.

    Args:
        config: Weights and temperature.
        words: The language model's input word embeddings, `[N, du]`; None leaves the MMD out.

    Source: Eq. 3-7 of the paper.
    """

    words: Tensor | None
    bandwidths: Tensor
    word_term: Tensor

    def __init__(self, config: VQVAEConfig, words: Tensor | None) -> None:
        super().__init__()
        self.settings = config
        # Not persistent: words belong to the language model, and a trained VQ-VAE does without them.
        self.register_buffer("words", words if config.reads_words else None, False)
        if self.words is not None:
            if self.words.shape[1] != config.code_dim:
                raise UserError(
                    f"expected words of width vqvae.code_dim={config.code_dim}, saw {self.words.shape[1]}: "
                    "set code_dim to the hidden size of llm.model"
                )
            _, bandwidths, word_term = reference(self.words)
            self.register_buffer("bandwidths", bandwidths, False)
            self.register_buffer("word_term", word_term, False)

    def forward(self, made: list[Quantized]) -> dict[str, Tensor]:
        """The terms that are on.

        Args:
            made: What each codebook made of the batch.

        Returns:
            `zipf_loss`, `context_loss`, `mmd_loss`, each `[]`.
        """
        settings, terms = self.settings, dict[str, list[Tensor]]()
        for entry in made:
            if settings.human_weight and (settings.zipf_weight or settings.context_weight):
                noise = losses.gumbel_noise(entry.distances.shape, entry.distances)
                counts = losses.token_counts(
                    entry.distances, entry.present, noise, settings.gumbel_temperature
                )
                if settings.zipf_weight:
                    used = processes.sum_over_processes(counts.sum(0))
                    terms.setdefault("zipf_loss", []).append(losses.zipf_loss(used))
                if settings.context_weight:
                    correlated = losses.context_loss(counts, entry.codebook.partners)
                    terms.setdefault("context_loss", []).append(correlated)
            if self.words is not None:
                drawn = processes.sent(
                    torch.randint(len(self.words), (settings.mmd_words,)), self.words.device
                )
                distance = losses.mmd(
                    entry.codebook.embeddings(), self.words[drawn], self.bandwidths, self.word_term
                )
                terms.setdefault("mmd_loss", []).append(distance)
        return {name: torch.stack(values).mean() for name, values in terms.items()}


def auxiliary_heads(config: VQVAEConfig, classes: int, texts: Tensor | None) -> nn.ModuleList:
    """The heads before and behind the codebook; fewer, or none, as the settings say.

    Behind the codebook the gradient is that of other vectors (straight-through), and drives features that
    nothing bounds away from codes that lag behind: it needs bounded norms (`max_norm`), codes that follow
    their features ("ema"), and a codebook that starts where the features are (`continuous_steps`).
    """
    if config.auxiliary == "none":
        return nn.ModuleList()
    return nn.ModuleList(
        AuxiliaryHead(
            config.auxiliary,
            config.code_dim,
            classes,
            texts,
            config.auxiliary_dropout,
            config.label_smoothing,
        )
        for _ in range(1 + (config.auxiliary_reads == "both"))
    )


class AuxiliaryHead(nn.Module):
    """Tells the class of a clip from the mean of its features.

    Args:
        kind: "class": a linear classifier. "text": the cosine of the mean feature with the class names' word
            embeddings, so that codes come to lie where the language model keeps the action's words.
            "class_and_text": both, their losses added; the classifier answers.
        code_dim: du.
        classes: Their number.
        texts: Word embeddings of the class names, `[classes, du]`, in training, where names are read.
        dropout: On the mean.
        smoothing: Share of the target that all classes get alike.

    Source: ours; "text" after CLIP (Radford et al. 2021).
    """

    texts: Tensor | None

    def __init__(
        self,
        kind: Literal["class", "text", "class_and_text"],
        code_dim: int,
        classes: int,
        texts: Tensor | None = None,
        dropout: float = 0.0,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout, self.smoothing = nn.Dropout(dropout), smoothing
        self.kind = kind
        self.linear = None if kind == "text" else nn.Linear(code_dim, classes)
        self.register_buffer("texts", texts, False)

    def forward(self, features: Tensor, present: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the classes.

        Args:
            features: Tangent vectors, `[B, W, P, du]`.
            present: True where a token covers an observed frame, `[B, W, P]`.
            labels: Classes, `[B]`, int64.

        Returns:
            The loss, `[]`.
        """
        mean = self._mean(features, present)
        told = [self._by_class(mean)] if self.linear is not None else []
        if self.kind != "class":
            told.append(self._by_name(mean))
        loss = torch.stack(
            [F.cross_entropy(x, labels, reduction="none", label_smoothing=self.smoothing) for x in told]
        ).sum(0)
        return processes.mean(loss, torch.ones_like(labels, dtype=torch.bool))

    def logits(self, features: Tensor, present: Tensor) -> Tensor:
        """How much speaks for each class, `[B, classes]`; arguments as of `forward`."""
        mean = self._mean(features, present)
        return self._by_name(mean) if self.linear is None else self._by_class(mean)

    def _mean(self, features: Tensor, present: Tensor) -> Tensor:
        weight = present.float() / present.float().sum((1, 2), keepdim=True).clamp(min=1)
        mean: Tensor = self.dropout((features * weight.unsqueeze(-1)).sum((1, 2)))
        return mean

    def _by_class(self, mean: Tensor) -> Tensor:
        scaled = mean * mean.shape[1] ** 0.5  # entries of about 1, as the decoder reads them
        logits: Tensor = cast(nn.Linear, self.linear)(scaled)
        return logits

    def _by_name(self, mean: Tensor) -> Tensor:
        assert self.texts is not None, "the text head needs the class names' embeddings to train"
        return F.normalize(mean, dim=1) @ F.normalize(self.texts.float(), dim=1).T / _CONTRAST


def reference(words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What codes are compared with by `losses.mmd`.

    Args:
        words: All input word embeddings, `[N, du]`.

    Returns:
        Words from all over the vocabulary, always the same, `[4096, du]` at most; the bandwidths and the word
        term that they give.

    Source: ours.
    """
    some = words[torch.linspace(0, len(words) - 1, min(_WORDS, len(words))).long()]
    bandwidths = losses.kernel_bandwidths(some)
    return some, bandwidths, losses.word_term(some, bandwidths)
