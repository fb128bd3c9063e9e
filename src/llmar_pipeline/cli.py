"""Kedro's command line, and ours."""

import click

from llmar_pipeline.command_line.models import enrol, pack, predict, serve, threshold, watch
from llmar_pipeline.command_line.run import run
from llmar_pipeline.command_line.trainings import ablations, doctor, folds, protocols, tune, unseen


@click.group()
def cli() -> None:
    """LLM-AR: skeleton action recognition with a large language model."""


for command in (
    *(run, doctor),
    *(ablations, protocols, unseen, tune, folds),
    *(predict, watch, enrol, threshold, serve, pack),
):
    cli.add_command(command)
