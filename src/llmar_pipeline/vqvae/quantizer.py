"""From features to codes: one codebook, or several for body parts and residual levels."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from llmar_pipeline.vqvae.codebook import Codebook


class Quantized(NamedTuple):
    """What one codebook made of a batch."""

    codebook: Codebook
    features: Tensor  # [B, W, du] what was quantised
    present: Tensor  # [B, W] True where a token covers an observed frame
    distances: Tensor  # [B, W, U]
    codes: Tensor  # [B, W] int64, 0 to U - 1
    embeddings: Tensor  # [B, W, du] the codes, log-mapped

    def compared(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features, their codes, and where they count: the arguments of L_embed and L_commit."""
        return self.features, self.embeddings, self.present


class Quantizer(nn.Module):
    """P parts x L levels of codebooks; the paper has one.

    Each part of the body has codebooks of its own. Of a part's levels, the first quantises the feature, each
    further one what those before left over (the residual, in the tangent space at the origin); the sum of
    their codes stands for the feature.

    In an action sentence the codes of one time step stand together, part by part, level by level; the codes
    of codebook k are numbered from k * U on.

    Args:
        codebooks: Part by part, level by level, `P * L` of equal size.
        levels: L.

    Source: one codebook: the paper; residual levels: RQ-VAE (Lee et al. 2022); parts: ours.
    """

    def __init__(self, codebooks: Sequence[Codebook], levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.codebooks = nn.ModuleList(codebooks)

    @property
    def books(self) -> list[Codebook]:
        """The codebooks, part by part, level by level."""
        return list(self.codebooks)  # type: ignore[arg-type]

    @property
    def codes(self) -> int:
        """U, the codes of one codebook."""
        return len(self.books[0].usage)

    def forward(self, features: Tensor, present: Tensor, learn: bool = False) -> list[Quantized]:
        """Replace each feature by its nearest codes.

        Args:
            features: Tangent vectors, `[B, W, P, du]`.
            present: True where a token covers an observed frame, `[B, W, P]`.
            learn: Also keep the codebooks in use: `Codebook.refresh`, `Codebook.count`.

        Returns:
            One entry a codebook.

        Source: Eq. 1 of the paper.
        """
        made = []
        placed = [codebook.placed for codebook in self.books] if learn else []
        for number, codebook in enumerate(self.books):
            part, level = divmod(number, self.levels)
            if level == 0:
                residual = features[:, :, part]
            seen = present[:, :, part]
            # Right after the first level took its place on the batch's features there is nothing left over.
            if learn and (level == 0 or placed[number - 1]):
                codebook.refresh(residual.detach().flatten(0, 1), seen.flatten())
            distances = codebook.distances(residual.flatten(0, 1)).view(*seen.shape, -1)
            codes = distances.detach().argmin(-1)
            if learn:
                codebook.count(codes.flatten(), seen.flatten())
            embeddings = codebook.lookup(codes)
            made.append(Quantized(codebook, residual, seen, distances, codes, embeddings))
            residual = residual - embeddings.detach()
        return made

    @property
    def placed(self) -> bool:
        """Whether all codebooks have taken their place among the features."""
        return all(codebook.placed for codebook in self.books)

    def place(self, features: Tensor, present: Tensor) -> None:
        """Let the codebooks take their place, level after level.

        Args:
            features: Tangent vectors of many clips, `[B, W, P, du]`.
            present: As in `forward`.
        """
        for _ in range(self.levels):
            self(features, present, learn=True)

    def sentences(self, made: list[Quantized]) -> Tensor:
        """The codes as action sentences, `[B, W * P * L]`, int64."""
        codes = torch.stack([entry.codes + number * self.codes for number, entry in enumerate(made)], dim=-1)
        return codes.flatten(1)

    def sums(self, made: list[Quantized]) -> Tensor:
        """The quantised features: sums over the levels of the log-mapped codes, `[B, W, P, du]`."""
        embeddings = torch.stack([entry.embeddings for entry in made], dim=2)
        by_level: Tensor = embeddings.unflatten(2, (-1, self.levels))
        return by_level.sum(3)

    def lookup(self, sentences: Tensor) -> Tensor:
        """The features that action sentences stand for.

        Args:
            sentences: Codes, `[B, W * P * L]`.

        Returns:
            Sums over the levels of the log-mapped codes, `[B, W, P, du]`.

        Source: Eq. 10 of the paper.
        """
        steps = nn.functional.embedding(sentences, self.embeddings())
        by_level: Tensor = steps.unflatten(1, (-1, len(self.books) // self.levels, self.levels))
        return by_level.sum(3)

    def embeddings(self) -> Tensor:
        """The log-mapped codes of all codebooks, in the order of their numbers, `[P * L * U, du]`."""
        return torch.cat([codebook.embeddings() for codebook in self.books])
