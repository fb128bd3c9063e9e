import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.holders import LOCK, Holder, hold

HOLD = "import sys, time, pathlib; from llmar_pipeline.holders import hold; f = hold(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"  # noqa: E501


def test_the_second_is_told_who_holds_a_folder_and_since_when(tmp_path):
    with hold(tmp_path / "models"):
        with pytest.raises(UserError) as error:
            hold(tmp_path / "models")
        for word in (f"process {os.getpid()} on {socket.gethostname()}", "since 20", "--wait", "models"):
            assert word in str(error.value)
        hold(tmp_path / "other").close()
    hold(tmp_path / "models").close()


def test_who_waits_gets_it_in_the_end(tmp_path, caplog):
    first = hold(tmp_path)
    threading.Timer(0.2, first.close).start()
    hold(tmp_path, wait=True).close()
    assert f"in use by process {os.getpid()}" in caplog.text


def test_what_a_killed_process_held_is_free(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(UserError, match=f"process {process.pid} "):
            hold(tmp_path)
        process.kill()
    hold(tmp_path).close()


def test_one_that_does_not_say_its_name(tmp_path):
    with hold(tmp_path):
        (tmp_path / LOCK).write_text("{")
        with pytest.raises(UserError, match="a process that does not say which"):
            hold(tmp_path)


def test_files_that_cannot_be_locked_stop_nobody(tmp_path, monkeypatch, caplog):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    hold(tmp_path).close()
    assert caplog.text.count("cannot be locked (No locks available)") == 1


def test_a_disk_that_is_full_is_no_lock(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="No space"):
        hold(tmp_path)


def test_who_is_dead():
    here = Holder.here()
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    with subprocess.Popen([sys.executable, "-c", ""]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert Holder.here() == here
        assert replace(here, pid=zombie.pid).dead
    assert not here.dead
    assert not replace(here, started=here.started + 5).dead  # clocks are set
    assert replace(here, started=here.started - 1000).dead  # another process had this number
    assert replace(here, pid=child.pid).dead
    assert not replace(here, pid=child.pid, host="elsewhere").dead
