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
        nodes.train(Path(), splits, splits, *[Path()] * 2, Mock(), Mock(), mirrored, Mock())
