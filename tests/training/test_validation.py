"""Validation by the way: on which clips."""

from tiny_training import schedule

from llmar_pipeline.training.validation import MOST, validated, validated_behind


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


def test_behind_a_training_all_of_a_small_corpus_and_of_a_large_one_what_costs_little():
    settings = schedule(max_steps=1000, save_every=40, batch_size=16)  # 16,000 clips
    assert validated_behind(0, settings, 1) == []
    assert validated_behind(MOST, settings, 1e4) == list(range(MOST))
    some = validated_behind(10**4, settings, 0.5)
    assert len(set(some)) == 16_000 / 16 / 0.5
    assert some == sorted(some)
    assert set(validated(10**4, settings, 0.5)) < set(some)
    paper = schedule(max_steps=1172, batch_size=256)
    assert len(validated_behind(6000, paper, 8.6)) == 2180  # 117 names and their list, of 6,000 clips
