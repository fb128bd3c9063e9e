from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from llmar_pipeline.reporting import code_description
from llmar_pipeline.reporting.code_description import describe_codes
from llmar_pipeline.skeletons.topology import KINECT20, Body
from llmar_pipeline.vqvae import trained


@pytest.fixture
def reconstructed(monkeypatch) -> list[list[str]]:
    """Two codebooks of two codes; reconstructions that miss by 0.1 in training and by 0.2 in test."""
    asked: list[list[str]] = []

    def reconstruct(model, sequences, names):
        asked.append(names)
        motion = np.random.default_rng(0).normal(size=(1, 4, 20, 3)).astype(np.float32)
        gap = np.array([0.1 if names[0].startswith("train") else 0.2, 0, 0], dtype=np.float32)
        return [(motion, motion + gap)] * len(names)

    facts = trained.CodebookFacts(4, 2, np.eye(4), np.array([1, 0, 3, 2]), "hyperbolic", 1.0)
    monkeypatch.setattr(code_description, "load_vqvae", lambda folder: None)
    monkeypatch.setattr(code_description, "codebook_facts", lambda model: facts)
    monkeypatch.setattr(code_description, "reconstruct_clips", reconstruct)
    monkeypatch.setattr(
        code_description,
        "SequenceStore",
        SimpleNamespace(open=lambda folder: SimpleNamespace(body=Body(KINECT20, 1))),
    )
    return asked


def test_codes_are_described_on_test_clips_and_plain_training_clips(reconstructed):
    rows = [(f"train{i}", "train", "sit", reading, [0, 2]) for i in range(1201) for reading in (0, 1)]
    rows += [("test0", "test", "sit", 0, [0, 2, 1, 2]), ("val0", "val", "sit", 0, [1, 3])]
    sentences = pd.DataFrame(rows, columns=["name", "split", "action", "reading", "codes"])
    statistics, strip, gif = describe_codes(Path(), Path(), sentences, 0)
    training, test, drawn = reconstructed
    assert training == [f"train{i}" for i in range(0, 1201, 3)]  # evenly, at most 500
    assert test == drawn == ["test0"]
    assert statistics["train_used_codes"] == 2
    assert statistics["train_correlated_share"] == 0
    assert statistics["train_reconstruction_error"] == pytest.approx(0.1, abs=1e-5)
    assert statistics["used_codes"] == 3
    assert statistics["correlated_share"] == pytest.approx(2 / 4)
    assert statistics["reconstruction_error"] == pytest.approx(0.2, abs=1e-5)
    assert Image.open(BytesIO(strip)).format == "PNG"
    assert Image.open(BytesIO(gif)).n_frames == 4
