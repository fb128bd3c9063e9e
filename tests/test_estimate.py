"""How long a run will take: what it follows, and that it never ends a run."""

import math
from pathlib import Path

import pandas as pd
import pytest

from llmar_pipeline import estimate, machine
from llmar_pipeline.estimate import Outlook, Recordings, StageTime, in_words, look, outlook, stage_times
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.language.config import AdapterConfig
from llmar_pipeline.operations import LLMShape, Tokens, lora_step, scoring, vqvae_step
from llmar_pipeline.pipeline_registry import stages
from llmar_pipeline.settings import CONFIG_LOADER_ARGS
from llmar_pipeline.skeletons.topology import NTU25, Body
from llmar_pipeline.vqvae.config import VQVAEConfig

SPEEDS = {"float32": 1e11, "bfloat16": 2e11}
STAGES = list(stages())


@pytest.fixture
def configured(tmp_path, project, monkeypatch):
    monkeypatch.setattr(machine, "gpu", lambda: None)

    def load(env="demo", **runtime):
        runtime = {"data_dir": str(tmp_path / "data"), "llm": {"precision": "float32"}, **runtime}
        loader = StackedConfigLoader(str(project / "conf"), env, runtime, **CONFIG_LOADER_ARGS)
        return dict(loader["globals"]), loader["parameters"]

    return load


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
        start = estimate.START[name]
        assert more - start == pytest.approx(10 * (less - start))
    assert seconds(tokenization={"readings": 40})["tokenization"] > 4 * plain["tokenization"] - 20
    clips = pd.DataFrame({"split": ["train"] * 1000 + ["test"] * 2000, "action": ["a", "b", "c"] * 1000})
    many = seconds(Recordings(clips, 60.0, 0.1, 0, "a test"))
    assert many["evaluation"] > plain["evaluation"]
    assert many["ingestion"] == pytest.approx(
        estimate.START["ingestion"] + 3000 * 0.1 / min(2, machine.usable_processors())
    )


def test_a_gpu_is_bound_by_launches_and_shares_batches(seconds, monkeypatch):
    monkeypatch.setattr(machine, "gpu", lambda: ("a GPU", 80.0))
    fast = {"float32": 5e13, "bfloat16": 7e14}
    one = seconds(speeds=fast)["vqvae"] - estimate.START["vqvae"]
    assert one == pytest.approx(400 * estimate.GPU.vqvae_step)
    slow = {"batch_size": 4096, "micro_batch_size": 4096}
    many = seconds(vqvae_training=slow)["vqvae"]
    shared = seconds(vqvae_training={**slow, "micro_batch_size": 1024, "processes": 4})["vqvae"]
    start = estimate.START["vqvae"]
    assert many - start == pytest.approx(4 * (shared - start), rel=0.01)


def test_the_demo_is_known_before_it_is_made(configured):
    recordings = look(*configured())
    assert [recordings.count(split) for split in ("train", "val", "test")] == [210, 30, 120]
    assert recordings.made_up == len(recordings.splits) == 360
    assert len(recordings.classes("train")) == 10


def test_a_split_that_lies_there_is_what_counts(configured):
    selection, parameters = configured("nwucla", size="laptop")
    folder = Path(selection["data_dir"])
    for file, table in (
        (
            folder / "03_primary" / selection["split_folder"] / "splits.parquet",
            {"split": ["train"], "action": ["a"]},
        ),
        (folder / "02_intermediate" / selection["recordings_folder"] / "index.parquet", {"frames": [7]}),
    ):
        file.parent.mkdir(parents=True)
        pd.DataFrame(table).to_parquet(file)
    recordings = look(selection, parameters)
    assert (recordings.count("train"), recordings.frames) == (1, 7.0)
    assert recordings.known.startswith("1 clips of ")


def test_what_cannot_be_known_is_said(configured, monkeypatch):
    selection, parameters = configured("nwucla", size="laptop", raw_dir="/no/such/folder")
    seen = outlook(selection, parameters, Path("unused"), STAGES)
    assert seen.line("laptop").startswith("how long this takes cannot be known: /no/such/folder")
    selection, parameters = configured(llm={"model": "/no/such/model", "precision": "float32"})
    times = {time.stage: time for time in outlook(selection, parameters, Path("unused"), STAGES).times}
    assert math.isnan(times["lora"].seconds)
    assert "/no/such/model" in times["lora"].how
    assert times["vqvae"].seconds > 0
    monkeypatch.setattr(estimate, "look", lambda *_: 1 / 0)
    assert outlook(selection, parameters, Path("unused"), STAGES).unknown.startswith("ZeroDivisionError")


def test_a_line_with_a_hint_where_it_will_be_hours():
    short = Outlook([StageTime("start", 5, ""), StageTime("lora", math.nan, "")], "a test", "")
    assert short.line("laptop") == "about 5.0 s: start 5.0 s, lora unknown (a test)"
    long = Outlook([StageTime("lora", 30 * 3600, "")], "a test", "")
    for size, smaller in (("paper", "gpu"), ("gpu", "laptop"), ("laptop", "demo")):
        assert f"about 30 h: lora 30 h (a test); for less, take a smaller size (--params=size={smaller})" in (
            long.line(size)
        )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2, "0.2 s"),
        (8, "8.0 s"),
        (99, "99 s"),
        (110, "1.8 min"),
        (840, "14 min"),
        (8000, "2.2 h"),
        (360000, "100 h"),
    ],
)
def test_durations_in_words(value, text):
    assert in_words(value) == text


def test_an_h100_takes_as_long_as_it_took():
    """LLaMA-13B's shape and the paper's VQ-VAE, measured on one; 51 and 778 TFLOP/s in large products."""
    llama, tokens, pace = LLMShape(5120, 13824, 40, 5120, 32000), Tokens(6, 16, 7, 4.9, 219), estimate.GPU
    for clips, measured in ((4, 15.5), (16, 57), (64, 155)):
        arithmetic = lora_step(llama, AdapterConfig(), tokens, clips) / (pace.lora["bfloat16"] * 778e12)
        step = max(arithmetic, 40 * pace.lora_layer)
        assert clips / step == pytest.approx(measured, rel=0.3)
    scored = 8 * scoring(llama, tokens) / (pace.score * 51e12) + 40 * pace.score_layer
    assert 8 / scored == pytest.approx(6.2, rel=0.3)
    needed = vqvae_step(VQVAEConfig(code_dim=5120), Body(NTU25, 2), 256)
    assert max(needed / (pace.vqvae * 51e12), pace.vqvae_step) == pytest.approx(0.0432, rel=0.3)
