"""What happens around a run: checks before it, MLflow tracking during it, the result printed after it."""

import logging
import os
from pathlib import Path
from typing import Any

import click
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractDataset, MemoryDataset

from llmar_pipeline.code_digest import CODE, changed_modules, code_of
from llmar_pipeline.errors import UserError
from llmar_pipeline.files import read_fingerprint
from llmar_pipeline.io import tracking
from llmar_pipeline.io.known_names import check_read
from llmar_pipeline.io.known_places import remember
from llmar_pipeline.io.run_names import leaves
from llmar_pipeline.language.llm_name import llm_name

logger = logging.getLogger(__name__)


class PreflightHook:
    """Says which size a run has, and finds what would stop it before any work is done."""

    def __init__(self) -> None:
        self._loader: Any = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Remember the configuration the run is made of."""
        self._loader = context.config_loader

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        """Check that the folders can be written, the inputs exist, and the LLM can be had.

        Raises:
            UserError: whatever is missing, and what to do.
        """
        if self._loader.size_note:
            click.echo(self._loader.size_note)
        check_read(self._loader["parameters"], _all_inputs())
        _check_inputs(pipeline, catalog)
        _check_outputs(pipeline, catalog)
        if "recordings" in pipeline.all_outputs():
            remember(self._loader["globals"]["data_dir"], self._loader.places.values())
        _tell_of_new_recordings(pipeline, catalog)
        _tell_of_other_code(pipeline, catalog)
        if "params:llm" in pipeline.inputs():
            from llmar_pipeline.language.llm import check_llm
            from llmar_pipeline.vqvae.config import VQVAEConfig

            vqvae = VQVAEConfig.model_validate(catalog.load("parameters")["vqvae"])
            training = "params:lora_training" in pipeline.inputs()
            if training or vqvae.reads_words or vqvae.reads_names:
                adapter = catalog.load("params:lora") if training else None
                check_llm(catalog.load("params:llm"), catalog.load("llm_cache"), vqvae.code_dim, adapter)
        _tell_how_long(pipeline, self._loader)


class TrackingHook:
    """Every `kedro run` is one MLflow run: parameters, tags, live curves, metrics, artifacts."""

    def __init__(self) -> None:
        self._config: dict[str, Any] = {}
        self._globals: dict[str, Any] = {}
        self._parameters: dict[str, Any] = {}
        self._catalog: Any = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Remember the configuration the run is made of."""
        self._config = context.config_loader["mlflow"]
        self._globals = dict(context.config_loader["globals"])
        self._parameters = context.config_loader["parameters"]

    @hook_impl(trylast=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        """Open the MLflow run."""
        self._catalog = catalog
        g = self._globals
        names = ("dataset", "protocol", "experiment", "size", "unseen", "fold", "run")
        tags = {key: str(g[key]) for key in names}
        pipelines = ",".join(run_params["pipeline_names"] or ["full"])
        tags |= {
            "pipeline": pipelines,
            "git_revision": tracking.git_revision(),
            "language_model": llm_name(self._parameters["llm"]["model"]),
        }
        if parent := os.environ.get("LLMAR_PARENT_RUN"):  # set by `kedro ablations`
            tags["mlflow.parentRunId"] = parent
        uri = tracking.store_uri(self._config)
        run = tracking.TrackedRun.start(uri, g["dataset"], f"{g['protocol']} {g['run']} {pipelines}", tags)
        run.log_params(leaves(self._parameters))
        tracking.set_current(run)

    @hook_impl
    def before_node_run(self, node: Any) -> None:
        """Say which stage is at work."""
        logger.info("%s", node.name)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Any) -> None:
        """Log what the catalog marks with `metadata: {mlflow: metrics}` or `{mlflow: artifact}`."""
        run = tracking.current()
        dataset = self._catalog.get(dataset_name)
        kind = (getattr(dataset, "metadata", None) or {}).get("mlflow")
        if run is None or kind is None:
            return
        if kind == "metrics":
            run.log_metrics({k: v for k, v in data.items() if isinstance(v, int | float)})
        if (file := _file(dataset, saved=True)) is not None:
            run.log_artifact(file)

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], run_result: Any, pipeline: Any, catalog: Any
    ) -> None:
        """Close the MLflow run and print the result where there is one."""
        self._end("FINISHED")
        if "summary" in pipeline.outputs():
            click.echo(catalog.load("summary"))

    @hook_impl
    def on_pipeline_error(self, error: Exception, run_params: Any, pipeline: Any, catalog: Any) -> None:
        """Close the MLflow run as failed."""
        self._end("FAILED")

    def _end(self, status: str) -> None:
        run = tracking.current()
        if run is not None:
            run.end(status)
        tracking.set_current(None)


