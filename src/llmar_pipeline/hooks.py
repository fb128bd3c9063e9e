"""What happens around a run: checks before it, MLflow tracking during it, the result printed after it."""

import logging
import os
from pathlib import Path
from typing import Any, TextIO

import click
from kedro.framework.hooks import hook_impl

from llmar_pipeline.checks.datasets import output_folders, place_of, recorded_place
from llmar_pipeline.code_digest import CODE, changed_modules, code_of
from llmar_pipeline.errors import UserError
from llmar_pipeline.files import read_fingerprint
from llmar_pipeline.holders import hold
from llmar_pipeline.ingestion.survey import Survey
from llmar_pipeline.interruption import interruption
from llmar_pipeline.io import tracking
from llmar_pipeline.io.folder_dataset import FolderDataset
from llmar_pipeline.io.known_places import remember
from llmar_pipeline.io.run_names import leaves
from llmar_pipeline.language.llm_name import llm_name
from llmar_pipeline.records import announce, record

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
        """Examine it as `kedro doctor` does, and refuse at the first thing that is missing.

        Raises:
            UserError: whatever is missing, and what to do.
        """
        from llmar_pipeline.checks.examination import Examination  # imports PyTorch

        if self._loader.size_note:
            click.echo(self._loader.size_note)
        globals_, parameters = dict(self._loader["globals"]), self._loader["parameters"]
        examination = Examination(globals_, parameters, pipeline, catalog)
        for finding in examination.findings():
            if finding.state == "missing" and not finding.refused_later:
                raise UserError(finding.text)
        if "recordings" in pipeline.all_outputs():
            remember(self._loader["globals"]["data_dir"], self._loader.places.values())
        _tell_of_new_recordings(pipeline, catalog)
        _tell_of_other_code(pipeline, catalog)
        _tell_how_long(pipeline, self._loader, examination.found)


class RecordHook:
    """Keeps size and checksum of every file and folder that is saved; before it is read they are compared."""

    def __init__(self) -> None:
        self._catalog: Any = None

    @hook_impl
    def before_pipeline_run(self, catalog: Any) -> None:
        """Remember where everything lies."""
        self._catalog = catalog

    @hook_impl
    def before_dataset_saved(self, dataset_name: str) -> None:
        """What is not written to its end is known as such.

        A link in the place of an output goes: it would be written through, to wherever it leads.
        """
        dataset = self._catalog.get(dataset_name)
        path = place_of(dataset)
        if path is not None and path.is_symlink() and not isinstance(dataset, FolderDataset):
            path.unlink()
        if (place := recorded_place(dataset, saved=True)) is not None:
            announce(place)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Keep what was written."""
        if (place := recorded_place(self._catalog.get(dataset_name), saved=True)) is not None:
            record(place)


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
        name, kept = f"{g['protocol']} {g['run']} {pipelines}", tracking.kept_folder(g)
        run = tracking.TrackedRun.start(uri, g["dataset"], name, tags, kept)
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
        if (file := place_of(dataset, saved=True)) is not None:
            run.log_artifact(file)

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], run_result: Any, pipeline: Any, catalog: Any
    ) -> None:
        """Close the MLflow run and print the result where there is one."""
        tracking.end_current("FINISHED")
        if "summary" in pipeline.outputs():
            click.echo(catalog.load("summary"))

    @hook_impl
    def on_pipeline_error(self, error: Exception, run_params: Any, pipeline: Any, catalog: Any) -> None:
        """Close the MLflow run as failed, or as killed where the process was asked to end."""
        tracking.end_current("KILLED" if interruption(error) else "FAILED")


class FolderHook:
    """A run holds the folders that it writes, so that no other run writes there at the same time.

    Its own ones from beginning to end; those that it shares with other experiments only while one of its
    nodes writes there, so that they may run side by side.
    """

    def __init__(self) -> None:
        self._run = ""
        self._catalog: Any = None
        self._own: dict[Path, TextIO] = {}
        self._shared: dict[Path, TextIO] = {}

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Remember what the run's own folders are called."""
        self._run = context.config_loader["globals"]["run"]

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        """Hold its own folders, and find out whether another run is at work in one that it shares.

        Raises:
            UserError: One is, and who; unless the run is to wait.
        """
        self._release()
        self._catalog = catalog
        context = click.get_current_context(silent=True)
        wait = context is not None and bool(context.params.get("wait"))
        for folder in output_folders(pipeline.all_outputs(), catalog):
            if folder.name == self._run:
                self._own[folder] = hold(folder, wait)
            elif not wait:
                hold(folder).close()

    @hook_impl
    def before_node_run(self, node: Any) -> None:
        """Hold the shared folders that it writes, once whoever is at work there has finished."""
        written = output_folders(node.outputs, self._catalog) if self._catalog else []
        wanted = [folder for folder in written if folder not in self._own]
        if wanted != list(self._shared):
            _close(self._shared)
            self._shared = {folder: hold(folder, wait=True) for folder in wanted}

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Let go of all."""
        self._release()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Let go of all."""
        self._release()

    def _release(self) -> None:
        _close(self._own)
        _close(self._shared)


def _close(held: dict[Path, TextIO]) -> None:
    while held:
        held.popitem()[1].close()


def _tell_of_new_recordings(pipeline: Any, catalog: Any) -> None:
    """Say it where all is read anew beside what was read before: nobody expects it after a renaming."""
    place = place_of(catalog.get("recordings")) if "recordings" in pipeline.all_outputs() else None
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


def _tell_how_long(pipeline: Any, loader: Any, found: Survey | None) -> None:
    """One line before a run that takes its time."""
    from llmar_pipeline.pipeline_registry import stages

    names = {node.name.split(".")[0] for node in pipeline.nodes}
    if names & {"vqvae", "tokenization", "lora", "evaluation"}:
        from llmar_pipeline.estimate.outlook import outlook

        selection = dict(loader["globals"])
        cache = Path(selection["llm_cache"])
        asked = [name for name in stages() if name in names]
        seen = outlook(selection, loader["parameters"], cache, asked, found)
        click.echo(seen.line(selection["size"]))
