"""The settings of the action-based VQ-VAE, and of the action sentences taken from it."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmar_pipeline.skeletons.streams import Stream


class VQVAEConfig(BaseModel):
    """What one needs to build the VQ-VAE, except for the number of input channels, which the data give.

    "paper" marks values of the paper, "lineage" those of T2M-GPT and MotionGPT, from which the paper's
    own numbers descend, "ours" everything else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The codebook.
    code_dim: int = Field(gt=0)  # paper: du, the width of the language model's word embeddings
    codes: int = Field(default=512, gt=0)  # paper: U, even
    geometry: Literal["hyperbolic", "euclidean"] = "hyperbolic"  # paper; "euclidean" is its ablation
    curvature: float = Field(default=1.0, gt=0, allow_inf_nan=False)  # ours: c; Eq. 9 is printed for c = 1
    initialise_from_data: bool = True  # lineage: codes start at the first batch's features
    reset_dead_codes: bool = True  # lineage: codes that fall out of use restart at a feature
    usage_decay: float = Field(default=0.99, ge=0, lt=1)  # lineage: of the moving average of a code's usage
    dead_below: float = Field(default=0.05, ge=0, lt=1)  # ours: x 1/U; the rarest code of Eq. 2 has 0.19

    # Encoder and decoder.
    stream: Stream = "local"  # ours: the root as it is, joints relative to it; the others: field
    frames: int = Field(default=64, gt=0)  # ours: V, the length of a training window
    downsamplings: int = Field(default=2, ge=0)  # lineage: W = V / 4
    width: int = Field(default=512, gt=0)  # lineage
    depth: int = Field(default=3, gt=0)  # lineage: residual blocks a resolution
    dilation_growth: int = Field(default=3, gt=0)  # lineage: dilations 9, 3, 1

    # The loss, Eq. 12.
    commitment_weight: float = Field(default=0.02, ge=0)  # paper: omega_1

    @property
    def stride(self) -> int:
        """Frames a code, V / W."""
        return int(2**self.downsamplings)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.codes % 2:
            raise ValueError(f"codes must be even (they form correlated pairs), but is {self.codes}")
        if self.frames % self.stride:
            raise ValueError(
                f"frames must be a multiple of 2**downsamplings = {self.stride}, but is {self.frames}"
            )
        return self


class TokenizationConfig(BaseModel):
    """How clips are turned into action sentences."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    readings: int = Field(default=8, ge=0)  # ours: random readings of a training clip, beside the plain one
    batch_size: int = Field(default=256, gt=0)  # ours
    seed: int = Field(default=0, ge=0)  # ours
