"""Both trainings and scoring on a GPU: they run, and give what a CPU gives."""

import numpy as np
import pandas as pd
import pytest
import torch
from bodies import chain
from tiny_llm import CLASS_NAMES
from tiny_training import schedule

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.answer import score_sentences
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.lora import train_lora
from llmar_pipeline.language.split_linear import SplitLinear
from llmar_pipeline.language.trained_model import load_model, load_scorer, save_model
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import NTU25
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.train import Language, train_vqvae

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU that torch can use: here is none"
)
VQVAE_TINY = {"code_dim": 24, "codes": 16, "width": 16, "frames": 32, "mmd_words": 20}


def test_a_step_of_stage_1_reads_one_value_and_fits_that_of_a_cpu():
    torch.manual_seed(0)
    words = torch.randn(50, 24)
    models = [VQVAE(VQVAEConfig(**VQVAE_TINY), chain(10), words=words) for _ in "ab"]
    models[1].load_state_dict(models[0].state_dict())
    motion = torch.randn(4, 32, 30).cumsum(1) / 8
    mask = torch.ones_like(motion, dtype=torch.bool)
    here, there = (model.eval().to(place) for model, place in zip(models, ("cpu", "cuda"), strict=True))
    expected, found = here(motion, mask), there(motion.cuda(), mask.cuda())
    torch.testing.assert_close(
        found.reconstruction_loss.cpu(), expected.reconstruction_loss, atol=1e-4, rtol=1e-4
    )
    there.train()
    motion, mask = motion.cuda(), mask.cuda()
    for _ in range(2):  # the first step places the codes, the second one knows it
        there(motion, mask).loss.backward()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchroniz") as waits:
            there(motion, mask).loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    # Which pairs of a feature and a code are so near that their distance is taken another way: ball.py.
    assert len([w for w in waits if "synchroniz" in str(w.message)]) <= 1


def stage1(folder, precision="float32", poison=False):
    rng = np.random.default_rng(0)
    with StoreWriter(folder / "store", 2, NTU25) as store, store.shard("all") as shard:
        for clip in range(6):
            steps = rng.normal(0, 0.1, (2, 20, 25, 3)).cumsum(1).astype(np.float32)
            shard.append(Sequence(f"clip {clip}", steps * (1e30 if poison else 1)))
    return train_vqvae(
        folder / "store",
        [f"clip {clip}" for clip in range(6)],
        [0, 1, 2, 0, 1, 2],
        VQVAEConfig(**VQVAE_TINY),
        AugmentationConfig(min_crop=0.5, rotation=0.3, tilt=0.1, scale=0.1, noise=0.0, mirror=False),
        schedule(max_steps=6, micro_batch_size=4, log_every=3, precision=precision),
        folder / "steps",
        Language(words=torch.randn(50, 24)),
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_stage_1_trains(tmp_path, precision):
    model, history = stage1(tmp_path, precision)
    assert [record["step"] for record in history] == [3, 6]
    assert all(np.isfinite(list(record.values())).all() for record in history)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_stage_1_stops_at_the_first_step_that_is_not_finite(tmp_path):
    with pytest.raises(UserError, match=r"training stopped at step 1: .* not finite"):
        stage1(tmp_path, poison=True)


@pytest.fixture
def codebook():
    return torch.randn(16, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def sentences():
    rng = np.random.default_rng(0)
    labels = np.arange(12) % len(CLASS_NAMES)
    return pd.DataFrame(
        {
            "name": [f"clip{clip:02}" for clip in range(12)],
            "split": "train",
            "label": labels,
            "action": [CLASS_NAMES[label] for label in labels],
            "reading": 0,
            "codes": [rng.integers(0, 16, 6).astype(np.int32) for _ in labels],
        }
    )


def test_stage_2_trains_as_on_a_cpu_and_scores_are_those_of_a_cpu(
    sentences, codebook, tiny_llm_folder, tmp_path
):
    config = LLMConfig(model=str(tiny_llm_folder), precision="bfloat16")
    training, adapter = schedule(batch_size=12, micro_batch_size=6), AdapterConfig(rank=4, dropout=0.3)
    given = (sentences, codebook, config, tmp_path, adapter)
    model, history = train_lora(*given, training, tmp_path / "gpu")
    whole = training.model_copy(update={"micro_batch_size": 12, "max_steps": 1})
    first = train_lora(*given, whole, tmp_path / "whole")[1][0]["loss"]
    assert first == pytest.approx(history[0]["loss"], rel=1e-3)
    assert model.device.type == "cuda"
    assert model.base.config._attn_implementation == "sdpa"
    assert history[-1]["loss"] < history[0]["loss"]
    save_model(model, tmp_path / "model")

    codes = sentences["codes"].tolist()
    exact = score_sentences(load_model(tmp_path / "model", tmp_path, dtype="float32"), codes, 4)
    scorer = load_scorer(tmp_path / "model", tmp_path, torch.device("cuda"))
    assert any(isinstance(module, SplitLinear) for module in scorer.modules())
    np.testing.assert_allclose(score_sentences(scorer, codes, 4), exact, atol=2e-3)
    plain = load_scorer(tmp_path / "model", tmp_path, torch.device("cpu"))
    np.testing.assert_allclose(score_sentences(plain, codes, 12), exact, atol=1e-3)
