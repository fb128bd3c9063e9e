"""Stage 2 as a whole on the tiny language model: what is trained, saved, continued and shared."""

import json
import os
import signal
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_llm import CLASS_NAMES
from tiny_training import one_after_another, schedule
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.tensor import DTensor
from transformers import PreTrainedTokenizerBase

from llmar_pipeline.errors import UserError
from llmar_pipeline.language import lora, samples, untrained_model
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import score_classes
from llmar_pipeline.language.config import AdapterConfig
from llmar_pipeline.language.instructions import encode_answers, encode_prompt
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.loading import attach_lora, load_tokenizer
from llmar_pipeline.language.lora import train_lora
from llmar_pipeline.language.samples import drawn_list, mixed
from llmar_pipeline.language.trained_model import load_model, save_model
from llmar_pipeline.language.words import class_texts, word_embeddings
from llmar_pipeline.machine import NumberType
from llmar_pipeline.training import processes
from llmar_pipeline.training.checkpoints import latest_checkpoint
from llmar_pipeline.training.launch import launch, train_and_save
from llmar_pipeline.training.stream import SampleStream
from llmar_pipeline.training.trainer import train

whole_batches = partial(schedule, batch_size=12, micro_batch_size=12)


@pytest.fixture(scope="module")
def sentences():
    """Twelve training clips of two readings, with answers of different lengths."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "name": f"clip{clip:02}",
            "split": "train",
            "label": clip % len(CLASS_NAMES),
            "action": CLASS_NAMES[clip % len(CLASS_NAMES)],
            "reading": reading,
            "codes": rng.integers(0, 16, 6).astype(np.int32),
        }
        for clip in range(12)
        for reading in range(2)
    )


@pytest.fixture
def run(sentences, codebook, tiny_config, tmp_path):
    """Train and save in a folder; returns the model's folder and the history."""

    def train(name, adapter, training, sentences=sentences, instruction="recognize"):
        arguments = (
            sentences,
            codebook,
            tiny_config,
            tmp_path,
            adapter,
            training,
            tmp_path / f"{name}_steps",
        )
        trained = partial(train_lora, instruction=instruction)
        history = launch(train_and_save, training.processes, trained, save_model, tmp_path / name, *arguments)
        return tmp_path / name, pd.DataFrame(history)

    return train


def file_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop_after(monkeypatch, passes):
    """Let the model fail at a forward pass, as if the process had been killed there."""
    forward, done = ActionLanguageModel.forward, []

    def failing(self, *args, **kwargs):
        done.append(1)
        if len(done) > passes:
            raise KeyboardInterrupt
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(ActionLanguageModel, "forward", failing)


@pytest.mark.parametrize("balance", ["none", "classes"])
def test_the_stream_knows_the_classes_where_they_are_balanced(
    balance, sentences, codebook, tiny_config, tmp_path, monkeypatch
):
    given = []

    def stream(*arguments):
        given.append(arguments[4])
        return SampleStream(*arguments)

    monkeypatch.setattr(lora, "SampleStream", stream)
    training = schedule(balance=balance, max_steps=1)
    train_lora(
        sentences, codebook, tiny_config, tmp_path, AdapterConfig(rank=4), training, tmp_path / "steps"
    )
    labels = [clip % len(CLASS_NAMES) for clip in range(12)]
    assert given == [labels if balance == "classes" else None]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_stopped_training_ends_with_the_same_bytes(run, monkeypatch, method, tiny_llm_folder):
    base = file_bytes(tiny_llm_folder)
    adapter = AdapterConfig(method=method, rank=4, action_tokens="trainable")
    whole, history = run("whole", adapter, whole_batches())
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            run("stopped", adapter, whole_batches())
    stopped, continued = run("stopped", adapter, whole_batches())
    assert continued["loss"].tolist() == history["loss"].tolist()
    assert continued["loss"].iloc[-1] < continued["loss"].iloc[0]
    for file in whole.glob("*.safetensors"):
        assert (stopped / file.name).read_bytes() == file.read_bytes(), file.name
    assert file_bytes(tiny_llm_folder) == base


def test_full_tuning_moves_every_weight_and_is_saved_as_a_whole_model(run, tmp_path, tiny_llm_folder):
    folder, _ = run("full", AdapterConfig(method="full"), whole_batches())
    base, tuned = (load_file(path / "model.safetensors") for path in (tiny_llm_folder, folder))
    assert base.keys() == tuned.keys()
    assert [name for name in base if torch.equal(base[name], tuned[name])] == []
    model = load_model(folder, tmp_path)
    assert not model.has_adapters
    for name, tensor in model.base.state_dict().items():
        assert torch.equal(tensor, tuned[name]), name


