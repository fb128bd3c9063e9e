"""Floating-point operations of each stage, counted from its settings alone.

A product of an [n, k] and a [k, m] matrix is 2 n k m operations; all else is left out. A backward pass takes
the same again for each factor that has a gradient.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from llmar_pipeline.language.config import AdapterConfig
from llmar_pipeline.language.packing import CLIPS_A_ROW
from llmar_pipeline.skeletons.topology import Body
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.graph_encoder import (
    DILATIONS,
    GRAPH_LAYERS,
    KERNEL,
    TEMPORAL_BLOCKS,
    inner_width,
)


class LLMShape(NamedTuple):
    """Sizes of a language model of the Llama kind."""

    hidden: int
    inner: int
    layers: int
    keys: int  # width of keys and of values
    words: int

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From a model's config.json.

        Raises:
            KeyError: It is of another kind.
        """
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        heads = config["num_attention_heads"]
        width = config.get("head_dim") or config["hidden_size"] // heads
        return cls(
            config["hidden_size"],
            config["intermediate_size"],
            config["num_hidden_layers"],
            width * (config.get("num_key_value_heads") or heads),
            config["vocab_size"],
        )

    @property
    def layer(self) -> int:
        """Weights of one layer that a token is multiplied with."""
        return 2 * self.hidden * (self.hidden + self.keys) + 3 * self.hidden * self.inner


@dataclass(frozen=True)
class Tokens:
    """Tokens around an action sentence.

    Attributes:
        before: Of the instruction in front of it.
        sentence: Of the sentence.
        after: Of the instruction behind it.
        answer: Of an answer, on average, end-of-sequence included.
        nodes: Of the tree of all answers, without its root.
    """

    before: int
    sentence: int
    after: int
    answer: float
    nodes: int


def sentence_length(config: VQVAEConfig, body: Body) -> int:
    """Codes of a window."""
    return config.frames // config.stride * len(body.members(config.body_parts)) * config.residual_levels


def encoder(config: VQVAEConfig, body: Body) -> int:
    """Operations that encode one window: of the encoders of all body parts, or of the graph encoder."""
    return _graph_encoder(config, body) if config.encoder == "graph" else _conv_encoder(config, body)


def _conv_encoder(config: VQVAEConfig, body: Body) -> int:
    parts = len(body.members(config.body_parts))
    width = config.width if parts == 1 else max(1, config.width // 2)
    frames, total = config.frames, 0
    total += 3 * len(config.streams) * body.channels * width * frames  # all parts together read all channels
    for _ in range(config.downsamplings):
        frames //= 2
        total += parts * frames * width**2 * (4 + 4 * config.depth)
    return 2 * (total + parts * 3 * width * config.code_dim * frames)


def _graph_encoder(config: VQVAEConfig, body: Body) -> int:
    nodes, steps = body.persons * len(body.topology.joints), config.frames // config.stride
    inside, width = inner_width(config), config.width
    read = len(config.streams) * body.topology.coordinates * config.stride  # numbers of a joint in a step
    joints = nodes * (read * inside + GRAPH_LAYERS * inside * (nodes + inside))
    branch = width // (len(DILATIONS) + 1)
    block = 5 * width**2 + len(DILATIONS) * KERNEL * branch**2
    pooled = width * (2 * inside + config.code_dim) + TEMPORAL_BLOCKS * block
    return 2 * steps * (joints + len(body.members(config.body_parts)) * pooled)


def decoder(config: VQVAEConfig, body: Body) -> int:
    """Operations that decode one window."""
    width, frames = config.width, config.frames // config.stride
    total = 3 * len(body.members(config.body_parts)) * config.code_dim * width * frames
    for _ in range(config.downsamplings):
        total += frames * width**2 * 4 * config.depth
        frames *= 2
        total += frames * width**2 * 3
    return 2 * (total + frames * (3 * width**2 + 3 * width * body.channels))


def distances(config: VQVAEConfig, body: Body) -> int:
    """Operations that compare the features of one window with all codes."""
    return 2 * sentence_length(config, body) * config.codes * config.code_dim


def vqvae_step(config: VQVAEConfig, body: Body, batch: int) -> int:
    """Operations of one training step of stage 1, backward pass included.

    As many as encoder, codebook and decoder take together. With continuous steps this is the most: before
    the codebook has its place it is not asked, afterwards the encoder has no backward pass.
    """
    window = encoder(config, body) + decoder(config, body) + distances(config, body)
    biases = 0
    if config.reads_words:
        books = len(body.members(config.body_parts)) * config.residual_levels
        biases = 2 * books * config.codes * config.code_dim * (config.codes + config.mmd_words)
    return 3 * (batch * window + biases)


def tokenization(config: VQVAEConfig, body: Body) -> int:
    """Operations that make one action sentence."""
    return encoder(config, body) + distances(config, body)


def lora_step(llm: LLMShape, adapter: AdapterConfig, tokens: Tokens, clips: int) -> float:
    """Operations of one training step of stage 2, backward pass included; clips share rows (packing.py)."""
    a_row = min(CLIPS_A_ROW, clips)
    row = tokens.before + a_row * (tokens.sentence + tokens.after + tokens.answer - 1)
    read = clips / a_row * row
    factors = 3 if adapter.method == "full" else 2  # frozen weights have no gradient
    linear = factors * 2 * read * llm.layer
    attention = 3 * 4 * read * row * llm.hidden
    low_rank = 0.0
    if adapter.method == "lora":
        inner, keys = llm.hidden + llm.inner, llm.hidden + llm.keys
        widths = {"k_proj": keys, "v_proj": keys, "gate_proj": inner, "up_proj": inner, "down_proj": inner}
        low_rank = (
            3
            * 2
            * read
            * adapter.rank
            * sum(widths.get(name, 2 * llm.hidden) for name in adapter.target_modules)
        )
    words = factors * 2 * clips * tokens.answer * llm.hidden * llm.words
    return llm.layers * (linear + attention + low_rank) + words


def scoring(llm: LLMShape, tokens: Tokens) -> float:
    """Operations that score the class list for one clip: prompt and tree of answers in one pass."""
    read = tokens.sentence + tokens.after + tokens.nodes
    attention = 4 * read * (tokens.before + read) * llm.hidden
    words = 2 * (tokens.nodes + 1) * llm.hidden * llm.words
    return llm.layers * (2 * read * llm.layer + attention) + words
