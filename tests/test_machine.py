"""Processors, threads and number type: what is chosen, and that nothing is set behind a user's back."""

import os
import platform
import subprocess
import sys

import pytest

from llmar_pipeline import machine
from llmar_pipeline.machine import SPINS, THREADS, WAITING, prepare_process, share, shared_by

AVX2_ALONE = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
VARIABLES = (THREADS, WAITING, SPINS, "LLMAR_SET", *AVX2_ALONE)


def fresh(code: str, **variables: str) -> str:
    """What a new process prints."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | variables
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_processors_are_those_that_the_process_may_use():
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from llmar_pipeline.machine import *; prepare_process()\n"
        "import torch; print(usable_processors(), torch.get_num_threads(), os.environ[WAITING])"
    )
    assert fresh(code) == "1 1 PASSIVE"


def test_what_the_user_has_set_stays():
    environment = {THREADS: "7"}
    prepare_process(environment)
    assert (environment[THREADS], environment[WAITING], environment[SPINS]) == ("7", "PASSIVE", "3000")
    environment = {WAITING: "ACTIVE"}
    prepare_process(environment)
    assert (environment[THREADS], environment[WAITING]) == (str(machine.usable_processors()), "ACTIVE")
    assert SPINS not in environment  # it would override theirs
    environment = {SPINS: "3"}
    prepare_process(environment)
    assert environment[SPINS] == "3"


def test_processes_that_work_together_share_the_threads(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(machine, "usable_processors", lambda: 8)
    prepare_process()
    with shared_by(3):
        assert (os.environ[THREADS], os.environ[WAITING]) == ("2", "PASSIVE")
    assert os.environ[THREADS] == "8"
    monkeypatch.setenv(THREADS, "5")
    monkeypatch.setenv("LLMAR_SET", WAITING)
    with shared_by(3):
        assert os.environ[THREADS] == "5"
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with shared_by(16):
        assert os.environ[THREADS] == "1"
    assert THREADS not in os.environ
    assert WAITING not in os.environ
    assert SPINS not in os.environ


def test_programs_side_by_side_share_the_threads_and_do_not_count_them_anew(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(machine, "usable_processors", lambda: 8)
    prepare_process()
    before = dict(os.environ)
    alone, given = share(1), share(3)
    assert alone == before == dict(os.environ)
    prepare_process(given)
    assert (given[THREADS], given[WAITING], given[SPINS]) == ("2", "PASSIVE", "3000")
    monkeypatch.setenv("LLMAR_SET", WAITING)
    monkeypatch.setenv(THREADS, "5")
    assert share(3)[THREADS] == "5"


@pytest.mark.slow
def test_importing_the_package_changes_no_variable():
    code = (
        "import os, pkgutil, importlib; before = dict(os.environ)\n"
        "import llmar_pipeline\n"
        "for module in pkgutil.walk_packages(llmar_pipeline.__path__, 'llmar_pipeline.'):\n"
        "    importlib.import_module(module.name)\n"
        "ours = ('OMP_', 'GOMP_', 'MKL_', 'LLMAR', 'OPENBLAS')\n"
        "print([n for n in set(os.environ) | set(before) if os.environ.get(n) != before.get(n)"
        " and n.startswith(ours)])"
    )
    assert fresh(code) == "[]"


def test_a_command_sets_them_before_openmp_is_loaded(project):
    code = f"""
import os, sys
from pathlib import Path
from kedro.framework.startup import bootstrap_project
bootstrap_project(Path({str(project)!r}))
from llmar_pipeline.cli import cli
from llmar_pipeline.command_line.program import Program
maps = Path("/proc/self/maps")
loaded = "torch" in sys.modules or (maps.exists() and "gomp" in maps.read_text())
def work(**options):
    print(loaded, os.environ["OMP_WAIT_POLICY"], os.environ["OMP_NUM_THREADS"])
for command in cli.commands.values():
    assert isinstance(command, Program), command
