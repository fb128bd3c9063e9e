import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from damage import DAMAGES, cut, flip

from llmar_pipeline import kept_batches
from llmar_pipeline.errors import UserError
from llmar_pipeline.kept_batches import Part, in_kept_batches


@pytest.fixture(autouse=True)
def _small_files(monkeypatch):
    monkeypatch.setattr(kept_batches, "CLIPS_A_FILE", 4)


class Squares:
    """Squares of a batch; breaks off before batch number `breaks_at`."""

    def __init__(self, breaks_at=None):
        self.batches, self.breaks_at = [], breaks_at

    def __call__(self, batch):
        if len(self.batches) == self.breaks_at:
            raise KeyboardInterrupt
        self.batches.append(list(batch))
        return np.array([[x, x * x] for x in batch], dtype=np.float32)


def run(folder, work, items=range(7), batch_size=2, parts=(), **fingerprint):
    return in_kept_batches(list(items), batch_size, work, folder, fingerprint, "squaring", parts)


EXPECTED = [[x, x * x] for x in range(7)]


def test_an_interrupted_run_goes_on_with_the_missing_batches(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "kept", Squares(breaks_at=2), model="a")
    rest = Squares()
    result = run(tmp_path / "kept", rest, model="a")
    assert rest.batches == [[4, 5], [6]]
    assert result.dtype == np.float32
    assert result.tolist() == EXPECTED

    none = Squares()
    assert run(tmp_path / "kept", none, model="a").tolist() == EXPECTED
    assert none.batches == []


@pytest.mark.parametrize("changed", [{"model": "b"}, {"model": "a", "batch_size": 3}, {}])
def test_results_of_another_fingerprint_are_discarded(tmp_path, changed, caplog):
    run(tmp_path / "kept", Squares(), model="a")
    again = Squares()
    with caplog.at_level(logging.WARNING):
        assert run(tmp_path / "kept", again, **changed).tolist() == EXPECTED
    assert sum(map(len, again.batches)) == 7
    assert "set aside as" in caplog.text


@pytest.mark.parametrize("breaks_at", range(4))
def test_wherever_a_run_is_interrupted_no_batch_is_made_twice(tmp_path, breaks_at):
    first, rest = Squares(breaks_at), Squares()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "kept", first)
    assert run(tmp_path / "kept", rest).tolist() == EXPECTED
    assert first.batches + rest.batches == [[0, 1], [2, 3], [4, 5], [6]]
    files = sorted(file.name for file in (tmp_path / "kept").iterdir() if not file.name.startswith("."))
    assert files == ["fingerprint.json", "part-00000.npz", "part-00001.npz"]


def test_what_a_kill_cut_off_or_was_damaged_since_is_made_again_with_what_follows(tmp_path, caplog):
    kept = tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        run(kept, Squares(breaks_at=1))
    whole = (kept / "part-00000.begun").read_bytes()
    begun = kept / "part-00000.begun"
    for length in range(len(whole)):
        begun.write_bytes(whole[:length])
        (kept / "part-00000.npz").unlink(missing_ok=True)
        again = Squares()
        assert run(kept, again).tolist() == EXPECTED
        assert again.batches[0] == [0, 1]
    begun.write_bytes(whole)
    (kept / "part-00000.npz").unlink()
    again = Squares()
    assert run(kept, again).tolist() == EXPECTED
    assert again.batches[0] == [2, 3]
    for damage in (cut, flip):
        begun.write_bytes(whole)
        (kept / "part-00000.npz").unlink()
        damage(begun)
        assert run(kept, Squares()).tolist() == EXPECTED


def test_a_file_of_unknown_origin_does_not_count(tmp_path):
    kept = tmp_path / "kept"
    run(kept, Squares(), model="a")
    (kept / "fingerprint.json").unlink()
    again = Squares()
    assert run(kept, again, model="a").tolist() == EXPECTED
    assert len(again.batches) == 4


def test_only_the_part_whose_clips_changed_is_made_again_and_rows_keep_their_order(tmp_path, caplog):
    kept, items = tmp_path / "kept", list(range(7))

    def parts(odd="a"):
        return [Part([0, 2, 4, 6], "even"), Part([1, 3, 5], odd)]

    first = Squares()
    assert run(kept, first, parts=parts()).tolist() == EXPECTED
    assert first.batches == [[0, 2], [4, 6], [1, 3], [5]]
    items[3] = 30
    again = Squares()
    with caplog.at_level(logging.WARNING):
        result = run(kept, again, items, parts=parts("b"))
    assert again.batches == [[1, 30], [5]]
    assert result.tolist() == [[x, x * x] for x in items]
    assert "part-00001.npz: its clips changed; set aside as" in caplog.text
    assert (kept / "part-00001.npz.before-1").exists()


def test_what_was_begun_for_other_clips_does_not_count(tmp_path):
    kept = tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        run(kept, Squares(breaks_at=1), parts=[Part(range(7), "a")])
    again = Squares()
    run(kept, again, parts=[Part(range(7), "b")])
    assert len(again.batches) == 4


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("recorded", [True, False])
def test_a_damaged_batch_is_named_set_aside_and_made_again(tmp_path, damage, recorded, caplog):
    kept, again = tmp_path / "kept", Squares()
    run(kept, Squares(), model="a")
    if not recorded:  # kept by an earlier version: what can be read is taken
        (kept / ".part-00000.npz.written").unlink()
    damage(kept / "part-00000.npz")
    unnoticed = damage.__name__ == "flip" and not recorded
    with caplog.at_level(logging.WARNING):
        assert unnoticed or run(kept, again, model="a").tolist() == EXPECTED
    gone = not (kept / "part-00000.npz.before-1").exists()
    assert again.batches == ([] if unnoticed else [[0, 1], [2, 3]])
    assert gone is (unnoticed or damage.__name__ == "remove")
    assert ("part-00000.npz cannot be read" in caplog.text) is not gone


