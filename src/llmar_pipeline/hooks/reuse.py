"""Nodes whose outputs were made from the same before are not run again, nor is what they need imported."""

import functools
import hashlib
import json
import logging
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner
from kedro.runner.runner import AbstractRunner
from pydantic import BaseModel

from llmar_pipeline import code_digest
from llmar_pipeline.checks.datasets import place_of, recorded_place
from llmar_pipeline.errors import UserError
from llmar_pipeline.io import tracking
from llmar_pipeline.io.folder_dataset import FolderDataset
from llmar_pipeline.records import checksums, read_sealed, write_sealed

logger = logging.getLogger(__name__)

_GOES_ON = {"vqvae_checkpoints", "lora_checkpoints", "kept_sentences", "evaluation_scores"}
"""Handles that hold what a killed node goes on from: they decide nothing."""
_TELLS = {
    "run": ("date", "revision"),
    "vqvae_training": ("processes",),
    "lora_training": ("processes",),
}
"""Parameters, and what in them says when and by how many a run was made, not what comes out."""
_MODELS = ("params:init_from",)
"""Parameters that name the folder of a trained model, whose manifest seals all that is read of it."""


class ReusingRunner(SequentialRunner):
    """Kedro's sequential runner, which passes over nodes whose outputs stand.

    What stands is decided by names, checksums and times that are on disk: neither a dataset nor a module that
    a node's function would import is loaded for it. Where anything is another than it was, if only a comment
    of the package, the node runs, and finds out itself how much of its work still counts.
    """

    _logger = logging.getLogger("kedro.runner")  # quiet, as that of Kedro's own runners

    def _run(
        self, pipeline: Pipeline, catalog: Any, hook_manager: Any = None, run_id: str | None = None
    ) -> None:
        for node in [] if idle() else pipeline.nodes:
            made_from = _made_from(node, catalog)
            if _stands(node, catalog, made_from):
                logger.info("%s: as made before", node.name)
                for name in node.outputs:
                    tracking.tell(name, catalog.get(name), place_of(catalog.get(name)))
                continue
            AbstractRunner._run(self, Pipeline([node]), catalog, hook_manager, run_id)
            _keep(node, catalog, made_from)
            _tree.cache_clear()


_idle = False


def look(pipeline: Pipeline, catalog: Any) -> bool:
    """Find out before a run of the command line whether it has nothing to do.

    Args:
        pipeline: What is to be run.
        catalog: Where its datasets lie.

    Source: ours.
    """
    global _idle
    _tree.cache_clear()
    _program.cache_clear()
    context = click.get_current_context(silent=True)
    ours = context is not None and "runner" in context.params and not context.params["runner"]
    nodes = [node for node in pipeline.nodes if set(node.outputs) != {"raw_recordings"}]  # they tell of it
    _idle = ours and all(_stands(node, catalog, _made_from(node, catalog)) for node in nodes)
    return _idle


def idle() -> bool:
    """Whether the run at work has nothing to do."""
    return _idle


def _stands(node: Any, catalog: Any, made_from: str | None) -> bool:
    """Whether all outputs of a node are what it wrote when it was given the same."""
    place = _place(node, catalog)
    if place is None or made_from is None:
        return False
    try:
        known = read_sealed(place)
    except (OSError, ValueError):
        return False
    return known == {"made_from": made_from, "outputs": _files(node.outputs, catalog)}


def _keep(node: Any, catalog: Any, made_from: str | None) -> None:
    """Write down what a node's outputs were made from, where all of that can be told."""
    place, outputs = _place(node, catalog), _files(node.outputs, catalog)
    if place is not None and outputs is not None and made_from is not None:
        write_sealed(place, {"made_from": made_from, "outputs": outputs}, indent=None)


def _place(node: Any, catalog: Any) -> Path | None:
    """The file, beside its first output, that says what a node's outputs were made from."""
    places = (recorded_place(catalog.get(name), saved=True) for name in node.outputs)
    first = next((place for place in places if place is not None), None)
    return None if first is None else first.with_name(f".{node.name}.made")