def test_full_tuning_computes_in_the_models_precision_on_float32_weights(
    sentences, codebook, tiny_config, tmp_path
):
    config = tiny_config.model_copy(update={"precision": "bfloat16"})
    training, adapter = whole_batches(max_steps=2), AdapterConfig(method="full")
    model, history = train_lora(sentences, codebook, config, tmp_path, adapter, training, tmp_path / "steps")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    exact = tmp_path / "exact"
    _, expected = train_lora(sentences, codebook, tiny_config, tmp_path, adapter, training, exact)
    assert history[0]["loss"] != expected[0]["loss"]
    assert history[0]["loss"] == pytest.approx(expected[0]["loss"], rel=0.02)


def test_a_trained_model_names_the_number_type_that_was_chosen(
    sentences, codebook, tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(lora, "number_type", lambda: NumberType("float32", "a test"))
    config = tiny_config.model_copy(update={"precision": "auto"})
    training = whole_batches(max_steps=1)
    model, _ = train_lora(
        sentences, codebook, config, tmp_path, AdapterConfig(rank=2), training, tmp_path / "steps"
    )
    fingerprint = json.loads((tmp_path / "steps" / "fingerprint.json").read_text())
    save_model(model, tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "language_model.json").read_text())
    assert fingerprint["llm"]["precision"] == manifest["llm"]["precision"] == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_training_that_goes_on_keeps_the_number_type_it_began_with(
    sentences, codebook, tiny_config, tmp_path, monkeypatch, caplog, method
):
    config = tiny_config.model_copy(update={"precision": "auto"})
    adapter, steps = AdapterConfig(rank=2, method=method), tmp_path / "steps"

    def train_on(machine, config=config, **changes):
        monkeypatch.setattr(lora, "number_type", lambda: NumberType(machine, "a test"))
        training = whole_batches(schedule="constant", save_every=1, **changes)
        with caplog.at_level("INFO"):
            model, history = train_lora(sentences, codebook, config, tmp_path, adapter, training, steps)
        return model.llm_config.precision, history

    first = train_on("bfloat16", max_steps=1)
    precision, longer = train_on("float32", max_steps=2)
    assert (first[0], precision) == ("bfloat16", "bfloat16")
    assert longer[:1] == first[1]
    assert "language model in bfloat16, as its training began; here alone float32: a test" in caplog.text
    # What is not continued begins anew, in what is fast here.
    assert train_on("float32", max_steps=1, learning_rate=2e-3)[0] == "float32"
    assert "training.learning_rate changed from 0.001 to 0.002" in caplog.text
    # What is asked for is done.
    asked = config.model_copy(update={"precision": "bfloat16"})
    assert train_on("float32", asked, max_steps=1, learning_rate=2e-3)[0] == "bfloat16"


@pytest.mark.parametrize(("place", "kind"), [("cpu", "eager"), ("cuda", "sdpa")])
def test_the_kind_of_attention_is_that_of_where_it_trains(
    place, kind, sentences, codebook, tiny_config, tmp_path, monkeypatch
):
    """Not of where the weights lie before, which is main memory."""
    monkeypatch.setattr(lora.processes, "device", lambda: torch.device(place))
    arguments = (sentences, codebook, tiny_config, tmp_path, AdapterConfig(rank=2), schedule(max_steps=1))
    model, _ = train_lora(*arguments, tmp_path / "steps")
    assert model.base.config._attn_implementation == kind


def with_features(sentences, codebook):
    return sentences.assign(features=[codebook[codes].numpy() for codes in sentences["codes"]])


def test_features_that_are_codes_train_as_the_codes(sentences, codebook, tiny_config, tmp_path):
    sentences = with_features(sentences, codebook)
    states, losses = [], []
    for name in ("codes", "features"):
        adapter = AdapterConfig(input=name, rank=4, word_norm=True)
        model, history = train_lora(
            sentences, codebook, tiny_config, tmp_path, adapter, whole_batches(), tmp_path / name
        )
        states.append(model.state_dict())
        losses.append([record["loss"] for record in history])
    assert losses[0] == losses[1]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_other_features_start_over(sentences, codebook, tiny_config, tmp_path):
    adapter, training = AdapterConfig(input="features", rank=4), whole_batches(max_steps=2)

    def train(scale):
        table = with_features(sentences, scale * codebook)
        _, history = train_lora(table, codebook, tiny_config, tmp_path, adapter, training, tmp_path / "steps")
        return [record["loss"] for record in history]

    first = train(1.0)
    assert train(1.0) == first
    assert train(0.5)[0] != first[0]


