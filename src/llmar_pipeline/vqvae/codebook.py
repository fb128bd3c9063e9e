"""The codebook of learnable tokens, hyperbolic or Euclidean."""

from typing import Literal

import torch
import torch.distributed
from torch import Tensor, nn

from llmar_pipeline.vqvae import ball


class Codebook(nn.Module):
    """U codes, kept as tangent vectors at the origin of the Poincare ball.

    The hyperbolic codes of the paper are exp0(tangent). Kept this way, the H-to-E projection (Eq. 10) is the
    identity, a code is at once a word embedding, and plain AdamW trains it; the geometry acts where the
    paper needs it, in the distance. With the Euclidean geometry the same vectors are compared by the
    Euclidean distance.

    While training, call `refresh` before and `count` after a batch is quantised. What they learn lies in
    buffers and is saved with the weights, so a resumed run goes on where it stopped.

    Args:
        codes: U, the number of codes.
        code_dim: du, the length of a code.
        geometry: "hyperbolic" or "euclidean".
        curvature: c of the ball, without effect in the Euclidean geometry.
        initialise_from_data: Start the codes at features of the first training batch.
        reset_dead_codes: Restart codes that fell out of use at features of the current batch.
        usage_decay: Of the moving average of usage, between 0 and 1.
        dead_below: Usage under which a code is dead, as a multiple of the even share 1 / U.

    Source: Sec. 3.1 of the paper; initialisation and reset: lineage.
    """

    usage: Tensor  # [U] moving average of each code's share of the tokens, times U
    initialised: Tensor  # [] whether the codes have taken their place among the features

    def __init__(
        self,
        codes: int,
        code_dim: int,
        geometry: Literal["hyperbolic", "euclidean"] = "hyperbolic",
        curvature: float = 1.0,
        initialise_from_data: bool = True,
        reset_dead_codes: bool = True,
        usage_decay: float = 0.99,
        dead_below: float = 0.05,
    ) -> None:
        super().__init__()
        self.geometry = geometry
        self.curvature = curvature
        self.reset_dead_codes = reset_dead_codes
        self.usage_decay = usage_decay
        self.dead_below = dead_below
        self.tangent = nn.Parameter(torch.randn(codes, code_dim) / code_dim**0.5)
        self.register_buffer("usage", torch.ones(codes))
        self.register_buffer("initialised", torch.tensor(not initialise_from_data))

    def distances(self, features: Tensor) -> Tensor:
        """Distance of every feature to every code, with gradients to both.

        Args:
            features: Tangent vectors, `[N, du]`.

        Returns:
            Distances, `[N, U]`.

        Source: dist of Eq. 1 and 3; Eq. 9 of the paper in the hyperbolic geometry.
        """
        if self.geometry == "hyperbolic":
            return ball.tangent_distance_matrix(features, self.tangent, self.curvature)
        with torch.autocast(features.device.type, enabled=False):
            return torch.cdist(features.float(), self.tangent.float())

    @torch.no_grad()
    def nearest(self, features: Tensor) -> Tensor:
        """Index of the nearest code, the lowest one among equals.

        Args:
            features: Tangent vectors, `[N, du]`.

        Returns:
            Indices, `[N]`, int64.

        Source: Eq. 1 of the paper.
        """
        return self.distances(features).argmin(dim=1)

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes as Euclidean vectors: what the decoder and the language model read.

        Args:
            indices: Code indices, `[...]`.

        Returns:
            Log-mapped codes, `[..., du]`.

        Source: Eq. 10 of the paper.
        """
        return nn.functional.embedding(indices, self.tangent)

    @torch.no_grad()
    def refresh(self, features: Tensor) -> None:
        """Place the codes among the features of the first batch; later, restart dead codes there.

        It changes codes in place, so call it before they take part in the batch's loss. A restarted code
        counts as used evenly, which leaves it time to find its use.

        Args:
            features: Tangent vectors of the batch, without those of absent frames, `[N, du]`.

        Source: lineage.
        """
        if not self.initialised:
            self.tangent.copy_(self._sample(features, len(self.tangent)))
            self.initialised.fill_(len(features) > 0)
        elif self.reset_dead_codes:
            dead = torch.nonzero(self.usage < self.dead_below).flatten()
            if len(dead):
                self.tangent[dead] = self._sample(features, len(dead))
                self.usage[dead] = 1.0

    @torch.no_grad()
    def count(self, indices: Tensor) -> None:
        """Take a batch into the moving average of usage.

        Args:
            indices: The batch's codes, without those of absent frames, `[N]`.

        Source: lineage.
        """
        counts = torch.bincount(indices, minlength=len(self.usage)).to(self.usage)
        if _distributed():
            torch.distributed.all_reduce(counts)
        total = counts.sum()
        if total > 0:
            self.usage.lerp_(counts * len(self.usage) / total, 1 - self.usage_decay)

    def _sample(self, features: Tensor, rows: int) -> Tensor:
        """Draw features, no feature twice before all were drawn once, and blur them by a hundredth."""
        # An empty batch has no features to give; drawing codes keeps the processes of a run in step.
        source = (features if len(features) else self.tangent).to(self.tangent)
        orders = [torch.randperm(len(source)) for _ in range(-(-rows // len(source)))]
        drawn = source[torch.cat(orders)[:rows].to(source.device)]
        spread = 0.01 * drawn.norm(dim=1, keepdim=True) / drawn.shape[1] ** 0.5
        drawn = drawn + spread * torch.randn(drawn.shape).to(drawn)
        if _distributed():
            torch.distributed.broadcast(drawn, src=0)
        return drawn


def perplexity(indices: Tensor, codes: int) -> Tensor:
    """How many codes are in use: the exponential of the entropy of their usage.

    Args:
        indices: Codes, `[N]`.
        codes: U, the size of the codebook.

    Returns:
        A number from 1 to U, `[]`.

    Source: lineage.
    """
    share = torch.bincount(indices, minlength=codes) / max(indices.numel(), 1)
    return torch.exp(torch.special.entr(share).sum())


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
