"""Word embeddings read without the model."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.loading import load_llm
from llmar_pipeline.language.words import class_texts, word_embeddings


@pytest.fixture
def config(tiny_llm_folder):
    return LLMConfig(model=str(tiny_llm_folder), precision="float32")


def test_they_are_those_of_the_model(config, tmp_path):
    llm, tokenizer = load_llm(config, tmp_path)
    weight = llm.get_input_embeddings().weight.detach()
    assert torch.equal(word_embeddings(config, tmp_path), weight)
    texts = class_texts(weight, config, tmp_path, ["sit down", "clapping"])
    ids = tokenizer(". sit down", add_special_tokens=False)["input_ids"]
    stop = tokenizer(".", add_special_tokens=False)["input_ids"]
    torch.testing.assert_close(texts[0], weight[ids[len(stop) :]].mean(0))
    assert texts.shape == (2, weight.shape[1])


def test_another_name_of_the_weights_is_a_clear_error(config, tiny_llm_folder, tmp_path):
    for file in tiny_llm_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    file = next(tmp_path.glob("*.safetensors"))
    save_file({name.replace("embed_tokens", "other"): t for name, t in load_file(file).items()}, file)
    with pytest.raises(UserError, match="expected word embeddings named"):
        word_embeddings(LLMConfig(model=str(tmp_path), precision="float32"), tmp_path)
