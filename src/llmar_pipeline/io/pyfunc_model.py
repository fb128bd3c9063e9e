"""A trained recogniser as a model of MLflow's: folders, no pickle; logged once, and registered by name."""

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import TypeAdapter

from llmar_pipeline import code_digest
from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.errors import UserError
from llmar_pipeline.files import file_checksum
from llmar_pipeline.io.serving import answer_all
from llmar_pipeline.language.llm_cache import llm_cache
from llmar_pipeline.language.llm_name import llm_licence
from llmar_pipeline.language.model_folder import trained_llm
from llmar_pipeline.recognition.request import Limits, read_recordings, request_of
from llmar_pipeline.recognizer import Recognizer
from llmar_pipeline.recognizer_folder import MANIFEST, VQVAE_FOLDER, check_recognizer
from llmar_pipeline.skeletons.topology import Body

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)

LARGE = 2**30  # bytes; of a larger model, as with all weights tuned, MLflow gets its place and no copy
_NEEDED = (
    *("mlflow", "torch", "transformers", "peft", "safetensors", "accelerate", "numpy", "pandas", "scipy"),
    *("pydantic", "platformdirs", "psutil", "numba", "joblib", "tqdm", "pyyaml", "click", "gguf"),
)
_FOLDER, _CODE, _PYTHON, _EXAMPLE = "recognizer", "code", "python_env.yaml", "serving_input_example.json"
_CHECKSUM = "llmar.recognizer_sha256"


class PyfuncModel:
    """What MLflow calls: rows of recordings in, answers out."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer

    def predict(
        self, model_input: "pd.DataFrame", params: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Recognise the recordings of a table.

        Args:
            model_input: Columns as the attributes of `request.Recording`.
            params: As the attributes of `request.Params`.

        Raises:
            MlflowException: With one line: status 400 for what is wrong with the request, else 500.
        """
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

        rows = [{key: value for key, value in row.items() if _is_there(value)} for row in _rows(model_input)]
        chosen = (
            {"top_k": int(params["top_k"]), "classes": list(map(str, params["classes"]))} if params else {}
        )
        try:
            wanted = request_of({"inputs": rows, "params": chosen})
            sequences = list(read_recordings(wanted, self._recognizer.read, Limits()))
            answers = answer_all(self._recognizer, sequences, wanted.classes, wanted.params.top_k)
        except UserError as error:
            raise MlflowException(error.message, INVALID_PARAMETER_VALUE) from error
        except Exception as error:
            logger.exception("the model failed")
            raise MlflowException("the model failed at this request; the server's log says why") from error
        return [answer.as_dict() for answer in answers]


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> PyfuncModel:
    """Called by MLflow with the model's folder, and what `model_config` says at logging or at loading."""
    config = model_config or {}
    folder = Path(config.get("place") or Path(path, _FOLDER))
    recognizer = Recognizer.load(folder, llm=config.get("llm"))
    if file_checksum(folder / MANIFEST) != config.get(_CHECKSUM):
        raise UserError(f"expected the model that was logged, saw another one in {folder}; restore it")
    return PyfuncModel(recognizer)


