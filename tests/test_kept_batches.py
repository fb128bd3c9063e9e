import logging

import numpy as np
import pytest
from damage import DAMAGES

from llmar_pipeline.kept_batches import in_kept_batches


class Squares:
    """Squares of a batch; breaks off before batch number `breaks_at`."""

    def __init__(self, breaks_at=None):
        self.batches, self.breaks_at = [], breaks_at

    def __call__(self, batch):
        if len(self.batches) == self.breaks_at:
            raise KeyboardInterrupt
        self.batches.append(list(batch))
        return np.array([[x, x * x] for x in batch], dtype=np.float32)


def run(folder, work, items=range(7), batch_size=2, **fingerprint):
    return in_kept_batches(list(items), batch_size, work, folder, fingerprint, "squaring")


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


def test_a_half_written_file_and_one_of_unknown_origin_do_not_count(tmp_path):
    kept = tmp_path / "kept"
    run(kept, Squares(), model="a")
    (kept / "from_0000002.npy").rename(kept / "from_0000002.tmp")
    again = Squares()
    assert run(kept, again, model="a").tolist() == EXPECTED
    assert again.batches == [[2, 3]]

    (kept / "fingerprint.json").unlink()
    again = Squares()
    assert run(kept, again, model="a").tolist() == EXPECTED
    assert len(again.batches) == 4


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("recorded", [True, False])
def test_a_damaged_batch_is_named_set_aside_and_made_again(tmp_path, damage, recorded, caplog):
    kept, again = tmp_path / "kept", Squares()
    run(kept, Squares(), model="a")
    if not recorded:  # kept by an earlier version: what can be read is taken
        (kept / ".from_0000002.npy.written").unlink()
    damage(kept / "from_0000002.npy")
    unnoticed = damage.__name__ == "flip" and not recorded
    with caplog.at_level(logging.WARNING):
        assert unnoticed or run(kept, again, model="a").tolist() == EXPECTED
    gone = not (kept / "from_0000002.npy.before-1").exists()
    assert again.batches == ([] if unnoticed else [[2, 3]])
    assert gone is (unnoticed or damage.__name__ == "remove")
    assert ("from_0000002.npy cannot be read" in caplog.text) is not gone


def test_text_is_kept_too(tmp_path):
    words = ["sit", "stand up", "", "é"]
    for _ in range(2):
        result = in_kept_batches(words, 1, np.array, tmp_path / "words", {}, "words")
        assert result.tolist() == words


def test_batches_of_others_that_were_made_from_the_same_are_taken_over(tmp_path):
    others = [tmp_path / name / "kept" for name in ("half", "other", "own")]
    with pytest.raises(KeyboardInterrupt):
        run(others[0], Squares(breaks_at=2), model="a")
    run(others[1], Squares(), model="b")
    rest = Squares()
    result = in_kept_batches(list(range(7)), 2, rest, others[2], {"model": "a"}, "squaring", others)
    assert result.tolist() == EXPECTED
    assert rest.batches == [[4, 5], [6]]
    none = Squares()
    assert run(others[2], none, model="a").tolist() == EXPECTED
    assert none.batches == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_batch_of_others_is_neither_taken_nor_touched(tmp_path, damage):
    other, again = tmp_path / "other" / "kept", Squares()
    run(other, Squares(), model="a")
    damage(other / "from_0000002.npy")
    there = sorted(path.name for path in other.iterdir())
    own = tmp_path / "own" / "kept"
    result = in_kept_batches(list(range(7)), 2, again, own, {"model": "a"}, "squaring", [other])
    assert result.tolist() == EXPECTED
    assert again.batches == [[2, 3]]
    assert sorted(path.name for path in other.iterdir()) == there
