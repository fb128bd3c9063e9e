"""A recogniser small enough for tests: random weights, whole folders."""

import torch
from tiny_llm import CLASS_NAMES

from llmar_pipeline.corpora.facts import CorpusFacts
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.instructions import load_instruction
from llmar_pipeline.language.llm import llm_checksum
from llmar_pipeline.language.loading import attach_lora, load_llm
from llmar_pipeline.language.trained_model import save_model
from llmar_pipeline.recognizer_folder import complete_recognizer
from llmar_pipeline.skeletons.normalization import NormalizationConfig
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE

NORMALIZATION = NormalizationConfig(fill_gaps=True, center=True, align_view=True, scale_to_body=False)


def write_vqvae(folder, body, classes=0, **settings):
    """Random, its codes placed among its features."""
    torch.manual_seed(0)
    config = {"code_dim": 32, "codes": 16, "width": 16, "frames": 16, "stream": "bones", "mmd_weight": 0}
    model = VQVAE(VQVAEConfig(**config | settings), body, classes)
    motion = torch.randn(32, 16, body.channels).cumsum(1) / 4
    model(motion, torch.ones_like(motion, dtype=torch.bool))
    model.eval().save(folder)
    return model


def write_recognizer(folder, vqvae, llm, corpus, input="codes", method="lora", votes=None):
    """An untrained one whose adapters have some effect."""
    config = LLMConfig(model=str(llm), precision="float32")
    base, tokenizer = load_llm(config, folder)
    torch.manual_seed(1)
    tuned = attach_lora(base, AdapterConfig(rank=4)) if method == "lora" else base
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name or method == "full":
            torch.nn.init.normal_(parameter, std=0.2)
    model = ActionLanguageModel(
        tuned,
        tokenizer,
        VQVAE.load(vqvae).code_embeddings().detach(),
        load_instruction("recognize"),
        CLASS_NAMES,
        config,
        word_norm=True,
        input=input,
    )
    model.class_votes = votes
    model.llm_checksum = llm_checksum(config, folder)
    save_model(model, folder)
    return complete_recognizer(folder, vqvae, NORMALIZATION, CorpusFacts.of(corpus))
