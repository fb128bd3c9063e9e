import importlib
import logging
import shutil

import pytest
import torch
from damage import DAMAGES, cut
from test_trainer import Regression, stream, weights
from tiny_training import schedule

from llmar_pipeline.errors import UserError
from llmar_pipeline.training import trainer
from llmar_pipeline.training.checkpoints import complete, keep_threads, latest_checkpoint, prepare_folder

FILES = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]


def write(folder, step):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    for name in FILES:
        (checkpoint / name).write_text(f"{name} of step {step}")
    complete(checkpoint)
    return checkpoint


@pytest.fixture
def folder(tmp_path):
    """With checkpoints of the steps 3 and 6."""
    assert prepare_folder(tmp_path / "checkpoints", {"data": 1}, 8) is None
    for step in (3, 6):
        write(tmp_path / "checkpoints", step)
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [*FILES, "complete.json"])
def test_a_damaged_checkpoint_is_named_and_set_aside_and_the_older_one_taken(folder, name, damage, caplog):
    damage(folder / "checkpoint-6" / name)
    with caplog.at_level(logging.WARNING):
        assert prepare_folder(folder, {"data": 1}, 8).name == "checkpoint-3"
    (message,) = caplog.messages
    assert f"of checkpoint-6, {name} " in message
    assert "goes on from checkpoint-3" in message
    aside = folder.with_name("checkpoints.before-1")
    assert [path.name for path in aside.iterdir()] == ["checkpoint-6"]
    assert prepare_folder(folder, {"data": 1}, 8).name == "checkpoint-3"


def test_where_all_are_damaged_the_training_starts_anew(folder, caplog):
    for step in (3, 6):
        cut(folder / f"checkpoint-{step}" / "optimizer.pt")
    assert prepare_folder(folder, {"data": 1}, 8) is None
    assert len(caplog.messages) == 1
    assert "goes on from its start" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_fingerprint_nobody_knows_whose_they_are(folder, damage, caplog):
    damage(folder / "fingerprint.json")
    assert prepare_folder(folder, {"data": 1}, 8) is None
    assert "set aside as" in caplog.text
    assert (folder.with_name("checkpoints.before-1") / "checkpoint-6").is_dir()


def test_a_writing_that_was_killed_leaves_nothing(folder, caplog):
    for name in ("complete.json", "trainer_state.json"):
        (folder / "checkpoint-6" / name).unlink()
    assert prepare_folder(folder, {"data": 1}, 8).name == "checkpoint-3"
    assert not (folder / "checkpoint-6").exists()
    assert caplog.messages == []


def test_a_copied_folder_counts(folder):
    shutil.copytree(folder, folder.with_name("copy"), copy_function=shutil.copyfile)
    assert prepare_folder(folder.with_name("copy"), {"data": 1}, 8).name == "checkpoint-6"


def test_a_longer_training_is_set_aside_by_name(folder, caplog):
    assert prepare_folder(folder, {"data": 1}, 5) is None
    assert prepare_folder(folder, {"data": 2}, 5) is None
    assert "they go to step 6, max_steps is 5; set aside as" in caplog.text
    write(folder, 2)
    assert prepare_folder(folder, {"data": 3}, 5) is None
    assert "checkpoints.before-1, set aside earlier, is removed" in caplog.text


def test_what_others_put_beside_is_neither_read_nor_removed(tmp_path):
    settings, folder = schedule(save_every=1), tmp_path / "checkpoints"
    train = trainer.train
    train(Regression(), stream(settings), settings, folder, {})
    theirs = ["checkpoint-best", "checkpoint-11-backup", "checkpoint-007"]
    for name in theirs:
        shutil.copytree(folder / "checkpoint-8", folder / name)
    (folder / "checkpoint-99").write_text("a file")
    assert latest_checkpoint(folder).name == "checkpoint-8"
    shutil.rmtree(folder / "checkpoint-8")
    again = Regression()
    train(again, stream(settings), settings, folder, {})
    assert {path.name for path in folder.glob("checkpoint-*")} == {
        *theirs,
        *("checkpoint-7", "checkpoint-8", "checkpoint-99"),
    }
    whole = Regression()
    train(whole, stream(settings), settings, tmp_path / "whole", {})
    assert all(torch.equal(tensor, weights(again)[name]) for name, tensor in weights(whole).items())


def test_a_training_goes_on_with_as_many_threads(folder, monkeypatch):
    used = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    complete(folder / "checkpoint-6")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    keep_threads(latest_checkpoint(folder))
    keep_threads(None)
    assert used == [3]


@pytest.mark.parametrize(
    ("writer", "error"),
    [
        ("torch.save", RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")),
        ("llmar_pipeline.training.checkpoints.save_file", Exception("I/O error: No space left on device")),
        ("llmar_pipeline.training.checkpoints.write_sealed", OSError(28, "No space left on device")),
    ],
)
def test_a_full_disk_is_one_line_and_the_last_checkpoint_is_left(tmp_path, monkeypatch, writer, error):
    settings, stopped = schedule(), Regression()

    def full(*_, **__):
        if stopped.seen > 4 * settings.batch_size:
            raise error

    module, _, name = writer.rpartition(".")
    real = getattr(importlib.import_module(module), name)
    monkeypatch.setattr(writer, lambda *values, **named: full() or real(*values, **named))
    with pytest.raises(UserError, match=r"cannot write .*checkpoint-6.*: it needs .*, [\d,]+ bytes are free"):
        trainer.train(stopped, stream(settings), settings, tmp_path, {})
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-3"]


def test_no_checkpoint_is_written_through_a_link(tmp_path):
    folder, theirs = tmp_path / "checkpoints", tmp_path / "theirs"
    theirs.mkdir()
    (file := theirs / "precious").write_text("theirs")
    settings = schedule(save_every=1, schedule="constant")
    trainer.train(Regression(), stream(settings), settings, folder, {})
    (folder / "checkpoint-8" / "model.safetensors").unlink()
    (folder / "checkpoint-8" / "model.safetensors").symlink_to(file)
    (folder / "checkpoint-9").symlink_to(theirs)
    settings = schedule(save_every=1, schedule="constant", max_steps=9)
    trainer.train(Regression(), stream(settings), settings, folder, {})
    assert file.read_text() == "theirs"
    assert list(theirs.iterdir()) == [file]
    assert latest_checkpoint(folder) == folder / "checkpoint-9"
    assert not (folder / "checkpoint-9").is_symlink()
