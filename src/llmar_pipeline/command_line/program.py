"""What all commands have in common: how they start."""

import io
import os
import sys
from pathlib import Path
from typing import Any

import click

from llmar_pipeline.errors import UserError
from llmar_pipeline.machine import prepare_process, prepare_user
from llmar_pipeline.training.launchers import read_launcher


class Program(click.Command):
    """A command that sets up its process's threads before anything heavy is imported."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, from the project's folder alone: relative folders and MLflow's database start there."""
        project = getattr(ctx.find_root().obj, "project_path", None)  # None where there is no project
        if project is not None and Path(project).resolve() != Path.cwd().resolve():
            raise UserError(f"expected to be started in {project}, saw {Path.cwd()}; type: cd {project}")
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a console may lack letters of names
        os.umask(os.umask(0) | 0o007)  # recordings of people: for their owner and its group alone
        prepare_user()
        prepare_process()
        if (place := read_launcher()) is not None and self.name != "run":
            raise UserError(
                f"expected one process of kedro {self.name}, saw {place.size} of a launcher; start it without"
            )
        return super().invoke(ctx)
