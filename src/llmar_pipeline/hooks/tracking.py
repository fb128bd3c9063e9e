"""Every run is an MLflow run, and its result is printed."""

import logging
import os
from typing import Any

import click
from kedro.framework.hooks import hook_impl

from llmar_pipeline.checks.datasets import place_of
from llmar_pipeline.commands import published
from llmar_pipeline.hooks.reuse import idle
from llmar_pipeline.interruption import interruption
from llmar_pipeline.io import tracking
from llmar_pipeline.io.origin import git_revision
from llmar_pipeline.io.run_names import leaves, seeds
from llmar_pipeline.language.llm_name import llm_name

logger = logging.getLogger(__name__)


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
        """Open the MLflow run; where there is nothing to do, that of an earlier one says all.

        As part of another run, such as `kedro ablations`, there is one for it anyway.
        """
        self._catalog = catalog
        g = self._globals
        kept = tracking.kept_folder(g)
        if idle() and "LLMAR_PARENT_RUN" not in os.environ and not any(kept.glob("*.jsonl")):
            return
        names = ("dataset", "protocol", "experiment", "size", "unseen", "generalized", "fold", "shots", "run")
        tags = {key: str(g[key]) for key in names}
        seed = seeds(self._parameters)
        pipelines = ",".join(run_params["pipeline_names"] or ["full"])
        tags |= {
            "pipeline": pipelines,
            "seed": seed,
            "git_revision": git_revision(),
            "language_model": llm_name(self._parameters["llm"]["model"]),
        }
        if parent := os.environ.get("LLMAR_PARENT_RUN"):  # set by `kedro ablations`
            tags["mlflow.parentRunId"] = parent
        uri = tracking.store_uri(self._config)
        name = f"{g['dataset']} {g['protocol']} {g['run']} seed {seed}"
        name += "" if pipelines == "full" else f" {pipelines}"
        run = tracking.TrackedRun.start(uri, g["dataset"], name, tags, kept)
        run.columns = published.columns(g)
        if self._config.get("register_models") and parent is None:
            run.registered = "-".join(g[key] for key in ("dataset", "protocol", "run"))
        run.log_params(leaves(self._parameters))
        tracking.set_current(run)
        read = {name for name in pipeline.inputs() if name == "splits"}
        for known in sorted(read | (pipeline.all_outputs() if idle() else set())):
            tracking.tell(known, catalog.get(known), place_of(catalog.get(known)))

    @hook_impl
    def before_node_run(self, node: Any) -> None:
        """Say which stage is at work."""
        logger.info("%s", node.name)

    @hook_impl(trylast=True)
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Any) -> None:
        """Log what the catalog marks with `metadata: {mlflow: ...}`, once its checksums are there."""
        dataset = self._catalog.get(dataset_name)
        tracking.tell(dataset_name, dataset, place_of(dataset, saved=True), data)

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