def _tell_of_new_recordings(pipeline: Any, catalog: Any) -> None:
    """Say it where all is read anew beside what was read before: nobody expects it after a renaming."""
    place = _file(catalog.get("recordings")) if "recordings" in pipeline.all_outputs() else None
    if place is None:
        return
    folder = place.parent
    others = sorted(path.name for path in folder.parent.glob("recordings*") if path.is_dir())
    if others and folder.name not in others:
        logger.warning(
            "other recordings, or other settings of their reading, than in %s: all is made again, in folders "
            "of their own (%s)", ", ".join(others), folder.name,
        )  # fmt: skip


def _tell_of_other_code(pipeline: Any, catalog: Any) -> None:
    """Say it where a model that is only read here was trained by other code than that of today."""
    for model, checkpoints, module, stage in (
        ("vqvae_model", "vqvae_checkpoints", "vqvae.train", "stage1"),
        ("recognizer_model", "lora_checkpoints", "language.lora", "lora"),
    ):
        known = read_fingerprint(catalog.load(checkpoints)) if model in pipeline.inputs() else None
        if known and (changed := changed_modules(known.get(CODE, {}), code_of(module))):
            logger.warning(
                "%s was trained by other code (%s); `kedro run --pipelines=%s` trains it again",
                model, ", ".join(changed), stage,
            )  # fmt: skip


def _tell_how_long(pipeline: Any, loader: Any) -> None:
    """One line before a run that takes its time."""
    from llmar_pipeline.pipeline_registry import stages

    names = {node.name.split(".")[0] for node in pipeline.nodes}
    if names & {"vqvae", "tokenization", "lora", "evaluation"}:
        from llmar_pipeline.estimate.outlook import outlook

        selection = dict(loader["globals"])
        cache = Path(selection["llm_cache"])
        seen = outlook(selection, loader["parameters"], cache, [name for name in stages() if name in names])
        click.echo(seen.line(selection["size"]))


def _all_inputs() -> set[str]:
    """What any pipeline reads, not this run's alone."""
    from llmar_pipeline.pipeline_registry import register_pipelines

    return set().union(*(made.inputs() for made in register_pipelines().values()))


def _check_inputs(pipeline: Any, catalog: Any) -> None:
    """Datasets that an earlier pipeline should have written."""
    from llmar_pipeline.pipeline_registry import stages

    for name in sorted(pipeline.inputs()):
        dataset = catalog.get(name, fallback_to_runtime_pattern=True)
        unable = type(dataset)._exists is AbstractDataset._exists  # it cannot say whether it is there
        if name.startswith("param") or unable or dataset.exists():
            continue
        if isinstance(dataset, MemoryDataset):
            raise UserError(
                f"expected the dataset {name} in the catalog, saw it kept in memory by the run that made it: "
                "give it an entry in conf/base/catalog, or make it in the same run"
            )
        maker = next((stage for stage, made in stages().items() if name in made.all_outputs()), None)
        what_to_do = (
            f"run `kedro run --pipelines={maker}` first, with the same --env and --params"
            if maker
            else "put it there, or correct its entry in the catalog"
        )
        raise UserError(f"{name} ({_file(dataset) or dataset}) does not exist: {what_to_do}")


def _check_outputs(pipeline: Any, catalog: Any) -> None:
    """The nearest existing folder of every output must take a new file."""
    outputs = pipeline.all_outputs() - {"raw_recordings"}  # only read, and maybe from a read-only place
    files = (_file(catalog.get(name)) for name in outputs)
    for folder in sorted({file.parent for file in files if file is not None}):
        probe = folder / ".write_test"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"\0" * 65536)
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"cannot write {folder}: {error.strerror}; free some space or choose another output folder "
                "with --params=data_dir=<folder>"
            ) from error


def _file(dataset: Any, saved: bool = False) -> Path | None:
    """Where a dataset lies on this machine.

    Args:
        dataset: Of the catalog; None where it is not in it, and so in memory.
        saved: Of a versioned one, the version that was just saved, not the folder of all.

    Returns:
        None for one in memory, elsewhere than on this machine, or that does not say.
    """
    path = getattr(dataset, "_filepath", None)
    if path is None or getattr(dataset, "_protocol", "file") != "file":
        return None
    version = dataset.resolve_save_version() if saved and hasattr(dataset, "resolve_save_version") else None
    return Path(path, version, Path(path).name) if version else Path(path)
