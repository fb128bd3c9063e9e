"""A trained model as one of MLflow's: logged once, registered, loaded, and served by MLflow's own server."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import yaml
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import load_model
from mlflow.tracking import MlflowClient

from llmar_pipeline.io import mlflow_store, pyfunc_model, tracking, untracked
from llmar_pipeline.io.pyfunc_model import input_example
from llmar_pipeline.io.tracking import TrackedRun
from llmar_pipeline.recognizer import Recognizer

NAME = "demo-xsub-tiny"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A project's folder with a database."""
    folder = tmp_path_factory.mktemp("project")
    mlflow_store._make_database(folder / "mlflow.db", str(folder / "mlruns"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # where MLflow puts what is logged
        yield folder


@pytest.fixture(scope="module")
def uri(store):
    return f"sqlite:///{store}/mlflow.db"


def track(store, uri, folder, name=NAME, experiment="demo"):
    run = TrackedRun.start(uri, experiment, "a run", {}, store / "kept")
    run.registered = name
    run.log_model(folder)
    run.end("FINISHED")
    return run


@pytest.fixture(scope="module")
def logged(store, uri, tiny_recognizer_folder):
    """The folder of the model in the store, as its first version."""
    run = track(store, uri, tiny_recognizer_folder)
    assert not (store / "kept").exists()
    client = MlflowClient(uri)
    version = client.get_model_version(NAME, "1")
    assert client.get_run(run.run_id).data.tags["registered_model"] == f"models:/{NAME}/1"
    assert (version.run_id, version.status) == (run.run_id, "READY")
    return Path(client.get_model_version_download_uri(NAME, "1"))


@pytest.fixture(scope="module")
def model(logged):
    return load_model(str(logged))


def test_it_is_folders_with_signature_example_and_licences(logged, tiny_recognizer_folder):
    names = {path.relative_to(logged).as_posix() for path in logged.rglob("*") if path.is_file()}
    assert "recognizer/recognizer.json" in names
    assert "code/llmar_pipeline/recognizer.py" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".bin", ".pyc"))]
    described = yaml.safe_load((logged / "MLmodel").read_text())
    assert {column["name"] for column in json.loads(described["signature"]["inputs"])} == {
        "keypoints",
        "file",
        "name",
    }
    licences = described["metadata"]["licences"]
    assert licences["code"] == "Apache-2.0"
    assert "cite: A. Shahroudy" in licences["recordings of ntu60"]
    assert len(licences) == 3
    assert "torch==" in (logged / "requirements.txt").read_text()
    assert json.loads((logged / "serving_input_example.json").read_text()) == input_example(
        tiny_recognizer_folder
    )


def test_its_answers_are_those_of_the_recogniser(model, tiny_recognizer_folder, tmp_path):
    recognizer = Recognizer.load(tiny_recognizer_folder, cache=tmp_path)
    example = input_example(tiny_recognizer_folder)
    [answer] = model.predict(example["inputs"], params=example["params"])
    expected = recognizer.predict(np.array(example["inputs"][0]["keypoints"]), top_k=3)
    assert (tuple(answer["names"]), answer["sentence"]) == (expected.names, expected.sentence)
    [answer] = model.predict(example["inputs"], params={"classes": ["jump", "fall"]})
    assert sorted(answer["names"]) == ["fall", "jump"]


def test_what_is_wrong_is_400_and_a_fault_is_500_without_a_trace(model, monkeypatch):
    with pytest.raises(MlflowException, match=r"inputs\.0: expected keypoints or file, saw none") as caught:
        model.predict([{"name": "a"}])
    assert caught.value.get_http_status_code() == 400
    monkeypatch.setattr(Recognizer, "predict_all", lambda *_: 1 / 0)
    with pytest.raises(MlflowException, match="the server's log says why") as caught:
        model.predict([{"keypoints": np.ones((1, 2, 25, 3)).tolist()}])
    assert caught.value.get_http_status_code() == 500


def test_a_model_is_registered_once_and_another_is_its_next_version(
    store, uri, logged, tiny_recognizer_folder, tmp_path
):
    client = MlflowClient(uri)
    again = track(store, uri, tiny_recognizer_folder)
    assert client.get_run(again.run_id).data.tags["registered_model"] == f"models:/{NAME}/1"
    assert len(list((store / "mlruns").glob("*/models/*"))) == 1
    other = shutil.copytree(tiny_recognizer_folder, tmp_path / "other")
    (other / "recognizer.json").write_text((other / "recognizer.json").read_text() + " ")
    track(store, uri, other)
    assert [version.version for version in client.search_model_versions(f"name = '{NAME}'")] in (
        ["2", "1"],
        [2, 1],
    )