def test_text_is_kept_too(tmp_path):
    words = ["sit", "stand up", "", "é"]
    for _ in range(2):
        result = in_kept_batches(words, 1, np.array, tmp_path / "words", {}, "words")
        assert result.tolist() == words


def test_killed_again_and_again_it_comes_to_the_end(tmp_path, monkeypatch):
    call = (
        "import sys, time; from pathlib import Path; import numpy as np; "
        "from llmar_pipeline import kept_batches; kept_batches.CLIPS_A_FILE = 50; "
        "kept_batches.in_kept_batches(range(1000), 1, lambda x: time.sleep(0.002) or "
        "np.array([[x[0], x[0] ** 2]]), Path(sys.argv[1]), {}, 'squaring')"
    )
    monkeypatch.setattr(kept_batches, "CLIPS_A_FILE", 50)
    kept, worked = tmp_path / "kept", []
    for wanted in (1, 5, 12):
        process = subprocess.Popen([sys.executable, "-c", call, kept])
        while process.poll() is None and len(list(kept.glob("*.npz"))) < wanted:
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -9
    result = in_kept_batches(
        range(1000), 1, lambda x: worked.append(x) or np.array([[x[0], x[0] ** 2]]), kept, {}, "squaring"
    )
    assert result.tolist() == [[x, x * x] for x in range(1000)]
    assert 0 < len(worked) < 1000


def test_parts_of_others_that_were_made_from_the_same_are_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_batches, "CLIPS_A_FILE", 2)
    others = [tmp_path / name / "kept" for name in ("half", "other", "own")]
    with pytest.raises(KeyboardInterrupt):
        run(others[0], Squares(breaks_at=2), model="a")
    run(others[1], Squares(), model="b")
    rest = Squares()
    result = in_kept_batches(list(range(7)), 2, rest, others[2], {"model": "a"}, "squaring", others=others)
    assert result.tolist() == EXPECTED
    assert rest.batches == [[4, 5], [6]]
    none = Squares()
    assert run(others[2], none, model="a").tolist() == EXPECTED
    assert none.batches == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_of_others_is_neither_taken_nor_touched(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(kept_batches, "CLIPS_A_FILE", 2)
    other, again = tmp_path / "other" / "kept", Squares()
    run(other, Squares(), model="a")
    damage(other / "part-00001.npz")
    there = sorted(path.name for path in other.iterdir())
    own = tmp_path / "own" / "kept"
    result = in_kept_batches(list(range(7)), 2, again, own, {"model": "a"}, "squaring", others=[other])
    assert result.tolist() == EXPECTED
    assert again.batches == [[2, 3]]
    assert sorted(path.name for path in other.iterdir()) == there


class Threads:
    """Some threads of this process that share the work, as processes of a launcher do."""

    def __init__(self, number):
        self.barrier, self.lock, self.dealt = threading.Barrier(number, timeout=60), threading.Lock(), {}

    def member(self, number):
        return Member(self, number)


class Member:
    def __init__(self, threads, number):
        self.threads, self.first, self.deals = threads, number == 0, 0

    def deal(self, number):
        self.deals += 1
        while True:
            with self.threads.lock:
                dealt = self.threads.dealt.get(self.deals, 0)
                self.threads.dealt[self.deals] = dealt + 1
            if dealt >= number:
                return
            yield dealt

    def meet(self):
        self.threads.barrier.wait()


def shared(folder, works, items=range(22)):
    """What each of some processes comes to that share the items."""
    team = Threads(len(works))

    def one(number):
        member = team.member(number)
        return in_kept_batches(list(items), 2, works[number], folder, {"model": "a"}, "squaring", team=member)

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(60) for future in [pool.submit(one, n) for n in range(len(works))]]


def test_processes_share_the_parts_and_each_has_all_rows(tmp_path):
    alone = Squares()
    expected = in_kept_batches(list(range(22)), 2, alone, tmp_path / "alone", {"model": "a"}, "squaring")
    works = [Squares(), Squares(), Squares()]
    results = shared(tmp_path / "shared", works)
    for result in results:
        np.testing.assert_array_equal(result, expected)
    made = [tuple(batch) for work in works for batch in work.batches]
    assert sorted(made) == sorted(tuple(batch) for batch in alone.batches)
    files = ({path.name for path in (tmp_path / name).glob("part-*.npz")} for name in ("alone", "shared"))
    assert next(files) == next(files)


def test_what_one_of_them_has_done_before_it_died_is_not_done_again(tmp_path):
    """Another number of processes goes on."""
    dying = Squares(breaks_at=5)
    with pytest.raises(KeyboardInterrupt):
        in_kept_batches(list(range(22)), 2, dying, tmp_path, {"model": "a"}, "squaring")
    works = [Squares(), Squares()]
    shared(tmp_path, works)
    made = [tuple(batch) for work in [dying, *works] for batch in work.batches]
    assert len(made) == len(set(made)) == 11


def test_what_another_process_wrote_and_is_not_to_be_seen_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_batches, "_SEEN_AFTER", 0.1)

    class Lost(Member):
        def deal(self, number):
            yield 0

    with pytest.raises(UserError, match=r"expected .*part-00001\.npz, which another process .* data_dir"):
        in_kept_batches(list(range(8)), 2, Squares(), tmp_path, {}, "squaring", team=Lost(Threads(1), 0))
