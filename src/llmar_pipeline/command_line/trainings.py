"""Commands that train and test, many runs at a time, and the one that says what a run would need."""

from pathlib import Path
from typing import Any

import click
from kedro.framework.session import KedroSession

from llmar_pipeline.command_line.options import (
    configuration_options,
    loading,
    of_one_size,
    pipelines_option,
    seeds_option,
    whole_numbers,
)
from llmar_pipeline.command_line.program import Program
from llmar_pipeline.error_lines import one_line_errors
from llmar_pipeline.errors import UserError
from llmar_pipeline.progress import quiet_other_bars


@click.command(cls=Program)
@configuration_options
def doctor(env: str | None, params: dict[str, Any], conf_source: str) -> None:
    """Say what a run would need, what is missing, how large it gets, and what to do."""
    from llmar_pipeline.commands.doctor import examine

    quiet_other_bars()
    with one_line_errors():
        states = []
        with KedroSession.create(env=env, conf_source=conf_source, runtime_params=params) as session:
            context = session.load_context()  # type: ignore[attr-defined]
            catalog, loader = context.catalog, context.config_loader
            selection = dict(loader["globals"])
            for finding in examine(selection, loader["parameters"], loader.size_note, catalog):
                click.echo(f"{finding.state:8}{finding.subject:16}{finding.text}")
                states.append(finding.state)
    if "missing" in states:
        raise SystemExit(1)


@click.command(cls=Program)
@configuration_options
@click.option("--envs", help="Several datasets, comma separated.")
@click.option("--experiments", help="Files of conf/experiments, comma separated (default: Tables 4 to 6).")
@seeds_option
@pipelines_option
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Runs at a time.")
@click.option(
    "--rows", default="docs/results", show_default=True, help="Folder of a JSON file a finished run."
)
@click.option("--table-only", is_flag=True, help="Run nothing: the table of the rows that are there.")
def ablations(
    env: str | None,
    envs: str | None,
    params: dict[str, Any],
    experiments: str | None,
    seeds: str,
    pipelines: str,
    jobs: int,
    rows: str,
    table_only: bool,
    conf_source: str,
) -> None:
    """Run experiments on datasets with several seeds and print the table of what came out."""
    from llmar_pipeline.commands.ablations import TABLES_4_TO_6, run_ablations
    from llmar_pipeline.commands.grid import Environment

    quiet_other_bars()
    with one_line_errors():
        if env and envs:
            raise UserError("expected --env or --envs, saw both: keep one")
        names = experiments.split(",") if experiments else TABLES_4_TO_6
        places = []
        for name in envs.split(",") if envs else [env]:
            load = loading(name, conf_source)
            places.append(Environment(name, of_one_size(params, load, experiment=names[0]), load))
        where, folder = Path(conf_source), Path(rows)
        text, page, failed = run_ablations(
            where, places, names, whole_numbers(seeds), pipelines, folder, jobs, table_only, click.echo
        )
    click.echo(f"\n{text}\n\nThe same, and every run beside it: {page}")
    if failed:
        raise SystemExit(1)


@click.command(cls=Program)
@configuration_options
@click.option("--list", "only_list", is_flag=True, help="Run nothing: show the numbers that there are.")
def protocols(env: str | None, params: dict[str, Any], only_list: bool, conf_source: str) -> None:
    """Run every protocol of a dataset and print our numbers beside the published ones."""
    from llmar_pipeline.commands.protocols import as_markdown, collect, protocol_loaders, run_protocols

    with one_line_errors():
        params = of_one_size(params, loading(env, conf_source))
        loaders = protocol_loaders(params, loading(env, conf_source))
        if not only_list:
            run_protocols(Path(conf_source), env, params, loaders, click.echo)
        table, file = collect(loaders)
    click.echo(f"\n{as_markdown(table, next(iter(loaders.values())))}")
    if file is not None:
        click.echo(f"\nEvery number: {file}")