command = cli.commands["run"]
command.callback = work
command.main([], standalone_mode=False)
"""
    assert fresh(code) == f"False PASSIVE {machine.usable_processors()}"


def chosen(**variables: str) -> str:
    return fresh("from llmar_pipeline.machine import number_type; print(number_type())", **variables)


def test_a_processor_without_bfloat16_computes_in_float32():
    if machine.platform.machine() != "x86_64" or machine.gpu():
        pytest.skip("asks a x86 processor")
    assert chosen(**AVX2_ALONE) == "float32: this processor (AVX2) has no fast bfloat16"


@pytest.fixture
def torch_says(monkeypatch):
    """Sets what torch answers, and forgets what was chosen before."""
    import torch

    def answer(machine_name="x86_64", mkldnn=None, bf16=False, amx=False, native_gpu=None):
        def ask(value):
            if value is None:
                raise AttributeError
            return value

        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
        monkeypatch.setattr(machine.platform, "machine", lambda: machine_name)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: ask(mkldnn), raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: native_gpu is not None)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native_gpu)
        machine.number_type.cache_clear()
        return machine.number_type()

    yield answer
    machine.number_type.cache_clear()


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"mkldnn": True, "bf16": True}, "bfloat16: this processor has AVX512-BF16"),
        ({"mkldnn": True, "amx": True, "bf16": True}, "bfloat16: this processor has AMX"),
        ({"mkldnn": False, "bf16": True}, "has no fast bfloat16"),
        ({"native_gpu": True}, "bfloat16: a GPU computes it natively"),
        ({"native_gpu": False}, "float32: a GPU has no bfloat16 of its own"),
    ],
)
def test_what_torch_says_decides(torch_says, answers, expected):
    assert expected in str(torch_says(**answers))


@pytest.mark.parametrize(
    "answers",
    [{"mkldnn": True}, {"machine_name": "arm64", "mkldnn": True}, {"mkldnn": None, "bf16": True}],
)
@pytest.mark.parametrize("faster", ["float32", "bfloat16"])
def test_where_torch_says_nothing_clear_the_clock_decides(torch_says, monkeypatch, answers, faster):
    monkeypatch.setattr(machine, "speed", lambda name, shape: 2e9 if name == faster else 1e9)
    choice = torch_says(**answers)
    assert choice.precision == faster
    assert "timed on this processor" in choice.why
    assert f"2 GFLOP/s in {faster}" in choice.why


def test_speed_is_measured_in_a_moment():
    assert machine.speed("float32", (64, 64, 64), seconds=0.01) > 1e6


def test_a_user_without_name_or_home_gets_what_packages_need(monkeypatch, tmp_path):
    def nobody():
        raise KeyError("getpwuid(): uid not found: 54321")

    monkeypatch.setattr(machine.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(machine.getpass, "getuser", nobody)
    monkeypatch.setattr(machine.os.path, "expanduser", lambda path: path)
    environment: dict[str, str] = {}
    machine.prepare_user(environment)
    home = tmp_path / f"llmar-pipeline-{os.getuid()}"
    assert environment == {"HOME": str(home), "USER": str(os.getuid())}
    assert home.stat().st_mode & 0o777 == 0o700
    home.chmod(0o777)  # anybody may have put something there
    machine.prepare_user(environment)
    assert environment["HOME"] != str(home)


def test_a_home_that_cannot_be_written_stays_the_home(monkeypatch, tmp_path):
    monkeypatch.setattr(machine.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(machine.os, "access", lambda path, mode: False)  # root may write anywhere
    environment = {"USER": "me"}
    machine.prepare_user(environment)
    assert environment == {"USER": "me", "NUMBA_CACHE_DIR": str(tmp_path / f"llmar-pipeline-{os.getuid()}")}
    before = dict(environment)
    monkeypatch.undo()
    machine.prepare_user(environment)
    assert environment == before


TAKE_AND_RETURN = """
import resource
from llmar_pipeline.machine import kept_memory
with kept_memory():
    for step in range(12):
        if step == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        some = [bytearray(2**22) for _ in range(16)]  # 64 MiB
        del some
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the memory of glibc")
def test_memory_that_is_kept_is_not_taken_again():
    pages = 10 * 64 * 2**20 // os.sysconf("SC_PAGE_SIZE")
    assert int(fresh(TAKE_AND_RETURN)) < pages / 20
    assert int(fresh(TAKE_AND_RETURN, MALLOC_TRIM_THRESHOLD_="0")) > pages / 2  # who has set it keeps it
