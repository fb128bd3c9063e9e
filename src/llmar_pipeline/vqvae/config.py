"""The settings of the action-based VQ-VAE, and of the action sentences taken from it."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmar_pipeline.errors import UserError

Stream = Literal["joints", "local", "bones", "motion"]  # see vqvae/streams.py
CLASSIFIERS = ("class", "class_and_text")
"""Values of `auxiliary` with a head that answers by itself too."""
# These have no inverse, so nothing can be told from them in the unit of the sequences.
FurtherStream = Stream | Literal["local_motion", "box", "box_bones", "box_motion"]


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
    codes_as: Literal["tangent", "ball"] = "tangent"  # ours; "ball": points of the ball, as the paper writes
    initialisation: Literal["random", "data", "kmeans"] = "data"  # lineage: the first batch's features
    codebook_update: Literal["gradient", "ema"] = "gradient"  # paper: Eq. 11; lineage: ema
    reset_dead_codes: bool = True  # lineage: codes that fall out of use restart at a feature
    usage_decay: float = Field(default=0.99, ge=0, lt=1)  # lineage: of the moving averages
    dead_below: float = Field(default=0.05, ge=0, lt=1)  # ours: x 1/U; the rarest code of Eq. 2 has 0.19
    residual_levels: int = Field(default=1, gt=0)  # ours: codes that a token is the sum of; 1 in the paper
    body_parts: bool = False  # ours: codes of their own for the trunk and each limb

    # Encoder and decoder.
    encoder: Literal["conv", "graph"] = "conv"  # lineage; "graph" (ours): joints as a graph
    further_streams: tuple[FurtherStream, ...] = ()  # ours: what the encoder reads beside `stream`
    root_path: bool = True  # ours: whether the graph encoder sees where the body stands
    dropout: float = Field(default=0.0, ge=0, lt=1)  # ours: of the graph encoder
    stream: Stream = "local"  # ours: the root as it is, joints relative to it; the others: field
    frames: int = Field(default=64, gt=0)  # ours: V, the length of a training window
    downsamplings: int = Field(default=2, ge=0)  # lineage: W = V / 4
    width: int = Field(default=512, gt=0)  # lineage; half of it for each body part's encoder
    depth: int = Field(default=3, gt=0)  # lineage: residual blocks a resolution
    dilation_growth: int = Field(default=3, gt=0)  # lineage: dilations 9, 3, 1

    # The loss, Eq. 12; a weight of 0 switches its term off.
    commitment_weight: float = Field(default=0.02, ge=0)  # paper: omega_1
    human_weight: float = Field(default=0.2, ge=0)  # paper: omega_2, of all human inductive biases
    zipf_weight: float = Field(default=1.0, ge=0)  # paper: Eq. 7
    context_weight: float = Field(default=1.0, ge=0)  # paper: Eq. 7
    mmd_weight: float = Field(default=1.0, ge=0)  # paper: Eq. 7
    gumbel_temperature: float = Field(default=1.0, gt=0)  # ours: of Eq. 3
    continuous_steps: int = Field(default=0, ge=0)  # ours: steps without codebook before it takes its place
    max_norm: float | None = Field(default=None, gt=0)  # ours: longest tangent vector that is quantised
    mmd_words: int = Field(default=2048, gt=1)  # ours: words drawn a step
    auxiliary: Literal["none", "class", "text", "class_and_text"] = "none"  # ours: what features also tell
    auxiliary_weight: float = Field(default=0.1, ge=0)  # ours
    auxiliary_reads: Literal["features", "both"] = "features"  # ours; "both": codes too
    auxiliary_dropout: float = Field(default=0.0, ge=0, lt=1)  # ours
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)  # ours

    @property
    def streams(self) -> tuple[FurtherStream, ...]:
        """All that the encoder reads; the first one is what the decoder gives back."""
        return (self.stream, *self.further_streams)

    @property
    def stride(self) -> int:
        """Frames a code, V / W."""
        return int(2**self.downsamplings)

    @property
    def reads_words(self) -> bool:
        """Whether training needs the language model's words."""
        return bool(self.human_weight and self.mmd_weight)

    @property
    def reads_names(self) -> bool:
        """Whether training needs the class names as the language model writes them."""
        return self.auxiliary in ("text", "class_and_text")

    @property
    def classifies(self) -> bool:
        """Whether a head is trained that answers by itself too."""
        return self.auxiliary in CLASSIFIERS

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.codes % 2:
            raise ValueError(f"codes must be even (they form correlated pairs), but is {self.codes}")
        if self.continuous_steps and self.initialisation == "random":
            raise ValueError("continuous_steps needs initialisation=kmeans or data, but it is random")
        if self.codes_as == "ball" and self.geometry != "hyperbolic":
            raise ValueError(f"codes_as=ball needs geometry=hyperbolic, but geometry is {self.geometry}")
        if self.frames % self.stride:
            raise ValueError(
                f"frames must be a multiple of 2**downsamplings = {self.stride}, but is {self.frames}"
            )
        return self


class TokenizationConfig(BaseModel):
    """How clips are turned into action sentences."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    readings: int = Field(default=8, ge=0)  # ours: random readings of a training clip, beside the plain one
    test_readings: int = Field(default=1, ge=1)  # ours: of other clips, whose scores are averaged
    batch_size: int = Field(default=256, gt=0)  # ours
    seed: int = Field(default=0, ge=0)  # ours


def check_continuous_steps(continuous: int, steps: int) -> None:
    """Refuse a training that ends before the codebook has taken its place.

    Args:
        continuous: `continuous_steps`.
        steps: `max_steps` of the training.

    Raises:
        UserError: No step is left.
    """
    if continuous >= steps:
        raise UserError(
            f"expected vqvae.continuous_steps below vqvae_training.max_steps={steps}, saw {continuous}; "
            "leave steps for the codebook"
        )
