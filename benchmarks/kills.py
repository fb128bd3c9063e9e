"""Runs that are ended at random moments and continued: do they come to what the undisturbed run comes to?

Whole runs of seconds, with a random language model, are killed (SIGKILL), told to end (SIGTERM),
interrupted (SIGINT, Ctrl-C) or have their disk filled, by turns, and run again to their end. Sentences,
weights and scores must have the SHA-256 of those of the undisturbed run, no run of MLflow may stay "running",
and nothing that is printed may be a traceback.

    python benchmarks/kills.py [--kills 100] [--demo 5] [--only 17] [--seed 0] [--output file.md]
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from measuring import ROOT, machine, write_page
from tiny_project import left_running, make_workplace, results
from workplaces import Workplace

STEPS = {"vqvae_training__max_steps": 60, "lora_training__max_steps": 60}
SIGNALS = {"killed": signal.SIGKILL, "told to end": signal.SIGTERM, "interrupted": signal.SIGINT}
ENDS = (*SIGNALS, "disk full")
ENDLESS = "it did not end"
# A disk of so many bytes in a namespace of its own, which needs no rights where the kernel allows such; run,
# make room, run again, and keep what came of it.
SMALL_DISK = """
mount -t tmpfs -o size=$1 tmpfs "$2" || exit 99
python=$3 data=$2; shift 3
"$python" -m kedro "$@"; echo "ended with $?"
mount -o remount,size=100% "$data" || exit 99
"$python" -m kedro "$@" || exit 98
cp -r "$data" "$data.kept"
"""


class Project:
    """Where the runs are made: tiny ones, or the demo."""

    def __init__(self, folder: Path, demo: bool) -> None:
        self.name = "the demo" if demo else "a run of seconds"
        self.workplace: Workplace = make_workplace(folder, tiny=not demo)
        self._params = {"size": "demo"} if demo else STEPS
        started = time.monotonic()
        process = self._start("whole")
        while not (folder / "whole").exists() and process.poll() is None:
            time.sleep(0.01)
        self.imports = time.monotonic() - started
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"the undisturbed run failed:\n{output}")
        self.seconds = time.monotonic() - started - self.imports
        self.expected = results(folder / "whole")
        self.bytes = sum(file.stat().st_size for file in (folder / "whole").rglob("*") if file.is_file())

    def _start(self, data: str) -> "subprocess.Popen[str]":
        return self.workplace.start(*self.workplace.arguments(data=data, **self._params))

    def disturbed(self, end: str, share: float) -> list[str]:
        """What is wrong with a run that was ended after a share of its time, or of its bytes, and continued.

        Raises:
            PermissionError: a disk of its own cannot be had here.
        """
        data = self.workplace.folder / "ended"
        before = left_running(self.workplace)
        try:
            if end == "disk full":
                code, output = self._on_a_small_disk(4096 + int(share * self.bytes), data)
                found = results(Path(f"{data}.kept"))
            else:
                output = self._ended(SIGNALS[end], share * self.seconds, data)
                process = self._start(data.name)
                output += self._output(process)
                code = process.returncode
                found = results(data)
        finally:
            shutil.rmtree(data, ignore_errors=True)
            shutil.rmtree(f"{data}.kept", ignore_errors=True)
        wrong = [name for name in self.expected if found.get(name) != self.expected[name]]
        faults = [f"another {name}" for name in wrong]
        if code:
            faults.insert(0, f"continuing ended with {code}: {output.strip().splitlines()[-1]}")
        faults += [words for words in ("Traceback (most recent call last)", ENDLESS) if words in output]
        if (left := left_running(self.workplace) - before) > 0:
            faults.append(f"{left} runs of MLflow stay running")
        return faults

    def _ended(self, kind: signal.Signals, seconds: float, data: Path) -> str:
        """What a run prints that is ended so many seconds after it began to write."""
        process = self._start(data.name)
        while not data.exists() and process.poll() is None:
            time.sleep(0.01)
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(kind)
        return self._output(process)

    def _output(self, process: "subprocess.Popen[str]") -> str:
        """What a process prints to its end, which must come."""
        try:
            return process.communicate(timeout=10 * (self.imports + self.seconds))[0]
        except subprocess.TimeoutExpired:
            process.kill()
            return f"{process.communicate()[0]}\n{ENDLESS}"

    def _on_a_small_disk(self, size: int, data: Path) -> tuple[int, str]:
        data.mkdir()
        arguments = self.workplace.arguments(data=data.name, **self._params)
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", str(size), data, sys.executable, *arguments],
            cwd=ROOT,
            env=self.workplace.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode == 99 or "unshare failed" in done.stdout:
            raise PermissionError("no disk of its own here")
        return done.returncode, done.stdout


def disturb(project: Project, numbers: range | list[int], seed: int) -> list[str]:
    """The page's table of a project, and its faults."""
    asked, held, faults = Counter[str](), Counter[str](), list[str]()
    for number in numbers:
        end, share = ENDS[number % len(ENDS)], random.Random(f"{seed} {number}").random()
        try:
            found = project.disturbed(end, share)
        except (PermissionError, FileNotFoundError):
            print(f"{number}: {end}: not possible here", flush=True)
            continue
        asked[end] += 1
        held[end] += not found
        faults += [f"- {number}, {end} at {share:.0%}: {'; '.join(found)}"] if found else []
        print(f"{number}: {end} at {share:.0%}: {'; '.join(found) or 'the same results'}", flush=True)
    return [
        f"{sum(asked.values())} times {project.name} ({project.imports:.0f} s of imports, "
        f"{project.seconds:.0f} s of work, {project.bytes / 2**20:.1f} MiB):",
        "",
        "| ended | times | the same results, and nothing left open |",
        "|---|---:|---:|",
        *(f"| {end} | {asked[end]} | {held[end]} |" for end in ENDS),
        "",
        *(["Faults:", "", *faults, ""] if faults else []),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="of runs of seconds")
    parser.add_argument("--demo", type=int, default=0, help="of the demo, minutes each")
    parser.add_argument("--only", type=int, help="one kill by its number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="a page for what is printed")
    arguments = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # children of what runs in the background ignore it
    lines, started = ["# Runs that were ended and continued", ""], time.monotonic()
    for demo, kills in ((False, arguments.kills), (True, arguments.demo)):
        if kills:
            numbers = range(kills) if arguments.only is None else [arguments.only]
            with tempfile.TemporaryDirectory(prefix="llmar-kills-") as folder:
                lines += disturb(Project(Path(folder), demo), numbers, arguments.seed)
    command = " ".join(["python benchmarks/kills.py", *sys.argv[1:]])
    lines += [f"- {time.monotonic() - started:.0f} s in all", *machine(command, str(arguments.seed))]
    write_page(arguments.output, lines)
    raise SystemExit("Faults:" in lines)


if __name__ == "__main__":
    main()
