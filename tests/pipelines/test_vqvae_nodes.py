from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.pipelines.vqvae import nodes
from llmar_pipeline.skeletons.augmentation import AugmentationConfig


def test_a_training_that_mirrors_classes_with_a_side_does_not_start():
    rows = [("a", "train", 0, "wave"), ("b", "train", 1, "swipe left"), ("c", "test", 1, "swipe left")]
    splits = pd.DataFrame(rows, columns=["name", "split", "label", "action"])
    mirrored = AugmentationConfig(min_crop=1, rotation=0, tilt=0, scale=0, noise=0, mirror=True)
    with pytest.raises(UserError, match="saw 'swipe left'"):
        nodes.train(Path(), splits, splits, *[Path()] * 2, Mock(), Mock(), mirrored, Mock(), None)


def test_validation_clips_are_those_of_trained_classes(monkeypatch):
    monkeypatch.setattr(nodes, "settle_turns", Mock())
    rows = [
        ("a", "train", 3, "sit"),
        ("b", "train", 1, "run"),
        ("c", "val", 3, "sit"),
        ("d", "val", 2, "fly"),
    ]
    splits = pd.DataFrame([*rows, ("e", "test", 3, "sit")], columns=["name", "split", "label", "action"])
    vqvae = Mock(reads_words=False, reads_names=False)

    def given(splits):
        train = nodes.train(Path(), splits, splits, *[Path()] * 2, Mock(), vqvae, Mock(), Mock(), None)
        return [train.keywords[name] for name in ("names", "labels", "val_names", "val_labels")]

    assert given(splits) == [["a", "b"], [1, 0], ["c"], [1]]
    assert given(splits[splits["split"] != "val"]) == [["a", "b"], [1, 0], [], []]