def log_model(client: "MlflowClient", run_id: str, folder: Path, registered: str | None) -> None:
    """Log a trained model with a run, and register it; one that is registered already is only named.

    Args:
        client: Of the store.
        run_id: The run that made it, or found it made.
        folder: Of the trained model. Its language model is no part of it and stays where it is.
        registered: Name to register it under; None does not.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    checksum = file_checksum(folder / MANIFEST)
    if registered is not None and (known := _known_version(client, registered, checksum)):
        client.set_tag(run_id, "registered_model", f"models:/{registered}/{known}")
        return
    experiment = client.get_run(run_id).info.experiment_id
    for found in client.search_logged_models([experiment], f"tags.`{_CHECKSUM}` = '{checksum}'"):
        if found.status == LoggedModelStatus.READY:  # of an earlier run that made or found it
            client.log_outputs(run_id, [LoggedModelOutput(found.model_id, 0)])
            if registered is not None:
                _register(client, run_id, found.model_id, registered, checksum)
            return
    large = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) > LARGE
    config = {"llm": None, "place": str(folder) if large else None, _CHECKSUM: checksum}
    tags = {_CHECKSUM: checksum}
    model_id = client.create_logged_model(experiment, _FOLDER, source_run_id=run_id, tags=tags).model_id
    try:
        with tempfile.TemporaryDirectory(prefix="llmar-") as place:
            _describe(Path(place), folder, model_id, run_id, config)
            client.log_model_artifacts(model_id, place)
        if not large:
            client.log_model_artifacts(model_id, str(folder), _FOLDER)
    except BaseException:
        client.finalize_logged_model(model_id, "FAILED")
        raise
    client.finalize_logged_model(model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
    if registered is not None:
        _register(client, run_id, model_id, registered, checksum)


def _describe(place: Path, folder: Path, model_id: str, run_id: str, config: Mapping[str, Any]) -> None:
    """Write what MLflow wants beside the model: `MLmodel`, requirements, an example, and our code."""
    import mlflow.pyfunc
    from mlflow.models import Model

    example = {"artifact_path": _EXAMPLE, "type": "json_object", "serving_input_path": _EXAMPLE}
    model = Model(
        model_id=model_id,
        run_id=run_id,
        signature=signature(),
        saved_input_example_info=example,
        metadata={"licences": licences(folder)},
    )
    mlflow.pyfunc.add_to_model(
        model, loader_module=__name__, code=_CODE, python_env=_PYTHON, model_config=dict(config)
    )
    model.save(str(place / "MLmodel"))
    (place / _EXAMPLE).write_text(json.dumps(input_example(folder)), encoding="utf-8")
    requirements = "".join(f"{name}=={found}\n" for name in _NEEDED if (found := _version(name)))
    (place / "requirements.txt").write_text(requirements, encoding="utf-8")
    python = {"python": python_version(), "dependencies": ["-r requirements.txt"]}
    (place / _PYTHON).write_text(yaml.safe_dump(python), encoding="utf-8")
    ours = code_digest.root()
    shutil.copytree(ours, place / _CODE / ours.name, ignore=shutil.ignore_patterns("__pycache__"))


def signature() -> "ModelSignature":
    """What `request.Request` says, as MLflow says it."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Array

    numbers = AnyType()  # lists of lists with nulls in them have no name in MLflow's types
    inputs = Schema(
        [
            ColSpec(numbers, "keypoints", required=False),
            ColSpec(DataType.string, "file", required=False),
            ColSpec(DataType.string, "name", required=False),
        ]
    )
    outputs = Schema(
        [
            ColSpec(DataType.string, "clip"),
            ColSpec(Array(DataType.string), "names"),
            ColSpec(Array(DataType.double), "probabilities"),
            ColSpec(DataType.double, "bound"),
            ColSpec(DataType.boolean, "none_of_these"),
            ColSpec(Array(DataType.long), "codes"),
            ColSpec(DataType.string, "sentence"),
        ]
    )
    params = [ParamSpec("top_k", DataType.long, 5), ParamSpec("classes", DataType.string, [], shape=(-1,))]
    return ModelSignature(inputs, outputs, ParamSchema(params))


def input_example(folder: Path) -> dict[str, Any]:
    """A request of one made-up recording of the model's body, two frames long."""
    config = json.loads((folder / VQVAE_FOLDER / "config.json").read_text(encoding="utf-8"))
    topology = TypeAdapter(Body).validate_python(config["body"]).topology
    joints, axes = range(len(topology.joints)), range(topology.coordinates)
    frames = [
        [[0.1 * joint + 0.01 * frame + 0.02 * axis for axis in axes] for joint in joints]
        for frame in range(2)
    ]
    return {"inputs": [{"keypoints": [frames]}], "params": {"top_k": 3}}


def licences(folder: Path) -> dict[str, str]:
    """The licences of a trained model's parts, as far as they are known here.

    Args:
        folder: Of the trained model.
    """
    llm, corpus = trained_llm(folder), CORPORA[check_recognizer(folder).corpus]
    return {
        "code": "Apache-2.0",
        f"language model {llm.model}": llm_licence(llm, llm_cache(tempfile.gettempdir())),
        f"recordings of {corpus.name}": f"the terms of their owners; cite: {corpus.citation}",
    }


def _known_version(client: "MlflowClient", name: str, checksum: str) -> str | None:
    """The version of a registered model that is this very one."""
    for found in client.search_model_versions(f"name = '{name}'"):
        if found.tags.get(_CHECKSUM) == checksum:
            return str(found.version)
    return None


def _register(client: "MlflowClient", run_id: str, model_id: str, name: str, checksum: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # A database would look the model up in the store of the process's environment, which may be another one.
    location, remote = (
        client.get_logged_model(model_id).artifact_location,
        client.tracking_uri.startswith("http"),
    )
    source = f"models:/{model_id}" if remote else location
    made = client.create_model_version(name, source, run_id, tags={_CHECKSUM: checksum}, model_id=model_id)
    client.set_tag(run_id, "registered_model", f"models:/{name}/{made.version}")


def _rows(table: "pd.DataFrame") -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _is_there(value: Any) -> bool:
    """Whether a cell holds something: tables fill up with NaN."""
    return value is not None and value == value


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
