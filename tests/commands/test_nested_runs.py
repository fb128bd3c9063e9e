"""Processes of a grid: what is known of them afterwards, and which of them begin when."""

import os
import sys
import time
from types import SimpleNamespace

import pytest

from llmar_pipeline.commands.grid import _next, _side_by_side
from llmar_pipeline.commands.nested_runs import Child


def child(code):
    return Child([sys.executable, "-c", code], os.environ)


def test_output_code_and_processor_seconds():
    busy = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint('é'); sys.exit(3)"
    made = child(busy)
    assert made.ended(wait=True)
    assert (made.code, made.output()) == (3, "é\n")
    assert 0.3 <= made.seconds < 5
    made.ask_to_end()
    assert made.code == 3


def test_the_seconds_of_its_own_children_are_among_them():
    inner = "import time\nwhile time.process_time() < 0.3: pass"
    made = child(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])")
    idle = child("import time; time.sleep(0.3)")
    made.ended(wait=True)
    idle.ended(wait=True)
    assert made.seconds >= 0.3 > idle.seconds


def test_one_at_work_is_ended_in_order():
    said = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit('in order'))\n"
    made = child(said + "print('ready', flush=True)\ntime.sleep(60)")
    assert not made.ended()
    while "ready" not in made.output():
        time.sleep(0.01)
    made.ask_to_end()
    made.ended(wait=True)
    assert made.code == 1
    assert made.output().endswith("in order\n")


class Run:
    """A cell and its process at once: ends when it is told to."""

    def __init__(self, name, *shared):
        self.name, self.shared = name, {str(number): what for number, what in enumerate(shared)}
        self.made, self.over, self.stopped = False, False, False
        self.child = SimpleNamespace(
            ended=lambda wait=False: self.over, ask_to_end=lambda: setattr(self, "stopped", True)
        )

    def unmade(self):
        return set() if self.made else set(self.shared.values())


def test_of_two_that_share_stage_1_the_second_waits_until_it_is_there():
    first, second, other = Run("first", "store", "a"), Run("second", "store", "a"), Run("other", "store", "b")
    assert _next([first, second, other], []) is first
    assert _next([second, other], [first]) is None  # not even the sequences are there
    first.unmade = lambda: {"a"}
    assert _next([second, other], [first]) is other
    first.made, first.unmade = True, set
    assert _next([second, other], [first]) is second


def test_no_more_than_asked_for_are_at_work_and_none_is_left_behind():
    runs = [Run(name, name) for name in "abcd"]
    begun = []

    def begin(run):
        begun.append(run.name)
        run.over = run.name != "b"
        return run

    work = _side_by_side(runs, 2, begin)
    assert next(work)[0].name == "a"
    assert begun == ["a", "b"]
    assert next(work)[0].name == "c"
    assert begun == ["a", "b", "c"]
    work.close()
    assert [run.stopped for run in runs] == [False, True, False, False]


@pytest.mark.parametrize("jobs", [1, 3])
def test_all_come_to_their_end(jobs):
    runs = [Run(name, name) for name in "abcd"]

    def begin(run):
        run.over = True
        return run

    assert [run.name for run, _ in _side_by_side(runs, jobs, begin)] == list("abcd")
