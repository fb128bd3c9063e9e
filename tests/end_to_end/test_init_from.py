"""Both stages started from a trained model: of other classes, by the real command."""

import shutil
from pathlib import Path

import pytest

from llmar_pipeline.vqvae.model import VQVAE


@pytest.fixture(scope="module")
def first(workplace, kedro):
    code, output = kedro("--pipelines=stage1,stage2", data="first", unseen=2)
    assert code == 0, output
    (folder,) = (workplace.folder / "first" / "06_models").rglob("recognizer")
    return folder


def runs(workplace):
    return sorted((workplace.folder / "data/06_models/demo/xsub").glob("llm_ar-tiny*"))


def test_a_training_starts_from_it_and_begins_anew_when_it_changes(workplace, kedro, first, caplog):
    few = {"vqvae_training__max_steps": 1, "lora_training__max_steps": 1, "shots": 2}
    few |= {"vqvae_training__learning_rate": 1e-9, "init_from": first}
    code, output = kedro("--pipelines=full", **few)
    assert code == 0, output
    assert f"starting from {first / 'vqvae'}" in caplog.text
    (run,) = runs(workplace)
    old, new = (VQVAE.load(folder / "vqvae") for folder in (first, run))
    moved = new.encoder[0][0].weight - old.encoder[0][0].weight
    assert moved.abs().max() < 1e-6 < old.encoder[0][0].weight.abs().max()
    caplog.clear()
    assert kedro("--pipelines=full", **few)[0] == 0
    assert "train_vqvae" not in caplog.text
    code, output = kedro("--pipelines=stage1,stage2", data="first", unseen=2, vqvae_training__max_steps=13)
    assert code == 0, output
    longer = next(
        path for path in (workplace.folder / "first/06_models").rglob("recognizer") if path != first
    )
    shutil.rmtree(first)
    shutil.copytree(longer, first)
    code, output = kedro("--pipelines=full", **few)
    assert code == 0, output
    assert "initial.weights changed" in caplog.text
    assert runs(workplace) == [run]
    now = VQVAE.load(run / "vqvae")
    assert (now.encoder[0][0].weight - VQVAE.load(longer / "vqvae").encoder[0][0].weight).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "expected the folder of a trained recogniser"),
        ({"vqvae.width": 8}, "init_from: expected a VQ-VAE with vqvae.width=8, saw 16"),
        ({"unseen": 2, "unseen_seed": 1}, "init_from: expected a model that was not trained on the unseen"),
        ({"lora.rank": 2}, "init_from: expected lora.rank=2, saw 4"),
    ],
)
def test_what_does_not_fit_is_refused(workplace, kedro, first, given, message):
    folder, params = (Path(given), {}) if isinstance(given, str) else (first, given)
    code, output = kedro("--pipelines=full", data="other", init_from=folder, **params)
    assert code == 1
    assert message in output.replace("\n", " ")


def test_a_run_does_not_start_from_itself(workplace, kedro, first):
    own = workplace.folder / "data/06_models/demo/xsub/own-tiny/recognizer"
    (workplace.conf / "experiments" / "own.yml").write_text(f"from: llm_ar\ninit_from: {own}\n")
    shutil.copytree(first, own)
    code, output = kedro("--pipelines=full", experiment="own")
    assert code == 1
    assert "expected the model of another run, saw" in output.replace("\n", " ")
