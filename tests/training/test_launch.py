"""Processes that train together: what they return and how they fail."""

import os
import signal

import pytest
from torch.distributed.elastic.multiprocessing.api import SignalException

from llmar_pipeline import machine
from llmar_pipeline.errors import UserError
from llmar_pipeline.interruption import Interrupted
from llmar_pipeline.training.launch import launch


def rank_of(offset):
    return int(os.environ.get("RANK", "-1")) + offset


def threads():
    return os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]


def fail():
    raise UserError("training stopped at step 3: loss=nan is not finite")


def test_one_process_is_a_plain_call():
    assert launch(rank_of, 1, 10) == 9


def test_processes_that_cannot_be_started_are_one_line(monkeypatch):
    def unwritable(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("llmar_pipeline.training.launch.elastic_launch", unwritable)
    with pytest.raises(UserError, match=r"2 processes .* Read-only file system; .*/dev/shm"):
        launch(rank_of, 2, 10)


@pytest.mark.slow
def test_several_return_what_the_first_returns():
    assert launch(rank_of, 2, 10) == 10


@pytest.mark.slow
def test_what_a_user_can_put_right_comes_through_as_such():
    with pytest.raises(UserError, match=r"^training stopped at step 3: loss=nan is not finite$"):
        launch(fail, 2)


@pytest.mark.slow
def test_several_share_the_processors(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "LLMAR_SET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(machine, "usable_processors", lambda: 6)
    assert launch(threads, 2) == ("3", "PASSIVE")
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_launcher_that_is_asked_to_end_does_so_and_leaves_no_handler_of_its_own(monkeypatch):
    def elastic_launch(config, function):
        def call(*_):
            signal.signal(signal.SIGTERM, lambda *_: None)
            raise SignalException("asked", signal.SIGTERM)

        return call

    monkeypatch.setattr("llmar_pipeline.training.launch.elastic_launch", elastic_launch)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as caught:
        launch(rank_of, 2, 10)
    assert caught.value.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
