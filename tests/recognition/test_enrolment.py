"""Classes enrolled beside a model: kept, refused where they are damaged or foreign, and never lost."""

import os
import re
from multiprocessing import get_context

import numpy as np
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition.enrolment import Enrolled, check_name, enrol, enrolled_classes, remove

STAGE1 = "a" * 64
FEATURES = np.arange(6, dtype=np.float32).reshape(2, 3)


def add(folder, name, stage1=STAGE1):
    enrol(folder, Enrolled(name, ("one", "two"), FEATURES), stage1, ["walk"])


def test_what_is_enrolled_is_read_and_removed(tmp_path):
    assert enrolled_classes(tmp_path, STAGE1) == []
    names = ["wave with both arms", "手を振る", "a/b: c"]
    for name in names:
        add(tmp_path, name)
    found = enrolled_classes(tmp_path, STAGE1)
    assert [each.name for each in found] == sorted(names)
    assert found[0].clips == ("one", "two")
    np.testing.assert_array_equal(found[0].features, FEATURES)
    remove(tmp_path, "手を振る")
    assert [each.name for each in enrolled_classes(tmp_path, STAGE1)] == sorted({*names} - {"手を振る"})
    with pytest.raises(UserError, match=r"expected the name of an enrolled class, saw '手を振る'"):
        remove(tmp_path, "手を振る")


@pytest.mark.parametrize("name", ["", " wave", "two\nlines", "x" * 101, "\x1b[31m", "Walk", "walk"])
def test_names_that_no_class_can_have(tmp_path, name):
    with pytest.raises(UserError, match=r"expected (a|the) name of ") as caught:
        add(tmp_path, name)
    assert "\n" not in caught.value.message
    assert enrolled_classes(tmp_path, STAGE1) == []


def test_a_name_is_given_once(tmp_path):
    add(tmp_path, "wave")
    with pytest.raises(UserError, match="saw 'wave'; type another --name"):
        add(tmp_path, "Wave")
    check_name("wave twice", ["wave"])


def _add_in_turn(folder, number, start):
    start.wait()
    for turn in range(3):
        add(folder, f"class {number} {turn}")


def test_several_at_once_lose_nothing(tmp_path):
    context = get_context("fork")
    start = context.Barrier(3)
    workers = [context.Process(target=_add_in_turn, args=(tmp_path, n, start)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 3
    names = [each.name for each in enrolled_classes(tmp_path, STAGE1)]
    assert names == [f"class {number} {turn}" for number in range(3) for turn in range(3)]


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_class_is_refused_in_one_line_and_can_be_removed(tmp_path, suffix, damage):
    add(tmp_path, "wave")
    (file,) = tmp_path.rglob(f"*{suffix}")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    kinds = {"flip": content, "cut": content[: len(content) // 2], "empty": b""}
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(kinds[damage])
    os.utime(tmp_path)
    if (suffix, damage) == (".json", "gone"):  # as if it had never been whole
        assert enrolled_classes(tmp_path, STAGE1) == []
        add(tmp_path, "wave")
        return
    with pytest.raises(
        UserError, match=r"as it was written, saw another content .*enrol the class again"
    ) as e:
        enrolled_classes(tmp_path, STAGE1)
    assert "\n" not in e.value.message
    remove(tmp_path, "wave")
    assert enrolled_classes(tmp_path, STAGE1) == []


def test_a_class_of_another_model_is_refused(tmp_path):
    add(tmp_path, "wave")
    expected = re.escape(f"checksum {'b' * 12}, saw that of another one, {'a' * 12}")
    with pytest.raises(UserError, match=expected):
        enrolled_classes(tmp_path, "b" * 64)
