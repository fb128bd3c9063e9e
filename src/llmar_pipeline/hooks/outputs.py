"""What a run writes: held while it is written, and known afterwards."""

from pathlib import Path
from typing import Any, TextIO

import click
from kedro.framework.hooks import hook_impl

from llmar_pipeline.checks.datasets import output_folders, place_of, recorded_place
from llmar_pipeline.holders import hold
from llmar_pipeline.io.folder_dataset import FolderDataset
from llmar_pipeline.records import announce, record


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


def _close(held: dict[Path, TextIO]) -> None:
    while held:
        held.popitem()[1].close()
