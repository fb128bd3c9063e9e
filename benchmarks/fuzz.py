"""Damaged inputs: each must be read as it was, be refused in one line, or have its row in the quarantine.

All else is a fault: another exception, a wait, much memory, or a result that differs where a checksum should
have told. An input is decided by the seed and its number, so `--only` repeats one.

    python benchmarks/fuzz.py [--inputs 10000] [--quick] [--command-line 200] [--only 1234] [--seed 0]
"""

import argparse
import faulthandler
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from damages import DAMAGES
from fuzz_kinds import QUARANTINED, WAYS, Kind, light_kinds, run_kinds
from measuring import GPU, machine, peak, write_page

from llmar_pipeline.error_lines import explain

VERDICTS = ("as before", "otherwise", "quarantined", "refused", "fault")
MOST_MEMORY = 2**29  # bytes that one small file may cost
ADDRESSES = 2**34  # bytes of address space: what asks for more is refused by the system


class TooLong(BaseException):
    """Reading took so long that it counts as hanging."""


@dataclass(frozen=True)
class Attempt:
    """What became of one damaged input."""

    number: int
    kind: str
    damage: str
    file: str
    verdict: str
    seen: str = ""


class Fuzz:
    """Damages inputs of some kinds.

    Args:
        kinds: What is read.
        work: A folder for copies.
        seed: Of everything.
        clock: Whether what takes too long is broken off.
    """

    def __init__(self, kinds: Sequence[Kind], work: Path, seed: int, clock: bool = True) -> None:
        self._kinds, self._work, self._seed, self._clock = kinds, work, seed, clock
        self._targets = {kind.name: kind.targets() for kind in kinds}
        self._expected: dict[tuple[str, str], str] = {}
        self._shares = np.array([kind.share for kind in kinds]) / sum(kind.share for kind in kinds)

    def attempt(self, number: int) -> Attempt:
        """Damage one file and read it."""
        rng = np.random.default_rng([self._seed, number])
        kind = self._kinds[rng.choice(len(self._kinds), p=self._shares)]
        file = self._targets[kind.name][rng.integers(len(self._targets[kind.name]))]
        damage = list(DAMAGES)[rng.integers(len(DAMAGES))]
        way = int(rng.integers(WAYS))
        expected = self._read(kind, way, None)
        copied = self._copy(kind)
        content = (copied / file).read_bytes()
        (copied / file).write_bytes(DAMAGES[damage](content, file.suffix, rng))
        before, verdict, seen = peak(), "fault", ""
        try:
            found = self._read(kind, way, copied)
            if found == expected:
                verdict = "as before"
            elif kind.checked:
                seen = "another result, without a word"
            else:
                verdict = "quarantined" if found.startswith(QUARANTINED) else "otherwise"
        except TooLong:
            seen = f"no end within {kind.seconds} s"
        except Exception as error:
            message = explain(error)
            if message is not None and "\n" not in message:
                verdict, seen = "refused", message
            else:
                seen = f"{type(error).__name__}: {error}"
        if (taken := peak() - before) > MOST_MEMORY:
            verdict, seen = "fault", f"{taken >> 20} MiB of memory; {seen}"
        return Attempt(number, kind.name, damage, file.as_posix(), verdict, " ".join(seen.split())[:300])

    def _copy(self, kind: Kind) -> Path:
        shutil.rmtree(self._work, ignore_errors=True)
        return shutil.copytree(kind.template, self._work / kind.template.name)

    def _read(self, kind: Kind, way: int, copied: Path | None) -> str:
        """What a copy is read as; without one, what the undamaged one is."""
        if copied is None and (kind.name, way) in self._expected:
            return self._expected[kind.name, way]
        place = copied or self._copy(kind)
        with _at_most(kind.seconds if self._clock else 0):
            found = kind.read(place, way)
        if copied is None:
            self._expected[kind.name, way] = found
        return found


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> NoReturn:
        raise TooLong

    if not seconds:
        yield
        return
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(10 * seconds, exit=True)  # for a wait that no signal breaks off
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()


def table(attempts: Sequence[Attempt], by: str) -> list[str]:
    """How many of each format, or of each kind of damage, ended in which way."""
    counts = Counter((getattr(attempt, by), attempt.verdict) for attempt in attempts)
    rows = {
        name: [counts[name, v] for v in VERDICTS] for name in sorted({getattr(a, by) for a in attempts})
    } | {"all": [sum(attempt.verdict == v for attempt in attempts) for v in VERDICTS]}
    return [
        f"| {by} | inputs | {' | '.join(VERDICTS)} |",
        "|---|---:|" + "---:|" * len(VERDICTS),
        *(f"| {name} | {sum(row)} | {' | '.join(map(str, row))} |" for name, row in rows.items()),
        "",
    ]


def attack(title: str, fuzz: Fuzz, numbers: Sequence[int], show: bool) -> list[str]:
    """The page's section of some inputs; faults are shown at once."""
    started, attempts = time.monotonic(), []
    for number in numbers:
        attempts.append(found := fuzz.attempt(number))
        if show or found.verdict == "fault":
            print(*(found.number, found.kind, found.file, found.damage, found.verdict, found.seen), sep=" | ")
            sys.stdout.flush()
    lines = [f"## {title}: {len(attempts)} inputs in {time.monotonic() - started:.0f} s", ""]
    lines += [*table(attempts, "kind"), *table(attempts, "damage")]
    faults = [a for a in attempts if a.verdict == "fault"]
    found = [f"- {a.number}: {a.kind}, {a.file}, {a.damage}: `{a.seen.replace('`', '')}`" for a in faults]
    return [*lines, *(["Faults:", "", *found, ""] if found else [])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="in this process")
    parser.add_argument("--command-line", type=int, default=0, help="through `kedro run`, half a minute each")
    parser.add_argument("--quick", action="store_true", help="in this process without what needs a whole run")
    parser.add_argument("--only", type=int, help="one input by its number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="a page for what is printed")
    arguments = parser.parse_args()
    logging.disable()
    os.environ["TQDM_DISABLE"] = "1"
    if not GPU:  # whose driver reserves more
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    lines = ["# Damaged inputs", ""]
    for in_process, inputs in ((False, arguments.command_line), (True, arguments.inputs)):
        if not inputs:
            continue
        with tempfile.TemporaryDirectory(prefix="llmar-fuzz-") as name:
            folder = Path(name)
            quick = in_process and arguments.quick
            kinds = light_kinds(folder / "light") if in_process else []
            kinds += [] if quick else run_kinds(folder / "runs", in_process)
            numbers = range(inputs) if arguments.only is None else [arguments.only]
            title = "In one process" if in_process else "Through the command line"
            fuzz = Fuzz(kinds, folder / "attempt", arguments.seed)
            lines += attack(title, fuzz, numbers, show=arguments.only is not None or not in_process)
    command = " ".join(["python benchmarks/fuzz.py", *sys.argv[1:]])
    lines += [f"- peak memory of the process: {peak() >> 20} MiB", *machine(command, str(arguments.seed))]
    write_page(arguments.output, lines)
    raise SystemExit("Faults:" in lines)


if __name__ == "__main__":
    main()
