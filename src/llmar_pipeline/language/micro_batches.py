"""How many clips a training of the language model reads at a time: as many as memory holds."""

import logging

import torch
from torch.distributed.tensor import DTensor

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.config import AdapterConfig
from llmar_pipeline.language.packing import CLIPS_A_ROW
from llmar_pipeline.language.passes import ON_A_CPU, SHARE, free_bytes
from llmar_pipeline.language.samples import longest_list
from llmar_pipeline.training import processes
from llmar_pipeline.training.config import TrainingConfig, micro_batch_of

logger = logging.getLogger(__name__)

_MOMENTS = 12  # bytes of a trained number beside its value: gradient and Adam's two


def layer_bytes(
    hidden: int, inner: int, heads: int, adapter: AdapterConfig, row: int, number: int, eager: bool = False
) -> int:
    """What a layer keeps of one token for the backward pass.

    Args:
        hidden: Width h of the model; keys of fewer heads keep less.
        inner: Inner width f.
        heads: Of the attention.
        adapter: Rank and places of the adapters; with `method: full` weights keep their inputs.
        row: Tokens of a row.
        number: Bytes of a number.
        eager: Whether attention keeps the share of every pair of tokens, as it does on a CPU.

    Source: docs/memory.md.
    """
    kept = 8 * hidden + 8 + number * (4 * hidden + row + 3 * inner) + 4 * heads
    if eager:
        kept += row * (heads * (4 + number * (number < 4)) - number)  # in float32, and rounded; not the mask
    if adapter.method == "full":
        return kept + number * (3 * hidden + inner)
    inputs = [inner if name == "down_proj" else hidden for name in adapter.target_modules]
    return kept + 4 * (sum(inputs) + adapter.rank * len(inputs))


def training_bytes(model: ActionLanguageModel, adapter: AdapterConfig, sentence: int, answer: int) -> int:
    """Memory that one clip takes until its backward pass, beside the weights.

    Args:
        model: Of which sizes and number type are taken, and the longest instruction.
        adapter: As in `layer_bytes`.
        sentence: Tokens of the action sentence.
        answer: Tokens of the answer.

    Source: docs/memory.md.
    """
    prompt = model.prompt(longest_list(model.class_names + model.other_names))
    clip, shared = sentence + len(prompt.after) + answer - 1, len(prompt.before)
    config = model.base.config
    hidden, inner, words = config.hidden_size, config.intermediate_size, int(config.vocab_size)
    sizes = hidden, inner, int(config.num_attention_heads), adapter
    number, eager = model.words.weight.element_size(), config._attn_implementation == "eager"
    kept = layer_bytes(*sizes, shared + CLIPS_A_ROW * clip, number, eager)
    tokens = clip + shared / CLIPS_A_ROW
    return int(tokens * config.num_hidden_layers * kept) + 16 * words * answer


def clips_at_once(
    model: ActionLanguageModel, adapter: AdapterConfig, training: TrainingConfig, sentence: int, answer: int
) -> int:
    """Clips of a micro-batch: a divisor of a process's share of the batch for which there is memory.

    Neither losses nor gradients depend on it but for the rounding of sums.

    Args:
        model: Before it is moved to where it is trained.
        adapter: As in `layer_bytes`.
        training: Its `micro_batch_size` is taken, unless it is "auto"; at most a process's share.
        sentence: Tokens of the longest action sentence.
        answer: Tokens of the longest answer.

    Returns:
        The same in every process; at least 1.

    Source: ours.
    """
    share = micro_batch_of(training.batch_size, training.micro_batch_size, processes.count())
    if training.micro_batch_size != "auto":
        return share
    place = processes.device()
    parameters = [p.to_local() if isinstance(p, DTensor) else p for p in model.parameters()]
    coming = sum(p.nbytes for p in parameters if p.device.type != place.type)
    coming += _MOMENTS * sum(p.numel() for p in parameters if p.requires_grad)
    free = free_bytes(place) / (processes.count() if place.type == "cpu" else 1)  # they may share a machine
    left = SHARE * free - coming
    each = training_bytes(model, adapter, sentence, answer)
    most = min(max(1, int(left / each)), ON_A_CPU if place.type == "cpu" else training.batch_size)
    most = processes.least(most)
    size = _divisor(share, most)
    logger.info("%d clips at a time, by the memory that is free", size)
    return size


def halved(training: TrainingConfig, size: int, place: torch.device) -> int:
    """Clips of a micro-batch after one for which memory was not enough.

    Args:
        training: As it was asked for.
        size: Clips of that micro-batch.
        place: Where memory ran out.

    Raises:
        UserError: A number was asked for, it was one clip, or other processes wait for this one.
    """
    half = _divisor(micro_batch_of(training.batch_size, "auto", processes.count()), size // 2)
    if training.micro_batch_size == "auto" and size > 1 and processes.count() == 1:
        return half
    what = (
        f"set lora_training.micro_batch_size={half}, which changes no result, and the training goes on "
        "from its last checkpoint"
        if size > 1
        else "take a smaller language model or size=qlora"
    )
    raise UserError(f"expected memory for {size} clips at a time on {place}, saw none left; {what}")


def _divisor(number: int, most: int) -> int:
    """The largest one up to a bound; 1 where the bound is less."""
    return max((each for each in range(1, min(most, number) + 1) if number % each == 0), default=1)
