"""The size of a run that names none."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmar_pipeline import machine
from llmar_pipeline.errors import UserError
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.language import llm
from llmar_pipeline.settings import CONFIG_LOADER_ARGS


@pytest.fixture
def load(tmp_path, project):
    def loaded(env="nwucla", **runtime):
        runtime = {"data_dir": str(tmp_path / "data"), **runtime}
        return StackedConfigLoader(str(project / "conf"), env, runtime, **CONFIG_LOADER_ARGS)

    return loaded


@pytest.fixture
def here(monkeypatch):
    """Sets what the machine has."""

    def machine_with(gpu=None, unused=False, model=False):
        monkeypatch.setattr(machine, "gpu", lambda: gpu)
        monkeypatch.setattr(machine, "unused_gpu", lambda: unused)
        monkeypatch.setattr(llm, "is_here", lambda name, revision: model and name == "huggyllama/llama-13b")

    return machine_with


def trained(folder: Path, run: str, time: int) -> None:
    file = folder / "data/06_models/nwucla/xview" / run / "vqvae_checkpoints/checkpoint-1/model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    os.utime(file, (time, time))


@pytest.mark.parametrize(
    ("has", "size", "why"),
    [
        ({}, "laptop", "since torch sees no GPU here;"),
        ({"unused": True}, "laptop", "though there is an NVIDIA GPU: this torch is built without CUDA;"),
        ({"gpu": ("a GPU", 24.0), "model": True}, "gpu", "since a GPU has 24 GiB, and paper needs 64;"),
        ({"gpu": ("a GPU", 79.1)}, "gpu", "a GPU is here, but not the language model of size paper;"),
        (
            {"gpu": ("a GPU", 79.1), "model": True},
            "paper",
            "a GPU has 79 GiB, and the language model is here;",
        ),
    ],
)
def test_the_largest_that_the_machine_can_do(load, here, has, size, why):
    here(**has)
    loader = load()
    assert loader["globals"]["size"] == size
    assert loader["globals"]["run"] == f"llm_ar-{size}"
    assert why in loader.size_note
    assert re.search(r"another: --params=size=[a-z|]+$", loader.size_note)


def test_another_language_model_is_looked_for_in_place_of_llama(load, here, monkeypatch):
    here(gpu=("a GPU", 79.1))
    monkeypatch.setattr(llm, "is_here", lambda name, revision: name == "/a/folder")
    assert load(llm={"model": "/a/folder"})["globals"]["size"] == "paper"
    assert load(llm={"model": "/b/folder"})["globals"]["size"] == "gpu"


def test_a_run_that_goes_on_takes_the_size_that_lies_there(load, here, tmp_path):
    here(gpu=("a GPU", 24.0))
    (tmp_path / "data/06_models/nwucla/xview/llm_ar-paper").mkdir(parents=True)  # where nothing was trained
    trained(tmp_path, "llm_ar-laptop", 1)
    assert load()["globals"]["size"] == "laptop"
    assert "llm_ar-laptop; another" in load().size_note
    assert load(experiment="euclidean")["globals"]["size"] == "gpu"
    trained(tmp_path, "llm_ar-demo", 2)
    loader = load()
    assert loader["globals"]["size"] == "demo"
    assert "worked on last of those in" in loader.size_note
    assert "llm_ar-demo, llm_ar-laptop; another: --params=size=gpu|laptop" in loader.size_note
    assert load(size="gpu").size_note == ""
    trained(tmp_path, load(size="laptop", vqvae={"codes": 64}, unseen=3)["globals"]["run"], 3)
    assert load(vqvae={"codes": 64}, unseen=3)["globals"]["size"] == "laptop"
    assert load(vqvae={"codes": 32}, unseen=3)["globals"]["size"] == "gpu"


def test_all_runs_of_a_table_have_the_size_of_the_first(load, here, tmp_path, capsys):
    from llmar_pipeline.command_line.options import of_one_size

    here()
    trained(tmp_path, "euclidean-demo", 1)
    assert of_one_size({}, lambda chosen: load(**chosen)) == {"size": "laptop"}
    assert capsys.readouterr().out.startswith("size: laptop, since torch sees no GPU")
    chosen = of_one_size({"unseen_seed": 1}, lambda chosen: load(**chosen), experiment="euclidean")
    assert chosen == {"unseen_seed": 1, "size": "demo"}


def test_auto_is_among_the_choices(load):
    with pytest.raises(UserError, match="unknown size 'lapto': choose one of auto, demo, gpu, laptop"):
        load(size="lapto")


def test_torch_is_not_imported_where_a_size_lies_there(load, tmp_path, project):
    trained(tmp_path, "llm_ar-laptop", 1)
    code = (
        "import sys\nfrom llmar_pipeline.io.config_loader import StackedConfigLoader\n"
        "from llmar_pipeline.settings import CONFIG_LOADER_ARGS\n"
        f"params = {{'data_dir': {str(tmp_path / 'data')!r}}}\n"
        "loader = StackedConfigLoader('conf', 'nwucla', params, **CONFIG_LOADER_ARGS)\n"
        "print(loader['globals']['size'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert done.stdout.strip() == "laptop False", done.stderr


def test_weights_are_here_only_if_all_of_them_are(tiny_llm_folder, tmp_path):
    assert llm.is_here("smollm2")
    assert llm.is_here(str(tiny_llm_folder))
    copy = shutil.copytree(tiny_llm_folder, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors.index.json").write_text('{"weight_map": {"a": "1.safetensors"}}')
    assert not llm.is_here(str(copy))
    assert not llm.is_here("nobody/no-such-model")
    assert not llm.is_here("/no/such/folder")
