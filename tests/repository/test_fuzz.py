"""A share of what benchmarks/fuzz.py tries, and that it tells a fault from what is none."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def fuzz(benchmarks: Callable[[str], ModuleType]) -> ModuleType:
    return benchmarks("fuzz")


@pytest.fixture(scope="module")
def kinds(fuzz: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list:
    return list(sys.modules["fuzz_kinds"].light_kinds(tmp_path_factory.mktemp("kinds")))


@pytest.mark.slow
def test_damaged_inputs_are_read_as_before_refused_or_quarantined(
    fuzz: ModuleType, kinds: list, tmp_path: Path
) -> None:
    attack = fuzz.Fuzz(kinds, tmp_path / "attempt", seed=1, clock=False)
    attempts = [attack.attempt(number) for number in range(200)]
    assert [attempt for attempt in attempts if attempt.verdict == "fault"] == []
    assert {attempt.verdict for attempt in attempts} == set(fuzz.VERDICTS) - {"fault"}
    assert {attempt.kind for attempt in attempts} == {kind.name for kind in kinds}
    assert {attempt.damage for attempt in attempts} == set(fuzz.DAMAGES)


def test_an_input_is_repeated_by_its_number(fuzz: ModuleType, kinds: list, tmp_path: Path) -> None:
    first, again = (fuzz.Fuzz(kinds[:3], tmp_path / name, seed=0, clock=False) for name in ("a", "b"))
    for number in range(3):
        first.attempt(number)
    assert again.attempt(3) == first.attempt(3)


@pytest.mark.parametrize("damage", ["cut", "flipped", "swapped", "emptied", "wrong types", "huge numbers"])
def test_damage_depends_on_the_generator_alone_and_changes_something(fuzz: ModuleType, damage: str) -> None:
    spoil = fuzz.DAMAGES[damage]
    content = b'{"a": [1, 2.5, "text"], "b": {"c": null}}'
    spoilt = [spoil(content, ".json", np.random.default_rng(seed)) for seed in (*range(8), *range(8))]
    assert spoilt[:8] == spoilt[8:]
    assert set(spoilt) != {content}


@pytest.mark.parametrize("fault", [KeyError("x"), ValueError("first\nsecond")])
def test_another_exception_is_a_fault(
    fuzz: ModuleType, kinds: list, tmp_path: Path, fault: Exception
) -> None:
    def read(folder: Path, way: int) -> str:
        if folder.joinpath(*kinds[0].files).read_bytes() != template:
            raise fault
        return "read"

    template = (kinds[0].template / kinds[0].files[0]).read_bytes()
    attack = fuzz.Fuzz([replace(kinds[0], read=read)], tmp_path / "attempt", seed=0, clock=False)
    assert attack.attempt(0).verdict == "fault"


def test_a_checked_result_that_differs_is_a_fault(fuzz: ModuleType, kinds: list, tmp_path: Path) -> None:
    def read(folder: Path, way: int) -> str:
        return str(folder.joinpath(*kinds[0].files).read_bytes())

    verdicts = {
        checked: fuzz.Fuzz(
            [replace(kinds[0], read=read, checked=checked)], tmp_path / "attempt", seed=0, clock=False
        )
        .attempt(0)
        .verdict
        for checked in (True, False)
    }
    assert verdicts == {True: "fault", False: "otherwise"}