def _files(names: list[str], catalog: Any) -> dict[str, dict[str, str]] | None:
    """Checksums of the files of datasets; None where one has no record, or is not as it was written."""
    found = {}
    for name in names:
        dataset = catalog.get(name)
        place = recorded_place(dataset)
        if place is None:
            return None
        for path in (place, *getattr(dataset, "beside", ())):
            files = checksums(path)
            if files is None:
                return None
            found[f"{name} {path.name}"] = files
    return found


def _made_from(node: Any, catalog: Any) -> str | None:
    """Checksum of all that decides what a node makes; None where some of it cannot be told."""
    parameters = {name: _plain(name, catalog.get(name).load()) for name in node.inputs if _is_parameter(name)}
    datasets = [name for name in node.inputs if not _is_parameter(name) and name not in _GOES_ON]
    beside, recorded = [], []
    for name in datasets:
        dataset = catalog.get(name)
        if isinstance(dataset, FolderDataset) and not dataset.whole:
            try:
                beside.append([name, _tree(_read_folder(name, dataset.load(), parameters))])
            except (OSError, UserError):
                return None
        else:
            recorded.append(name)
    inputs = _files(recorded, catalog)
    if inputs is None:
        return None
    beside += [[name, _seal(Path(parameters[name]))] for name in _MODELS if parameters.get(name)]
    all_of_it = [node.name, _program(), parameters, beside, inputs]
    return hashlib.sha256(json.dumps(all_of_it, sort_keys=True).encode()).hexdigest()


def _read_folder(name: str, folder: Path, parameters: dict[str, Any]) -> Path:
    """The folder that is read where a handle leads.

    Raises:
        UserError: It is not known, or not on this machine.
    """
    if name == "raw_recordings":
        return folder
    if name != "llm_cache":
        raise UserError(f"expected to know what is read of {name}, saw a handle; name it in {__name__}")
    from llmar_pipeline.language.config import LLMConfig
    from llmar_pipeline.language.llm import local_folder

    llm = LLMConfig(**parameters["params:llm"])
    return local_folder(llm.model, folder, llm.revision)


def _seal(model: Path) -> str:
    """Digest of a trained model's manifest: what is added to the model later changes no training."""
    manifest = model / "recognizer.json"
    return hashlib.sha256(manifest.read_bytes() if manifest.is_file() else b"").hexdigest()


@functools.cache
def _tree(folder: Path) -> str:
    """Digest of names, sizes and times of change of all files below a folder."""
    digest = hashlib.sha256()
    for line in sorted(_stats(folder, frozenset())):
        digest.update(line)
    return digest.hexdigest()


def _stats(folder: Path, above: frozenset[str], prefix: str = "") -> Iterator[bytes]:
    real = os.path.realpath(folder)
    if real in above or not os.path.isdir(real):
        return
    with os.scandir(real) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _stats(Path(entry.path), above | {real}, f"{prefix}{entry.name}/")
            else:
                stat = entry.stat(follow_symlinks=entry.is_file())
                yield os.fsencode(f"{prefix}{entry.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n")


@functools.cache
def _program() -> str:
    """Digest of this package's files, and of which packages are installed in which versions."""
    root, digest = code_digest.root(), hashlib.sha256(platform.python_version().encode())
    for file in sorted(
        path for path in root.rglob("*") if path.is_file() and path.parent.name != "__pycache__"
    ):
        digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    for folder in sys.path:
        if os.path.isdir(folder):
            digest.update(
                "".join(sorted(name for name in os.listdir(folder) if name.endswith("-info"))).encode()
            )
    return digest.hexdigest()


def _is_parameter(name: str) -> bool:
    return name == "parameters" or name.startswith("params:")


def _plain(name: str, value: Any) -> Any:
    """A parameter as JSON has it, without what decides nothing."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        left_out = _TELLS.get(name.removeprefix("params:"), ())
        return {key: _plain(key, content) for key, content in value.items() if key not in left_out}
    if isinstance(value, list | tuple):
        return [_plain("", content) for content in value]
    return value if value is None or isinstance(value, str | int | float) else repr(value)