def test_a_large_model_is_logged_by_its_place(store, uri, tiny_recognizer_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pyfunc_model, "LARGE", 0)
    folder = shutil.copytree(tiny_recognizer_folder, tmp_path / "large")
    track(store, uri, folder, "large", "of its own")
    there = MlflowClient(uri).get_model_version_download_uri("large", "1")
    assert not list(Path(there).rglob("*.safetensors"))
    assert load_model(there).predict(input_example(folder)["inputs"])[0]["names"]
    (folder / "recognizer.json").write_text((folder / "recognizer.json").read_text() + " ")
    with pytest.raises(Exception, match="expected the model that was logged, saw another one"):
        load_model(there)


def test_a_run_of_a_grid_logs_its_model_without_a_name(store, uri, tiny_recognizer_folder):
    before = {model.name for model in MlflowClient(uri).search_registered_models()}
    run = track(store, uri, tiny_recognizer_folder, None)
    client = MlflowClient(uri)
    assert {model.name for model in client.search_registered_models()} == before
    [output] = client.get_run(run.run_id).outputs.model_outputs
    assert client.get_logged_model(output.model_id).status == "READY"
    [again] = client.get_run(track(store, uri, tiny_recognizer_folder, None).run_id).outputs.model_outputs
    assert again.model_id == output.model_id  # it is not copied twice


def test_what_cannot_be_logged_is_kept_and_delivered(
    store, uri, tiny_recognizer_folder, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", full)
        run = TrackedRun.start(uri, "full disk", "a run", {}, tmp_path / "kept")
        run.registered = "later"
        run.log_model(tiny_recognizer_folder)
        run.end("FINISHED")
    [journal] = (tmp_path / "kept").glob("*.jsonl")
    assert '"registered": "later"' in journal.read_text()
    untracked.deliver(journal, MlflowClient(uri))
    assert not journal.exists()
    assert MlflowClient(uri).get_model_version("later", "1").run_id == run.run_id


def test_models_move_with_their_database(store, logged, tmp_path, monkeypatch):
    moved = shutil.copytree(store, tmp_path / "moved")
    monkeypatch.chdir(moved)
    client = mlflow_store.open_store(f"sqlite:///{moved}/mlflow.db?moved")
    there = Path(client.get_model_version_download_uri(NAME, "1"))
    assert there.is_relative_to(moved)
    assert (there / "MLmodel").is_file()
    [output] = client.get_run(client.get_model_version(NAME, "1").run_id).outputs.model_outputs
    assert Path(client.get_logged_model(output.model_id).artifact_location).is_relative_to(moved)


def test_the_recogniser_of_a_run_is_told_of_as_a_model(tiny_recognizer_folder, monkeypatch):
    said = []
    run = TrackedRun("sqlite://", {}, Path("journal"))
    monkeypatch.setattr(run, "_tell", said.append)
    monkeypatch.setattr(tracking, "_current", run)
    dataset = type("Dataset", (), {"metadata": {"mlflow": "artifact"}})()
    tracking.tell("recognizer_model", dataset, tiny_recognizer_folder)
    assert {"artifact": str(tiny_recognizer_folder), "registered": None} in said


@pytest.mark.slow
def test_mlflows_own_server_answers_over_http(store, uri, logged, tiny_recognizer_folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "models",
        "serve",
        "-m",
        f"models:/{NAME}/1",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "--env-manager",
        "local",
    ]
    bin_folder = Path(sys.executable).parent
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": uri,
        "PATH": os.pathsep.join([str(bin_folder), os.environ["PATH"]]),
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command], env=environment, cwd=store, start_new_session=True
    )
    try:
        ends = time.monotonic() + 240
        while time.monotonic() < ends:
            try:
                with urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                    break
            except (URLError, OSError):
                assert server.poll() is None
                time.sleep(0.5)
        asked = Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps(input_example(tiny_recognizer_folder)).encode(),
            {"Content-Type": "application/json"},
        )
        with urlopen(asked, timeout=120) as response:
            [answer] = json.load(response)["predictions"]
        assert len(answer["names"]) == len(answer["probabilities"]) == 3
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
