"""Before a run: its size, what would stop it, what is made anew, how long it takes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.hooks import hook_impl

from llmar_pipeline.checks.datasets import place_of
from llmar_pipeline.code_digest import CODE, changed_modules, code_of
from llmar_pipeline.errors import UserError
from llmar_pipeline.files import read_fingerprint
from llmar_pipeline.hooks.reuse import look
from llmar_pipeline.io.known_places import remember

if TYPE_CHECKING:
    from llmar_pipeline.ingestion.survey import Survey

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

        A run that has nothing to do misses nothing.

        Raises:
            UserError: whatever is missing, and what to do.
        """
        if self._loader.size_note:
            click.echo(self._loader.size_note)
        if look(pipeline, catalog):
            logger.info("nothing to do: all was made before, from the same")
            return
        from llmar_pipeline.checks.examination import Examination  # imports PyTorch

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