def test_features_that_were_not_made_are_missed(sentences, codebook, tiny_config, tmp_path):
    adapter = AdapterConfig(input="features")
    with pytest.raises(UserError, match=r"expected features .*lora.input=features.*stage2"):
        train_lora(sentences, codebook, tiny_config, tmp_path, adapter, whole_batches(), tmp_path / "steps")


def killed_at_step_five(*arguments, **settings):
    """A training whose second process is killed at its fifth step."""
    forward, passes = ActionLanguageModel.forward, []

    def dying(self, *args, **kwargs):
        assert all(isinstance(value, DTensor) for value in self.decoder.layers.parameters())
        passes.append(1)
        if len(passes) == 5 and not processes.first():
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(self, *args, **kwargs)

    ActionLanguageModel.forward = dying
    return train_and_save(*arguments, **settings)


@pytest.mark.slow
def test_a_sharded_training_goes_on_where_a_process_was_killed(sentences, codebook, tiny_config, tmp_path):
    adapter = AdapterConfig(method="full", action_tokens="trainable")
    training = whole_batches(processes=2, save_every=1)

    def run(name, function=train_and_save):
        model, steps = tmp_path / name, tmp_path / f"{name}_steps"
        arguments = (sentences, codebook, tiny_config, tmp_path, adapter, training, steps)
        launch(function, 2, train_lora, save_model, model, *arguments)
        return load_file(model / "model.safetensors")

    with pytest.raises(ChildFailedError):
        run("killed", killed_at_step_five)
    left = latest_checkpoint(tmp_path / "killed_steps")
    assert left is not None
    assert left.name in ("checkpoint-3", "checkpoint-4")  # the first process may still have been writing
    assert {file.suffix for file in left.iterdir()} == {".safetensors", ".json"}
    expected, found = run("whole"), run("killed")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
def test_full_tuning_goes_on_by_several_processes_after_one_and_by_one_after_several(run, first, then):
    adapter = AdapterConfig(method="full", action_tokens="trainable")
    training = partial(whole_batches, schedule="constant", save_every=1)
    run("changing", adapter, training(processes=first, max_steps=4))
    changing, history = run("changing", adapter, training(processes=then))
    whole, expected = run("whole", adapter, training())
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-4)
    made = load_file(changing / "model.safetensors")
    for name, value in load_file(whole / "model.safetensors").items():
        assert (made[name] - value).norm() < 1e-3 * value.norm(), name


CASES = {
    "lora": ("lora", "recognize"),
    "lora from a list": ("lora", "recognize_from_list"),
    "full": ("full", "recognize"),
}


@pytest.fixture(scope="module")
def by_processes(sentences, codebook, tiny_config, tmp_path_factory):
    """Model's folder and history of each case, by number of processes.

    Their micro-batches hold different numbers of answer tokens, those of validation of clips.
    """
    plain, made = sentences[sentences["reading"] == 0], {}
    table = pd.concat([sentences, plain.assign(split="val", name="val " + plain["name"])[:5]])
    for count in (1, 2):
        folder, trainings = tmp_path_factory.mktemp(f"by_{count}"), []
        for name, (method, instruction) in CASES.items():
            adapter = AdapterConfig(
                method=method, rank=4, dropout=0.3, code_dropout=0.2, action_tokens="trainable"
            )
            shared = {"micro_batch_size": "auto" if method == "full" else 2} if count > 1 else {}
            training = whole_batches(save_every=20, processes=count, **shared)
            model, steps = folder / name, folder / f"{name} steps"
            arguments = table, codebook, tiny_config, folder, adapter, training, steps
            train = partial(train_lora, instruction=instruction)
            trainings.append(partial(train_and_save, train, save_model, model, *arguments))
        for name, history in zip(CASES, launch(one_after_another, count, trainings), strict=True):
            made[name, count] = folder / name, pd.DataFrame(history)
    return made