@click.command(cls=Program)
@configuration_options
@click.option(
    "--classes",
    default="3",
    show_default=True,
    help="Unseen classes: how many, or 55-5, 48-12, 110-10, 96-24.",
)
@click.option("--draws", default=5, show_default=True, help="How often they are drawn.")
@click.option("--first", default=0, show_default=True, help="Seed of the first draw.")
@click.option("--experiments", default="llm_ar", show_default=True, help="Files of conf/experiments.")
@click.option("--descriptions", is_flag=True, help="Answer by descriptions alone, without training.")
def unseen(
    env: str | None,
    params: dict[str, Any],
    classes: str,
    draws: int,
    first: int,
    experiments: str,
    descriptions: bool,
    conf_source: str,
) -> None:
    """Train without some classes, recognise them, and print the mean over several draws (Table 8)."""
    from llmar_pipeline.commands.unseen import as_markdown, run_draws

    with one_line_errors():
        number = int(classes) if classes.isdecimal() else classes
        chosen = {"experiment": experiments.split(",")[0], "unseen": number}
        table, file, loader = run_draws(
            Path(conf_source),
            env,
            of_one_size(params, loading(env, conf_source), **chosen),
            number,
            draws,
            experiments.split(","),
            loading(env, conf_source),
            click.echo,
            first,
            trained=not descriptions,
        )
    click.echo(f"\n{as_markdown(table, loader)}\n\nEvery run: {file}")


@click.command(cls=Program)
@configuration_options
@click.option("--experiment", default="best", show_default=True, help="Whose candidates, of conf/tune.")
@click.option("--folds", help="Such as camera:1,camera:2 or 1of3,2of3,3of3 (default: those of the file).")
@seeds_option
@pipelines_option
@click.option("--final", is_flag=True, help="Also make the run of the best candidate, with its test.")
def tune(
    env: str | None,
    params: dict[str, Any],
    experiment: str,
    folds: str | None,
    seeds: str,
    pipelines: str,
    final: bool,
    conf_source: str,
) -> None:
    """Compare candidates on folds of the training clips and print the command for the best of them."""
    from llmar_pipeline.commands.folds import metric_of, percent
    from llmar_pipeline.commands.nested_runs import NestedRun, written_numbers
    from llmar_pipeline.commands.tune import as_markdown, final_command, pick
    from llmar_pipeline.commands.tune import tune as compare

    quiet_other_bars()
    with one_line_errors():
        load = loading(env, conf_source)
        params = of_one_size(params, load, experiment=experiment)
        chosen = folds.split(",") if folds else []
        source, numbers = Path(conf_source), whole_numbers(seeds)
        table, file, best = compare(
            source, env, params, experiment, chosen, numbers, pipelines, load, click.echo
        )
        loader = load(best)
        metric, command = metric_of(loader), final_command(conf_source, env, best)
        steps = " and ".join(
            f"{loader['parameters'][stage]['max_steps']:,}" for stage in ("vqvae_training", "lora_training")
        )
        click.echo(f"\n{as_markdown(table, metric)}\n\nEvery run: {file}\n")
        click.echo(
            f"The best is {pick(table, metric)}. On all training clips, for {steps} steps:\n\n{command}"
        )
        if final:
            NestedRun(Path(conf_source), env, best, "full").finish()
            found = written_numbers(loader, "metrics")
            result, trained = percent(found[metric]), f"{found['n_train']:,} clips trained"
            click.echo(f"\n{trained}, {found['n_val']:,} validated")
            click.echo(f"{metric.replace('_', ' ')} {result} %: {loader.place('report')}")


@click.command(cls=Program)
@configuration_options
@click.option(
    "--protocol",
    type=click.Choice(["leave_one_subject_out", "k_fold"]),
    default="leave_one_subject_out",
    show_default=True,
    help="Each subject tests once; or each of --k parts.",
)
@click.option("--k", default=5, show_default=True, help="How many folds k_fold has.")
def folds(env: str | None, params: dict[str, Any], protocol: str, k: int, conf_source: str) -> None:
    """Train and test on every fold of your own recordings, and print the mean."""
    from llmar_pipeline.commands.folds import as_markdown, run_folds

    quiet_other_bars()
    with one_line_errors():
        load = loading(env, conf_source)
        params = of_one_size({**params, "protocol": protocol}, load)
        table, file, metric = run_folds(Path(conf_source), env, params, k, load, click.echo)
    click.echo(f"\n{as_markdown(table, metric)}\n\nEvery run: {file}")
