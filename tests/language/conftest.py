from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.instructions import load_instruction
from llmar_pipeline.language.llm import attach_lora, load_llm

CLASS_NAMES = ("throw", "throw up cap/hat", "drink water", "hand waving", "hand")


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    texts = [
        load_instruction("recognize"),
        load_instruction("recognize_from_list"),
        *(f" {n}" for n in CLASS_NAMES),
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session")
def tiny_llm_folder(tmp_path_factory) -> Path:
    """A random Llama of 2 layers with a byte-level tokenizer that writes a begin-of-sequence token."""
    folder = tmp_path_factory.mktemp("tiny_llm")
    tokenizer = byte_level_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        # Larger than the usual 0.02: near-uniform predictions would hide errors of mask and positions.
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_config(tiny_llm_folder) -> LLMConfig:
    return LLMConfig(model=str(tiny_llm_folder), precision="float32")


@pytest.fixture
def codebook() -> torch.Tensor:
    return torch.randn(16, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def build(tiny_config, codebook, tmp_path):
    """Build a tiny `ActionLanguageModel`; adapters are given non-zero values, as after training."""

    def build_model(
        adapters: bool = True, action_tokens: str = "frozen", instruction: str = "recognize"
    ) -> ActionLanguageModel:
        torch.manual_seed(2)
        llm, tokenizer = load_llm(tiny_config, tmp_path)
        tuned = attach_lora(llm, AdapterConfig(rank=4, alpha=8)) if adapters else llm
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
        return ActionLanguageModel(
            tuned, tokenizer, codebook, load_instruction(instruction), CLASS_NAMES, tiny_config, action_tokens
        ).eval()

    return build_model


@pytest.fixture
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    """Four clips of 6, 3, 1 and 6 codes, right-padded."""
    codes = torch.randint(0, 16, (4, 6), generator=torch.Generator().manual_seed(3))
    return codes, torch.arange(6) < torch.tensor([6, 3, 1, 6])[:, None]
