"""A language model small enough for tests: random weights, byte-level tokenizer; its checksums."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llmar_pipeline.language.instructions import load_instruction
from llmar_pipeline.training.digests import tensor_checksum

CLASS_NAMES = ("throw", "throw up cap/hat", "drink water", "hand waving", "hand")


def write_tiny_llm(folder: Path, hidden_size: int = 32) -> None:
    """A random Llama of 2 layers whose tokenizer writes a begin-of-sequence token."""
    tokenizer = byte_level_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
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


def weights_checksum(llm: nn.Module) -> dict[str, str]:
    """SHA-256 of every base tensor, equal before and after adapters are attached and trained.

    Of a quantised layer these are the packed weights, the scales of their blocks, and the tables of both.

    Adapters are left out; a name is that in the bare model.
    """
    checksums = {}
    for name, tensor in llm.state_dict().items():
        if "lora_" not in name:
            bare = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
            checksums[bare] = tensor_checksum(tensor)
    return checksums