@pytest.mark.slow  # new processes import torch anew
@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(case, by_processes):
    (alone, history), (together, shared) = by_processes[case, 1], by_processes[case, 2]
    for column in ("loss", "grad_norm"):  # of the first step, before the optimiser
        assert shared[column][0] == pytest.approx(history[column][0], rel=2e-6)
    for column in ("loss", "grad_norm", "learning_rate", "validation_loss", "validation_accuracy"):
        np.testing.assert_allclose(shared[column], history[column], rtol=1e-4, err_msg=column)
    for file in alone.glob("*.safetensors"):
        expected, found = load_file(file), load_file(together / file.name)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert (found[name] - value).norm() < 1e-4 * value.norm(), name


def test_a_list_holds_the_clips_class_and_five_others_in_any_order():
    lists = [drawn_list(7, 20, np.random.default_rng(seed)).tolist() for seed in range(200)]
    assert all(7 in names and len(set(names)) == 6 == len(names) for names in lists)
    assert {names.index(7) for names in lists} == set(range(6))
    assert {name for names in lists for name in names} == set(range(20))
    assert sorted(drawn_list(1, 4, np.random.default_rng(0)).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("instruction", ["recognize", "recognize_from_list"])
def test_micro_batches_change_no_gradient(
    sentences, codebook, tiny_config, tmp_path, monkeypatch, instruction
):
    """Answers differ in length: equal weights would. What dropout draws is that of each clip."""

    def gradients(micro_batch):
        training = whole_batches(batch_size=8, micro_batch_size=micro_batch, max_gradient_norm=0, max_steps=1)
        adapter = AdapterConfig(rank=4, dropout=0.3, code_dropout=0.2, action_tokens="trainable")
        seen = {}
        with monkeypatch.context() as patch:
            patch.setattr(ActionLanguageModel, "zero_grad", lambda model: seen.update(gradients_of(model)))
            train_lora(
                sentences, codebook, tiny_config, tmp_path, adapter, training, tmp_path / str(micro_batch),
                instruction=instruction, others=["fly", "swim"] if "list" in instruction else (),
            )  # fmt: skip
        return seen

    def adapted(*arguments):
        model = attach_lora(*arguments)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # else the other factor has no gradient yet
                torch.nn.init.normal_(parameter, std=0.2)
        return model.double()

    monkeypatch.setattr(untrained_model, "attach_lora", adapted)
    monkeypatch.setattr(samples, "OTHER_CLASSES", 2)  # of seven names, so that lists differ
    whole = gradients(8)
    assert len(whole) == 9  # two factors of q and v in both layers, and the action tokens
    for micro_batch in (1, 2):
        parts = gradients(micro_batch)
        for name, gradient in whole.items():
            assert (parts[name] - gradient).norm() < 1e-6 * gradient.norm(), (micro_batch, name)


@pytest.fixture
def run_out(monkeypatch):
    """Let memory run out for more than so many clips at a time; which numbers were tried."""
    tried = []

    def runs_out(most, steps=3):
        def trained(model, stream, training, *arguments, **options):
            tried.append(training.micro_batch_size)
            if training.micro_batch_size <= most:
                return train(model, stream, training, *arguments, **options)
            if steps:
                train(model, stream, training.model_copy(update={"max_steps": steps}), *arguments, **options)
            raise torch.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(lora, "train", trained)
        return tried

    return runs_out


@pytest.mark.parametrize("save_every", [2, 20])
def test_where_memory_runs_out_fewer_clips_go_on_to_the_same_end(run, run_out, save_every):
    adapter = AdapterConfig(rank=4, action_tokens="trainable")
    whole, history = run("whole", adapter, whole_batches(max_steps=6))
    tried = run_out(3)
    halves, seen = run(
        "halves", adapter, whole_batches(max_steps=6, micro_batch_size="auto", save_every=save_every)
    )
    assert tried == [12, 6, 3]
    np.testing.assert_allclose(seen["loss"], history["loss"], rtol=1e-5)
    for file in whole.glob("*.safetensors"):
        found = load_file(halves / file.name)
        for name, value in load_file(file).items():
            assert (found[name] - value).norm() < 1e-4 * value.norm(), name


def test_a_number_that_was_asked_for_is_not_halved(run, run_out):
    run_out(3)
    with pytest.raises(UserError, match=r"memory for 4 clips at a time .*lora_training\.micro_batch_size=2,"):
        run("four", AdapterConfig(rank=4), whole_batches(micro_batch_size=4))


def test_one_clip_is_the_least(run, run_out):
    tried = run_out(0, steps=0)
    with pytest.raises(UserError, match=r"memory for 1 clips .*smaller language model"):
        run("one", AdapterConfig(rank=4), whole_batches(micro_batch_size="auto"))
    assert tried == [12, 6, 3, 1]


def gradients_of(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_training_from_a_list_asks_with_a_list_for_each_clip(
    sentences, codebook, tiny_config, tmp_path, monkeypatch
):
    asked = []

    def listen(tokenizer, instruction, names):
        asked.append(tuple(names))
        return encode_prompt(tokenizer, instruction, names)

    monkeypatch.setattr("llmar_pipeline.language.action_language_model.encode_prompt", listen)
    monkeypatch.setattr(samples, "OTHER_CLASSES", 2)
    small = whole_batches(batch_size=2, micro_batch_size=2, max_steps=3)
    train_lora(
        sentences, codebook, tiny_config, tmp_path, AdapterConfig(rank=4), small, tmp_path / "steps",
        instruction="recognize_from_list",
    )  # fmt: skip
    assert {len(names) for names in asked} == {3}
    assert all(set(names) < set(CLASS_NAMES) for names in asked)
    assert len({frozenset(names) for names in asked}) > 1


def test_names_that_are_never_the_answer_stand_in_lists_too(
    sentences, codebook, tiny_config, tmp_path, monkeypatch
):
    asked = set()

    def listen(tokenizer, instruction, names):
        asked.update(names)
        return encode_prompt(tokenizer, instruction, names)

    monkeypatch.setattr("llmar_pipeline.language.action_language_model.encode_prompt", listen)
    small = whole_batches(batch_size=2, micro_batch_size=1, max_steps=6)
    model, _ = train_lora(
        sentences, codebook, tiny_config, tmp_path, AdapterConfig(rank=4), small, tmp_path / "steps",
        instruction="recognize_from_list", others=["fly", "swim"],
    )  # fmt: skip
    assert asked == {*CLASS_NAMES, "fly", "swim"}
    assert model.class_names == tuple(CLASS_NAMES)


@pytest.mark.parametrize(("instruction", "lists"), [("recognize", 1), ("recognize_from_list", None)])
def test_the_prompt_is_made_once_for_each_class_list(
    sentences, codebook, tiny_config, tmp_path, monkeypatch, instruction, lists
):
    texts, read = [], PreTrainedTokenizerBase.__call__

    def listen(self, text, *args, **kwargs):
        texts.append(text)
        return read(self, text, *args, **kwargs)

    monkeypatch.setattr(PreTrainedTokenizerBase, "__call__", listen)
    training = whole_batches(batch_size=2, micro_batch_size=1, max_steps=4)
    model, _ = train_lora(
        sentences, codebook, tiny_config, tmp_path, AdapterConfig(rank=4), training, tmp_path / "steps",
        instruction=instruction,
    )  # fmt: skip

    def prompts():
        return texts.count("Given a sequence of action tokens")

    assert prompts() == (lists or 8)  # micro-batches, each with a list that is drawn anew
    texts.clear()
    names, codes = ("sit", "run"), torch.arange(6)[:, None]
    for _ in range(2):
        score_classes(model, codes, codes >= 0, LabelTrie(names, model.tokenizer), batch_size=2)
    assert prompts() == (0 if lists else 1)
    assert model.prompt(names) == encode_prompt(model.tokenizer, model.instruction, names)


def test_what_codes_mean_by_hand(tiny_config, tmp_path):
    """Code 0: three times in throw, once in drink water; code 1: in the latter alone; code 2: never."""
    rows = pd.DataFrame(
        {
            "action": ["throw", "throw", "drink water"],
            "codes": [np.array([0, 0]), np.array([0]), np.array([0, 1, 1])],
        }
    )
    names = ["throw", "drink water"]
    throw, drink = class_texts(word_embeddings(tiny_config, tmp_path), tiny_config, tmp_path, names)
    meanings = untrained_model._meanings(rows, names, tiny_config, tmp_path, 3)
    assert meanings.dtype == torch.float32
    tolerance = {"rtol": 0, "atol": 2e-3 * float((throw - drink).abs().max())}  # a thousandth of a count each
    torch.testing.assert_close(meanings[0], 0.75 * throw + 0.25 * drink, **tolerance)
    torch.testing.assert_close(meanings[1], drink, **tolerance)
    torch.testing.assert_close(meanings[2], (throw + drink) / 2)


def test_action_rows_of_classes_are_what_the_model_starts_from(sentences, codebook, tiny_config, tmp_path):
    adapter = AdapterConfig(rank=4, action_rows="classes", code_dropout=0.2)
    model, _ = train_lora(
        sentences, codebook, tiny_config, tmp_path, adapter, whole_batches(max_steps=1), tmp_path / "steps"
    )
    meanings = untrained_model._meanings(sentences, list(CLASS_NAMES), tiny_config, tmp_path, 16)
    torch.testing.assert_close(model.action_embedding.weight, (codebook + meanings) / 2)
    assert model.code_dropout == 0.2


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_a_mixture_takes_so_much_of_the_other_on_average(share):
    rng = np.random.default_rng(0)
    one, other = np.zeros(16, np.int32), np.ones(24, np.int32)
    taken = np.array([mixed(one, other, share, rng).mean() for _ in range(4000)])
    assert taken.mean() == pytest.approx(share, abs=0.02)
    assert taken.max() <= (0 if share == 0 else 1)
    assert not one.any()  # what training reads again stays as it is
    assert len(mixed(other, one, share, rng)) == 24


@pytest.mark.parametrize("answers", ["labels", "head"])
def test_what_is_learnt_to_be_answered(sentences, codebook, tiny_config, tmp_path, monkeypatch, answers):
    """By votes that say "class c of code c, of any other code none", a mixture's answer is its commonest.

    The votes are strong, so that one class has all of the probability but where two have as many codes.
    """
    captured = []

    class Capturing(SampleStream):
        def __init__(self, *arguments):
            captured.append(arguments[3])
            super().__init__(*arguments)

    monkeypatch.setattr(lora, "SampleStream", Capturing)
    votes = torch.zeros(16, len(CLASS_NAMES))
    votes[range(len(CLASS_NAMES)), range(len(CLASS_NAMES))] = 1000
    rng = np.random.default_rng(1)
    some = sentences.assign(
        codes=[rng.integers(0, len(CLASS_NAMES), 9).astype(np.int32) for _ in sentences.index]
    )
    adapter = AdapterConfig(rank=4, code_mixing=0.4, answers=answers)
    arguments = (
        some,
        codebook,
        tiny_config,
        tmp_path,
        adapter,
        whole_batches(max_steps=1),
        tmp_path / "steps",
    )
    model, _ = train_lora(*arguments, votes=votes if answers == "head" else None)
    assert torch.equal(model.class_votes, votes) == (answers == "head")
    (read,) = captured
    answer_ids, _ = encode_answers(load_tokenizer(tiny_config, tmp_path), CLASS_NAMES)
    labels = some.drop_duplicates("name")["label"].tolist()
    of_the_clip = []
    for index in range(12):
        for seed in range(5):
            sample = read(index, np.random.default_rng(seed))
            codes = sample["codes"][sample["code_mask"]].tolist()
            counts = [codes.count(name) for name in range(len(CLASS_NAMES))]
            commonest = [name for name, count in enumerate(counts) if count == max(counts)]
            expected = commonest if answers == "head" else labels[index : index + 1]
            assert sample["answer_ids"].tolist() in answer_ids[expected].tolist()
            if answers == "head":
                first = torch.tensor([float(name in commonest) for name in range(len(CLASS_NAMES))])
                torch.testing.assert_close(sample["shares"][0], first / first.sum())
                torch.testing.assert_close(sample["choices"], answer_ids.T)
            assert ("shares" in sample) == (answers == "head")
            of_the_clip.append(labels[index] in commonest)
    assert not all(of_the_clip)  # or the two would not differ


@pytest.mark.parametrize(("votes", "reads"), [(None, "codes"), (torch.zeros(16, 3), "features")])
def test_answers_of_a_head_that_is_not_there(sentences, codebook, tiny_config, tmp_path, votes, reads):
    adapter = AdapterConfig(rank=4, answers="head", input=reads)
    arguments = (with_features(sentences, codebook), codebook, tiny_config, tmp_path, adapter)
    with pytest.raises(UserError, match=r"lora.answers=head: .*saw.*lora.answers=labels"):
        train_lora(*arguments, whole_batches(max_steps=1), tmp_path / "steps", votes=votes)
