import signal
import subprocess
import sys
import threading

import pytest

from llmar_pipeline.interruption import Interrupted, children_without_ctrl_c, ending_in_order, interruption

pytestmark = pytest.mark.usefixtures("in_a_terminal")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_what_runs_in_order(number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught, ending_in_order():
        signal.raise_signal(number)
    assert caught.value.signal == number
    assert signal.getsignal(number) is before


def test_what_the_process_ignores_it_goes_on_ignoring():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_in_order():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_second_signal_ends_the_process_at_once():
    program = """if True:
        import signal
        from llmar_pipeline.interruption import ending_in_order
        with ending_in_order():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGINT)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stderr == ""


def test_another_thread_changes_nothing():
    seen = []

    def run():
        with ending_in_order():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_it_is_found_behind_other_errors():
    def wrapped(cause):
        error = RuntimeError("while saving")
        error.__cause__ = cause
        return error

    asked = Interrupted(signal.SIGTERM)
    assert interruption(wrapped(wrapped(asked))) is asked
    assert str(asked) == "SIGTERM"
    assert str(interruption(wrapped(KeyboardInterrupt()))) == "Ctrl-C"
    assert interruption(wrapped(ValueError())) is None


def test_ctrl_c_does_not_reach_children_and_reaches_us_afterwards():
    program = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    seen = []

    def start_one_meanwhile():
        with children_without_ctrl_c():
            signal.raise_signal(signal.SIGINT)
            seen.append(subprocess.check_output([sys.executable, "-c", program], text=True))

    with pytest.raises(KeyboardInterrupt):
        start_one_meanwhile()
    assert seen == ["True\n"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
