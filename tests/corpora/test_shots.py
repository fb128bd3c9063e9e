import itertools

import pandas as pd
import pytest
from pydantic import ValidationError

from llmar_pipeline.corpora.shots import ShotsConfig, take_shots
from llmar_pipeline.errors import UserError


def splits(clips_a_class=8, classes=3):
    parts = ("train", "train", "train", "train", "train", "val", "test", "unused")
    return pd.DataFrame(
        [
            {"name": f"c{label}-{clip}", "split": parts[clip % 8], "label": label}
            for label in range(classes)
            for clip in range(clips_a_class)
        ]
    )


def trained(table, shots, seed=0):
    taken = take_shots(table, ShotsConfig(clips=shots, seed=seed))
    return set(table.loc[taken == "train", "name"])


def test_so_many_training_clips_of_each_class_are_kept_and_no_other_clip_changes():
    table = splits()
    taken = take_shots(table, ShotsConfig(clips=2))
    assert (
        taken[table["split"] == "train"].groupby(table["label"]).agg(list).map(sorted).tolist()
        == [["train"] * 2 + ["unused"] * 3] * 3
    )
    others = table["split"] != "train"
    assert taken[others].tolist() == table.loc[others, "split"].tolist()
    assert take_shots(table, ShotsConfig()).tolist() == table["split"].tolist()


def test_more_shots_of_a_seed_keep_what_fewer_keep():
    table = splits(40)
    kept = [trained(table, shots) for shots in (1, 3, 5, 10, 100)]
    assert [len(names) for names in kept] == [3, 9, 15, 30, 75]
    assert all(few < more for few, more in itertools.pairwise(kept))
    assert trained(table, 3, seed=1) != trained(table, 3)


def test_neither_the_order_of_rows_nor_other_classes_matter():
    table = splits(40)
    assert trained(table.sample(frac=1, random_state=0), 3) == trained(table, 3)
    two = trained(table[table["label"] != 0], 3)
    assert two == {name for name in trained(table, 3) if not name.startswith("c0")}


def test_a_number_in_quotes_is_a_number_and_a_boolean_is_none():
    assert ShotsConfig(clips="5").suffix() == ShotsConfig(clips=5).suffix() == "-shots5-seed0"
    with pytest.raises(ValidationError):
        ShotsConfig(clips=True)


@pytest.mark.parametrize("clips", [0, -1, "none", "5.5"])
def test_another_number_is_refused(clips):
    with pytest.raises(UserError, match=r"expected all, or a number of training clips a class from 1 on"):
        ShotsConfig(clips=clips).suffix()
