"""Stage 2 on validation clips: loss and accuracy by hand, and no trace in what is trained."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_llm import CLASS_NAMES
from tiny_training import schedule

from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.config import AdapterConfig
from llmar_pipeline.language.instructions import encode_answers
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.lora import train_lora
from llmar_pipeline.language.validation import cost, cost_of
from llmar_pipeline.operations import LLMShape, Tokens, lora_step, scoring

ADAPTER = AdapterConfig(rank=4, action_tokens="trainable", code_mixing=0.2, code_dropout=0.2)


@pytest.fixture(scope="module")
def sentences():
    """Ten training clips of two readings; seven of validation, and one of a class that none trains."""
    rng = np.random.default_rng(0)
    clips = [("train", clip % 5, CLASS_NAMES[clip % 5], reading) for clip in range(10) for reading in (0, 1)]
    clips += [("val", clip % 5, CLASS_NAMES[clip % 5], 0) for clip in range(7)] + [("val", 5, "fly", 0)]
    table = pd.DataFrame(clips, columns=["split", "label", "action", "reading"])
    names = [f"{split}{number}" for number, split in enumerate(table["split"])]
    return table.assign(
        name=names,
        codes=[rng.integers(0, 16, 6 if n.startswith("train") else rng.integers(3, 7)) for n in names],
    )


@pytest.fixture
def train(sentences, codebook, tiny_config, tmp_path):
    def run(name, rows=sentences, instruction="recognize", **changes):
        training = schedule(**{"batch_size": 12, "micro_batch_size": 12, "save_every": 3} | changes)
        return train_lora(
            rows, codebook, tiny_config, tmp_path, ADAPTER, training, tmp_path / name, instruction=instruction
        )

    return run


@pytest.mark.parametrize("instruction", ["recognize", "recognize_from_list"])
def test_the_last_values_by_hand(train, sentences, instruction):
    """Each name of the class list as the answer of a training's pass, without a tree."""
    model, history = train("steps", instruction=instruction, save_every=60)
    clips = sentences[(sentences["split"] == "val") & (sentences["action"] != "fly")]
    ids, mask = encode_answers(model.tokenizer, CLASS_NAMES)
    surprise = np.zeros((len(clips), len(CLASS_NAMES)))
    for row, codes in enumerate(clips["codes"]):
        read = torch.from_numpy(codes)[None]
        for label in range(len(CLASS_NAMES)):
            with torch.no_grad():
                mean = model(read, read >= 0, ids[[label]], mask[[label]])["loss"].item()
            surprise[row, label] = mean * mask[label].sum().item()
    right, tokens = clips["label"].to_numpy(), mask.sum(1).numpy()
    expected = surprise[range(len(clips)), right].sum() / tokens[right].sum()
    last = history[-1]
    assert ["validation_loss" in record for record in history] == [False] * 7 + [True]
    assert last["validation_loss"] == pytest.approx(expected, rel=1e-4)
    assert last["validation_accuracy"] == pytest.approx((surprise.argmin(1) == right).mean())


def test_nothing_of_the_training_changes(train, sentences):
    plain, expected = train("plain", sentences[sentences["split"] == "train"])
    watched, history = train("watched")
    for name, tensor in plain.state_dict().items():
        assert torch.equal(watched.state_dict()[name], tensor), name
    measured = {r["step"]: (r.pop("validation_loss"), r.pop("validation_accuracy")) for r in history[2::3]}
    measured[8] = history[-1].pop("validation_loss"), history[-1].pop("validation_accuracy")
    assert list(measured) == [3, 6, 8]
    assert history == expected


@pytest.mark.slow
def test_a_stopped_training_goes_on_with_the_same_history(train, monkeypatch):
    _, history = train("whole")
    forward, passes = ActionLanguageModel.forward, []

    def failing(self, *args, **kwargs):
        passes.append(1)
        if len(passes) > 5:
            raise KeyboardInterrupt
        return forward(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ActionLanguageModel, "forward", failing)
        with pytest.raises(KeyboardInterrupt):
            train("stopped")
    assert train("stopped")[1] == history


def test_what_a_clip_costs():
    assert cost(16, 7, 5, 5) == 0.5  # a forward pass of as many tokens
    assert cost(16, 7, 5, 33) == 1
    assert cost(16, 579, 5, 422, trained=68) == (16 + 579 + 422) / (2 * (16 + 68 + 5))


@pytest.mark.parametrize(("after", "trained", "nodes"), [(7, 7, 219), (7, 7, 422), (579, 579, 422)])
def test_the_cost_by_tokens_is_that_by_operations(after, trained, nodes):
    """LLaMA-13B: all but attention and vocabulary is products with weights, as many a token."""
    llama, read = LLMShape(5120, 13824, 40, 5120, 32000), Tokens(6, 16, after, 4.9, nodes)
    a_clip = lora_step(llama, AdapterConfig(), replace(read, after=trained), 256) / 256
    assert cost(16, after, 4.9, nodes, trained) == pytest.approx(scoring(llama, read) / a_clip, rel=0.12)


def test_a_training_on_lists_is_known_to_read_shorter_ones(build):
    model = build(instruction="recognize_from_list")
    trie = LabelTrie(CLASS_NAMES, model.tokenizer)
    few = cost_of(model, trie, 16)
    model.class_names = [f"{name} {time}" for time in ("once", "twice") for name in CLASS_NAMES]
    many = cost_of(model, trie, 16)
    after, listed = (len(model.prompt(names).after) for names in (model.class_names, model.class_names[:6]))
    answer = np.mean([len(answer) for answer in trie.answers])
    assert len(CLASS_NAMES) <= 6 < len(model.class_names)
    assert many == cost(16, after, answer, len(trie.node_tokens), trained=listed) > few
