"""How far training turns its clips, by the cameras that training and test clips come from."""

from pathlib import Path

import pandas as pd

from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.store import SequenceStore


def settle_turns(
    augmentation: AugmentationConfig, index: pd.DataFrame, splits: pd.DataFrame, sequences: Path
) -> AugmentationConfig:
    """Numbers in place of "auto", the same for the training and for the readings of its clips.

    Args:
        augmentation: As it is configured.
        index: As `new_cameras` takes it.
        splits: As `new_cameras` takes it.
        sequences: Folder of the normalised store.

    Source: ours.
    """
    coordinates = SequenceStore.open(sequences).body.topology.coordinates
    return augmentation.settled(new_cameras(index, splits), coordinates)


def new_cameras(index: pd.DataFrame, splits: pd.DataFrame) -> bool:
    """Whether a test clip comes from a camera that no training clip comes from.

    Args:
        index: One row a clip, as `ingest` returns it; a user's own need not know cameras.
        splits: As `split_clips` returns it.

    Source: ours.
    """
    if "camera" not in index:
        return False
    cameras = index.set_index("name")["camera"]
    train, test = (
        set(cameras[splits["name"][splits["split"] == part]].dropna()) for part in ("train", "test")
    )
    return bool(train) and not test <= train
