"""The codebook of learnable tokens, hyperbolic or Euclidean."""

import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn

from llmar_pipeline.training import processes
from llmar_pipeline.vqvae import ball
from llmar_pipeline.vqvae.losses import zipf_loss


class Codebook(nn.Module):
    """U codes, kept as tangent vectors at the origin of the Poincare ball, or as points of the ball.

    The hyperbolic codes of the paper are exp0(tangent). Kept as tangent vectors, the H-to-E projection
    (Eq. 10) is the identity, a code is at once a word embedding, and plain AdamW trains it; the geometry acts
    where the paper needs it, in the distance. With the Euclidean geometry the same vectors are compared by
    the Euclidean distance.

    Kept as points, the codes are the paper's c^H in ball coordinates, a parameter on geoopt's Poincare ball
    that its Riemannian Adam trains. Whoever reads codes gets them log-mapped (`embeddings`), and what is
    written into the codebook (starts, restarts, "ema") passes exp0, so nothing else changes. geoopt keeps
    float32 points within 1 - 4e-3 of the ball's radius: tangent norms end at 3.1 / sqrt(c), where those of
    features and of tangent vectors have no end.

    While training, call `refresh` before and `count` after a batch is quantised. What they learn lies in
    buffers and is saved with the weights, so a resumed run goes on where it stopped. Under several processes
    all codebooks stay equal: usage is summed, and codes are drawn from the features of all.

    Args:
        codes: U, the number of codes.
        code_dim: du, the length of a code.
        geometry: "hyperbolic" or "euclidean".
        curvature: c of the ball, without effect in the Euclidean geometry.
        codes_as: "tangent" or "ball", which needs the hyperbolic geometry.
        initialisation: Where the codes start: "random", at features of the first batch ("data"), or at the
            centres of their clusters ("kmeans").
        update: "gradient", by the losses alone, or "ema": codes also follow the mean of their features.
        reset_dead_codes: Restart codes that fell out of use at features of the current batch.
        usage_decay: Of the moving averages (usage, and the codes themselves under "ema"), between 0 and 1.
        dead_below: Usage under which a code is dead, as a multiple of the even share 1 / U.

    Source: Sec. 3.1 of the paper; "tangent" is ours; initialisation and reset: lineage.
    """

    tangent: nn.Parameter  # [U, du] under "tangent"
    points: Any  # [U, du] under "ball", a geoopt.ManifoldParameter
    usage: Tensor  # [U] moving average of each code's share of the tokens, times U; a restart sets it to 1
    share: Tensor  # [U] the same without restarts
    initialised: Tensor  # [] whether the codes have taken their place among the features
    partners: Tensor  # [U] the code that each is correlated with, drawn at random once

    def __init__(
        self,
        codes: int,
        code_dim: int,
        geometry: Literal["hyperbolic", "euclidean"] = "hyperbolic",
        curvature: float = 1.0,
        codes_as: Literal["tangent", "ball"] = "tangent",
        initialisation: Literal["random", "data", "kmeans"] = "data",
        update: Literal["gradient", "ema"] = "gradient",
        reset_dead_codes: bool = True,
        usage_decay: float = 0.99,
        dead_below: float = 0.05,
    ) -> None:
        super().__init__()
        self.geometry = geometry
        self.curvature = curvature
        self.codes_as = codes_as
        self.initialisation = initialisation
        self.update = update
        self.reset_dead_codes = reset_dead_codes
        self.usage_decay = usage_decay
        self.dead_below = dead_below
        start = torch.randn(codes, code_dim) / code_dim**0.5
        if codes_as == "ball":
            from geoopt import ManifoldParameter, PoincareBall  # its import takes seconds

            manifold = PoincareBall(torch.tensor(curvature, dtype=torch.float64))
            self.points = ManifoldParameter(manifold.projx(ball.expmap0(start, curvature)), manifold)
        else:
            self.tangent = nn.Parameter(start)
        self.register_buffer("usage", torch.ones(codes))
        self.register_buffer("share", torch.ones(codes))
        self.register_buffer("initialised", torch.tensor(initialisation == "random"))
        self._known_placed = False
        self._any_dead: Tensor | None = None
        first, second = torch.randperm(codes).view(2, -1)
        partners = torch.empty(codes, dtype=torch.int64)
        partners[first], partners[second] = second, first
        self.register_buffer("partners", partners)

    def embeddings(self) -> Tensor:
        """The codes as Euclidean vectors: what the decoder and the language model read.

        Points are log-mapped in float64, so that a model in float32 and the same one in float64 give the same
        codes, and sentences made by one are known to be of the other.

        Returns:
            Tangent vectors at the origin, `[U, du]`.

        Source: Eq. 10 of the paper.
        """
        if self.codes_as == "tangent":
            return self.tangent
        log_mapped = ball.logmap0(self.points.double(), self.curvature)
        return log_mapped.to(self.points.dtype)

    def distances(self, features: Tensor) -> Tensor:
        """Distance of every feature to every code, with gradients to both.

        Args:
            features: Tangent vectors, `[N, du]`.

        Returns:
            Distances, `[N, U]`.

        Source: dist of Eq. 1 and 3; Eq. 9 of the paper in the hyperbolic geometry.
        """
        if self.geometry == "hyperbolic":
            return ball.tangent_distance_matrix(features, self.embeddings(), self.curvature)
        with torch.autocast(features.device.type, enabled=False):
            return torch.cdist(ball.at_least_float32(features), ball.at_least_float32(self.embeddings()))

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
        """Codes by their numbers.

        Args:
            indices: Code indices, `[...]`.

        Returns:
            Log-mapped codes, `[..., du]`.

        Source: Eq. 10 of the paper.
        """
        return nn.functional.embedding(indices, self.embeddings())

    @torch.no_grad()
    def refresh(self, features: Tensor, present: Tensor) -> None:
        """Place the codes among the features of the first batch; later, restart dead codes there.

        Under "ema", codes then move towards the mean of the features that they are nearest to. It changes
        codes in place, so call it before they take part in the batch's loss. A restarted code counts as used
        evenly, which leaves it time to find its use.

        Args:
            features: Tangent vectors of the batch, `[N, du]`.
            present: True where a feature covers an observed frame, `[N]`.

        Source: lineage.
        """
        if not self.placed:
            seen = processes.gather(features)[processes.gather(present)]
            if len(seen) and seen.isfinite().all():  # else the loss tells what is wrong
                self._place(self._start(seen))
                self.initialised.fill_(True)
        elif self.reset_dead_codes and self._some_died():
            dead = torch.nonzero(self.usage < self.dead_below).flatten()
            if len(dead):
                seen = processes.gather(features)[processes.gather(present)]
                self._place(self._sample(seen if len(seen) else self.embeddings(), len(dead)), dead)
                self.usage[dead] = 1.0
        if self.update == "ema":
            self._follow(features, present)

    @torch.no_grad()
    def count(self, indices: Tensor, present: Tensor | None = None) -> None:
        """Take a batch into the moving average of usage.

        Args:
            indices: The batch's codes, `[N]`.
            present: True where one covers an observed frame, `[N]`; all by default.

        Source: lineage.
        """
        there = torch.ones_like(indices, dtype=torch.bool) if present is None else present
        counts = processes.total(self._histogram(indices, there))
        for average in (self.usage, self.share):
            moved = average.lerp(self._relative(counts), 1 - self.usage_decay)
            average.copy_(torch.where(counts.any(), moved, average))
        if self.usage.is_cuda:  # on its way while the step goes on, so that the next one need not wait for it
            self._any_dead = torch.empty((), dtype=torch.bool, pin_memory=True)
            self._any_dead.copy_((self.usage < self.dead_below).any(), non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    @property
    def placed(self) -> bool:
        """Whether the codes have taken their place among the features; once known, no device is asked."""
        self._known_placed = self._known_placed or bool(self.initialised)
        return self._known_placed

    def _some_died(self) -> bool:
        """Whether codes fell out of use in the last batch, as far as that is known without a wait."""
        if self._any_dead is None:
            return True
        self._arrived.synchronize()
        return bool(self._any_dead)

    def _load_from_state_dict(self, *args: Any) -> None:
        self._known_placed, self._any_dead = False, None
        super()._load_from_state_dict(*args)

    @torch.no_grad()
    def health(self) -> dict[str, Tensor]:
        """How the codes are used of late.

        Returns:
            `codes_in_use`: share of codes that are not dead; `perplexity`: how many codes are in use, the
            exponential of the entropy, 1 to U; `dead_codes`: their number; `zipf_js`: divergence of the usage
            to Zipf's law (Eq. 4), nats. Each `[]`.

        Source: perplexity: lineage; the rest ours.
        """
        dead = self.share < self.dead_below
        share = self.share / self.share.sum()
        return {
            "codes_in_use": 1 - dead.float().mean(),
            "perplexity": torch.exp(torch.special.entr(share).sum()),
            "dead_codes": dead.float().sum(),
            "zipf_js": zipf_loss(self.share),
        }

    def _place(self, vectors: Tensor, codes: Tensor | slice = slice(None)) -> None:
        """Set codes to tangent vectors, or to their points; further out than geoopt's wall, to it.

        Args:
            vectors: Of the codes in their order; of all, where a mask says which are set.
            codes: Their numbers, or a mask.
        """
        kept: Any = self.tangent if self.codes_as == "tangent" else self.points
        placed = vectors
        if self.codes_as == "ball":
            points = ball.expmap0(vectors.double(), self.curvature)
            placed = kept.manifold.projx(points.to(kept.dtype))
        if isinstance(codes, Tensor) and codes.dtype == torch.bool:
            kept.copy_(torch.where(codes.unsqueeze(1), placed, kept))
        else:
            kept[codes] = placed

    def _follow(self, features: Tensor, present: Tensor) -> None:
        """One step of the moving average of each code's features, written as a step of the code."""
        nearest = self.nearest(features)
        counts = processes.total(self._histogram(nearest, present))
        before = self.embeddings()
        counted = features.to(before).masked_fill(~present.unsqueeze(1), 0)
        sums = processes.total(torch.zeros_like(before).index_add_(0, nearest, counted))
        weight = (1 - self.usage_decay) * self._relative(counts)
        weight = weight / (self.usage_decay * self.usage + weight).clamp(min=1e-12)
        means = sums / counts.clamp(min=1).unsqueeze(1)
        used = counts > 0  # the others stay to the last bit
        self._place(torch.lerp(before, means, weight.unsqueeze(1)), used)

    def _histogram(self, indices: Tensor, present: Tensor) -> Tensor:
        return torch.zeros_like(self.usage).index_add_(0, indices, present.to(self.usage))

    def _relative(self, counts: Tensor) -> Tensor:
        """Share of the tokens, as a multiple of the even share."""
        return counts * len(counts) / counts.sum().clamp(min=1)

    def _start(self, features: Tensor) -> Tensor:
        drawn = self._sample(features, len(self.usage))
        if self.initialisation == "kmeans":
            from scipy.cluster.vq import kmeans2

            with warnings.catch_warnings():  # a cluster that loses all its features stays where it was drawn
                warnings.simplefilter("ignore", UserWarning)
                centres, _ = kmeans2(
                    features.cpu().double().numpy(), drawn.cpu().double().numpy(), minit="matrix"
                )
            drawn = torch.from_numpy(centres).to(drawn)
        return processes.same_everywhere(drawn)

    def _sample(self, source: Tensor, rows: int) -> Tensor:
        """Draw features, no feature twice before all were drawn once, and blur them by a hundredth."""
        source = source.to(self.usage)
        orders = [torch.randperm(len(source)) for _ in range(-(-rows // len(source)))]
        drawn = source[torch.cat(orders)[:rows].to(source.device)]
        spread = 0.01 * drawn.norm(dim=1, keepdim=True) / drawn.shape[1] ** 0.5
        return processes.same_everywhere(drawn + spread * torch.randn(drawn.shape).to(drawn))
