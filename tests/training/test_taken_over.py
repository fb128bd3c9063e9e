"""A finished training of another run that was made from exactly the same is taken over."""

import logging
import os
import shutil

import pytest
import torch
from damage import DAMAGES
from test_trainer import Regression, stream, weights
from tiny_training import schedule

from llmar_pipeline.training.checkpoints import (
    COMPLETE,
    latest_checkpoint,
    prepare_folder,
    restore_state,
    taken_from,
)
from llmar_pipeline.training.trainer import train

FINGERPRINT = {"data": 1}
MADE = {**FINGERPRINT, "training": schedule().identity()}
STEPS = schedule().max_steps
LAST = f"checkpoint-{STEPS}"


class Untrained(Regression):
    """Must not be asked."""

    def forward(self, *args, **kwargs):
        raise AssertionError("a step was made")


@pytest.fixture
def others(tmp_path):
    """Checkpoints of a finished run."""
    folder = tmp_path / "finished" / "checkpoints"
    train(Regression(), stream(schedule()), schedule(), folder, FINGERPRINT)
    return [folder]


@pytest.fixture
def own(tmp_path):
    return tmp_path / "new" / "checkpoints"


def prepared(own, others, fingerprint=MADE, steps=STEPS, **more):
    return prepare_folder(own, fingerprint, steps, others=others, **more)


def test_weights_and_history_are_those_of_the_other_run(own, others, caplog):
    trained = Regression()
    history = train(trained, stream(schedule()), schedule(), others[0], FINGERPRINT)
    taking = Untrained()
    with caplog.at_level(logging.INFO):
        assert train(taking, stream(schedule()), schedule(), own, FINGERPRINT, others=others) == history
    assert all(torch.equal(tensor, weights(taking)[name]) for name, tensor in weights(trained).items())
    assert "the training of finished is taken over: it was made from exactly the same" in caplog.messages
    assert (taken_from(own), taken_from(others[0]), taken_from(own / "none")) == ("finished", None, None)


def test_the_copy_is_its_own(own, others):
    prepared(own, others)
    (others[0] / LAST / "model.safetensors").write_bytes(b"")
    assert prepared(own, []) == own / LAST
    restore_state(Regression(), own / LAST)
    (own / LAST / COMPLETE).write_bytes(b"")
    assert taken_from(own) is None


@pytest.mark.parametrize("changed", [{"data": 2}, {"more": 0}])
def test_what_was_made_from_anything_else_is_not_taken(own, others, changed):
    assert prepared(own, others, {**MADE, **changed}) is None


def test_nor_is_a_training_that_has_not_come_so_far(own, others):
    assert prepared(own, others, steps=STEPS + 1) is None


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["model.safetensors", "trainer_state.json", COMPLETE, "../fingerprint.json"])
def test_nor_is_what_was_damaged_since(own, others, name, damage, caplog):
    damage(others[0] / LAST / name)
    before = sorted(path.relative_to(others[0]) for path in others[0].rglob("*"))
    assert prepared(own, others) is None
    assert [path.name for path in own.iterdir()] == ["fingerprint.json"]
    assert sorted(path.relative_to(others[0]) for path in others[0].rglob("*")) == before
    assert all("is not taken over" in message for message in caplog.messages)


def test_content_counts_where_size_and_time_are_those_of_before(own, others):
    file = others[0] / LAST / "model.safetensors"
    stat, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert prepared(own, others) is None


def test_the_next_one_is_asked(own, others, tmp_path):
    good = tmp_path / "good" / "checkpoints"
    prepared(good, others)
    (others[0] / LAST / "optimizer.pt").write_bytes(b"")
    assert prepared(own, [own, tmp_path / "none", *others, good]) == own / LAST
    assert taken_from(own) == "good"


def test_a_copying_that_was_killed_does_not_count(own, others):
    (own / f"{LAST}.partial").mkdir(parents=True)
    (own / f"{LAST}.partial" / "model.safetensors").write_bytes(b"half")
    prepared(own, [])
    assert latest_checkpoint(own) is None
    assert prepared(own, others) == own / LAST
    assert not list(own.glob("*.partial"))


def test_a_run_that_begins_anew_meanwhile_is_left_alone(own, others, monkeypatch):
    copy = shutil.copyfile

    def copying(source, target):
        (others[0] / "fingerprint.json").write_text('{"data": 2}')
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", copying)
    assert prepared(own, others) is None
    assert latest_checkpoint(own) is None


def test_an_earlier_model_stays_where_nothing_is_trained(own, others, tmp_path):
    (tmp_path / "model").mkdir()
    prepared(own, others, model_folder=tmp_path / "model")
    assert (tmp_path / "model").is_dir()
