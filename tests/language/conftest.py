import pytest
import torch
from tiny_llm import CLASS_NAMES

from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.instructions import load_instruction
from llmar_pipeline.language.loading import attach_lora, load_llm


@pytest.fixture(scope="module")
def tiny_config(tiny_llm_folder) -> LLMConfig:
    return LLMConfig(model=str(tiny_llm_folder), precision="float32")


@pytest.fixture(scope="module")
def codebook() -> torch.Tensor:
    return torch.randn(16, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def build(tiny_config, codebook, tmp_path):
    """Build a tiny `ActionLanguageModel`; adapters are given non-zero values, as after training.

    The instruction is a name, or a text of its own.
    """

    def build_model(
        adapters: bool = True,
        action_tokens: str = "frozen",
        instruction: str = "recognize",
        word_norm: bool = False,
        input: str = "codes",
    ) -> ActionLanguageModel:
        torch.manual_seed(2)
        llm, tokenizer = load_llm(tiny_config, tmp_path)
        tuned = attach_lora(llm, AdapterConfig(rank=4, alpha=8)) if adapters else llm
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
        return ActionLanguageModel(
            tuned,
            tokenizer,
            codebook,
            instruction if "[tokens]" in instruction else load_instruction(instruction),
            CLASS_NAMES,
            tiny_config,
            action_tokens,
            word_norm,
            input,
        ).eval()

    return build_model


@pytest.fixture
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    """Four clips of 6, 3, 1 and 6 codes, right-padded."""
    codes = torch.randint(0, 16, (4, 6), generator=torch.Generator().manual_seed(3))
    return codes, torch.arange(6) < torch.tensor([6, 3, 1, 6])[:, None]
