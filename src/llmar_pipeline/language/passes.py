"""As many clips a pass of the language model as memory holds."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import psutil
import torch

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.split_linear import SplitLinear

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

SHARE = 0.9  # of what is free; the rest are the allocator's gaps, and the logits of some states
ON_A_CPU = 32  # more clips at once are no faster there


def clip_bytes(shape: tuple[int, int, int, int], tokens: int, number: int = 4, split: bool = False) -> int:
    """Memory that the scoring of one clip takes beside the weights, where all names are read in one pass.

    Args:
        shape: Hidden width h, inner width f, layers n, width of a layer's keys k.
        tokens: Of the prompt and of the tree of all names, L.
        number: Bytes of a number.
        split: Whether weights are `SplitLinear`'s.

    Returns:
        Keys and values of all layers; three numbers of width h and f each within a layer; with split weights
        three products of width f and the terms of their factors beside them; masks.

    Source: docs/memory.md.
    """
    hidden, inner, layers, keys = shape
    kept = 2 * number * layers * keys
    layer = number * 3 * (hidden + inner) + (3 * 4 + 3 * 2) * inner * split
    return tokens * (kept + layer + (number + 1) * tokens)


class Passes:
    """Clips that go through a model together: as many as its device has memory for.

    Where memory runs out all the same, half as many from there on. What comes out is the same but for the
    rounding of sums.

    Args:
        model: Where it will score.
        most: Clips in one pass at most.
        fit: Whether memory is looked at. Processes that make each pass together are to make the same ones.

    Source: ours.
    """

    def __init__(self, model: ActionLanguageModel, most: int, fit: bool = True) -> None:
        self._model, self._fit = model, fit
        self.most = min(most, ON_A_CPU) if model.device.type == "cpu" else most

    def __call__(
        self,
        items: Sequence[Item],
        work: Callable[[Sequence[Item]], Result],
        trie: LabelTrie,
        codes: int,
    ) -> list[Result]:
        """Apply `work` to some items after the others.

        Args:
            items: At least one.
            work: Items of a pass to their results.
            trie: The class list that is read.
            codes: Action tokens of an item, those of all its readings.

        Raises:
            UserError: There is not memory enough for one.
        """
        size = max(1, min(self.most, self._fitting(trie, codes))) if self._fit else self.most
        done: list[Result] = []
        while items:
            try:
                done.append(work(items[:size]))
                items = items[size:]
                continue
            except torch.OutOfMemoryError:
                if size == 1:
                    raise UserError(
                        f"expected memory for one clip and {len(trie.class_names)} names on "
                        f"{self._model.device}, saw none left; ask fewer names, or take a smaller model "
                        "(size=gpu)"
                    ) from None
            torch.cuda.empty_cache()  # here nothing holds the pass that failed any more
            size = self.most = -(-min(size, len(items)) // 2)
            logger.info("out of memory: %d clips a pass from here on", size)
        return done

    def _fitting(self, trie: LabelTrie, codes: int) -> int:
        model, config = self._model, self._model.base.config
        prompt = model.prompt(trie.class_names)
        tokens = len(prompt.before) + codes + len(prompt.after) + len(trie.node_tokens)
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (
            config.hidden_size,
            config.intermediate_size,
            config.num_hidden_layers,
            width * config.num_key_value_heads,
        )
        split = any(isinstance(module, SplitLinear) for module in model.decoder.modules())
        each = clip_bytes(shape, tokens, model.words.weight.element_size(), split)
        return int(SHARE * free_bytes(model.device)) // each


def free_bytes(device: torch.device) -> int:
    """Bytes of memory that may still be taken: on a CPU half of what other programs leave."""
    if device.type == "cpu":
        return int(psutil.virtual_memory().available) // 2
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + held
