from pathlib import Path

import pandas as pd
import pytest

from llmar_pipeline import machine
from llmar_pipeline.estimate.reading import Recordings, look
from llmar_pipeline.estimate.stages import GPU, START, stage_times
from llmar_pipeline.language.config import AdapterConfig
from llmar_pipeline.operations import LLMShape, Tokens, lora_step, scoring, vqvae_step
from llmar_pipeline.pipeline_registry import stages
from llmar_pipeline.skeletons.topology import NTU25, Body
from llmar_pipeline.vqvae.config import VQVAEConfig

SPEEDS = {"float32": 1e11, "bfloat16": 2e11}
STAGES = list(stages())


@pytest.fixture
def seconds(configured, tiny_llm_folder):
    """Seconds of each stage of the demo with other parameters, with a tiny language model."""

    def of(recordings=None, speeds=SPEEDS, **runtime):
        llm = {"model": str(tiny_llm_folder), "precision": "float32"}
        selection, parameters = configured(**{"llm": llm, **runtime})
        recordings = recordings or look(selection, parameters)
        times = stage_times(recordings, selection, parameters, Path("unused"), speeds, STAGES)
        assert [time.stage for time in times] == ["start", *STAGES]
        return {time.stage: time.seconds for time in times}

    return of


def test_every_stage_follows_what_it_does(seconds):
    plain = seconds()
    assert all(value > 0 for value in plain.values())
    longer = seconds(vqvae_training={"max_steps": 4000}, lora_training={"max_steps": 1300})
    beyond = {name: (longer[name], plain[name]) for name in plain if longer[name] != plain[name]}
    assert set(beyond) == {"vqvae", "lora"}
    for name, (more, less) in beyond.items():
        start = START[name]
        assert more - start == pytest.approx(10 * (less - start))
    assert seconds(tokenization={"readings": 40})["tokenization"] > 4 * plain["tokenization"] - 20
    clips = pd.DataFrame({"split": ["train"] * 1000 + ["test"] * 2000, "action": ["a", "b", "c"] * 1000})
    many = seconds(Recordings(clips, 60.0, 0.1, 0, "a test"))
    assert many["evaluation"] > plain["evaluation"]
    assert many["ingestion"] == pytest.approx(
        START["ingestion"] + 3000 * 0.1 / min(2, machine.usable_processors())
    )


def test_validation_takes_a_small_share_of_a_training(seconds):
    slow = {"float32": 1e6, "bfloat16": 1e6}
    often = seconds(speeds=slow)
    for stage in ("vqvae", "lora"):
        rarely = seconds(speeds=slow, **{f"{stage}_training": {"save_every": 10**6}})[stage] - START[stage]
        assert rarely < often[stage] - START[stage] < 1.1 * rarely


@pytest.mark.parametrize(
    ("correction", "unseen", "whole"),
    [
        ("none", "none", False),
        ("none", 3, False),
        ("unseen", "none", False),
        ("unseen", 3, True),
        ("always", "none", True),
    ],
)
def test_only_corrected_scores_read_all_names(seconds, monkeypatch, correction, unseen, whole):
    def evaluation(nodes):
        monkeypatch.setattr("llmar_pipeline.estimate.stages.READ_NODES", nodes)
        return seconds(unseen=unseen, evaluation={"prior_correction": correction})["evaluation"]

    assert (evaluation(1) == evaluation(1000)) == whole


def test_a_gpu_is_bound_by_launches_and_shares_batches(seconds, monkeypatch):
    monkeypatch.setattr(machine, "gpu", lambda: ("a GPU", 80.0))
    fast = {"float32": 5e13, "bfloat16": 7e14}
    one = seconds(speeds=fast)["vqvae"] - START["vqvae"]
    assert one == pytest.approx(400 * GPU.vqvae_step)
    slow = {"batch_size": 4096, "micro_batch_size": 4096}
    many = seconds(vqvae_training=slow)["vqvae"]
    shared = seconds(vqvae_training={**slow, "micro_batch_size": 1024, "processes": 4})["vqvae"]
    start = START["vqvae"]
    assert many - start == pytest.approx(4 * (shared - start), rel=0.01)


def test_a_gpu_scores_a_training_in_bfloat16_by_split_weights(seconds, monkeypatch, tiny_llm_folder):
    monkeypatch.setattr(machine, "gpu", lambda: ("a GPU", 80.0))

    def evaluation(bfloat16=3e8, precision="bfloat16", **more):
        llm = {"model": str(tiny_llm_folder), "precision": precision}
        return seconds(speeds={"float32": 1e8, "bfloat16": bfloat16}, llm=llm, **more)["evaluation"]

    products = 2 * (evaluation() - evaluation(6e8))  # of scoring alone
    whole = evaluation() - products * (1 - GPU.split / GPU.score)
    assert evaluation(precision="float32") == pytest.approx(whole)
    assert evaluation(lora={"method": "full"}) == pytest.approx(whole)


def test_an_h100_takes_as_long_as_it_took():
    """LLaMA-13B's shape and the paper's VQ-VAE, measured on one; 51 and 778 TFLOP/s in large products."""
    llama, tokens, pace = LLMShape(5120, 13824, 40, 5120, 32000), Tokens(6, 16, 7, 4.9, 219), GPU
    for clips, measured in ((4, 15.5), (16, 57), (64, 155)):
        arithmetic = lora_step(llama, AdapterConfig(), tokens, clips) / (pace.lora["bfloat16"] * 778e12)
        step = max(arithmetic, 40 * pace.lora_layer)
        assert clips / step == pytest.approx(measured, rel=0.3)
    scored = 8 * scoring(llama, tokens) / (pace.score * 51e12) + 40 * pace.score_layer
    assert 8 / scored == pytest.approx(6.2, rel=0.3)
    needed = vqvae_step(VQVAEConfig(code_dim=5120), Body(NTU25, 2), 256)
    assert max(needed / (pace.vqvae * 51e12), pace.vqvae_step) == pytest.approx(0.0432, rel=0.3)
