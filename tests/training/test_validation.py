"""Validation by the way: on which clips."""

from tiny_training import schedule

from llmar_pipeline.training.validation import MOST, validated


def test_all_clips_where_they_are_few_else_some_drawn_by_the_seed():
    settings = schedule(save_every=40, batch_size=8)  # 320 clips from a checkpoint to the next
    assert validated(0, settings, 1) == []
    assert validated(20, settings, 1) == list(range(20))
    some = validated(1000, settings, 1)
    assert len(set(some)) == 20
    assert some == sorted(some) == validated(1000, settings, 1)
    assert some != validated(1000, settings.model_copy(update={"seed": 1}), 1)
    assert len(validated(1000, settings, 0.5)) == 40
    assert len(validated(1000, settings, 100)) == 1
    assert len(validated(10**5, settings, 1e-4)) == MOST
