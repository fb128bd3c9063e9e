"""A trained VQ-VAE, and what is asked of its codebooks."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from llmar_pipeline.training import processes
from llmar_pipeline.vqvae.model import VQVAE


def load_vqvae(folder: Path) -> VQVAE:
    """A trained VQ-VAE on the processor that encodes, in float64, in which codes are decided."""
    return VQVAE.load(folder).double().to(processes.device())


def codebook_of(folder: Path) -> torch.Tensor:
    """The log-mapped codes of a trained VQ-VAE as stage 2 gets them, `[codes, du]`.

    In float32 and on the CPU, wherever they are asked for: codes kept as points of the ball are mapped to
    them, which rounds otherwise elsewhere.
    """
    return VQVAE.load(folder).code_embeddings().detach()


def code_votes(folder: Path) -> torch.Tensor | None:
    """What speaks for each class in each code, of a trained VQ-VAE, see `VQVAE.code_votes`."""
    return VQVAE.load(folder).code_votes()


class CodebookFacts(NamedTuple):
    """What one needs to know of trained codebooks to describe them.

    Attributes:
        codes: All codes, `books * U`.
        books: Codebooks, `parts * levels`; codebook k has the codes from k * U on.
        embeddings: Log-mapped codes, `[codes, du]` float32.
        partners: The code that each is correlated with (Eq. 5), `[codes]` int64.
        geometry: "hyperbolic" or "euclidean".
        curvature: c of the ball.
    """

    codes: int
    books: int
    embeddings: np.ndarray
    partners: np.ndarray
    geometry: str
    curvature: float


def codebook_facts(model: VQVAE) -> CodebookFacts:
    """Describe the codebooks of a trained VQ-VAE."""
    books = model.quantizer.books
    partners = torch.cat([book.partners + k * model.quantizer.codes for k, book in enumerate(books)])
    embeddings = model.code_embeddings().detach().float().cpu().numpy()
    settings = model.settings
    return CodebookFacts(
        len(embeddings), len(books), embeddings, partners.cpu().numpy(), settings.geometry, settings.curvature
    )
