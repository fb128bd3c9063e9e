"""`kedro ablations`: experiments, each with several seeds, and the table of what came out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from llmar_pipeline.commands.nested_runs import kedro_run, parent_run, with_seed, written_numbers
from llmar_pipeline.io.config_loader import StackedConfigLoader

TABLES_4_TO_6 = (
    "llm_ar",
    "no_biases",
    "no_zipf",
    "no_context",
    "no_mmd",
    "no_discretization",
    "euclidean",
)
COLUMNS = {
    "accuracy": ("accuracy, %", 100, 1),
    "mean_class_accuracy": ("mean class accuracy, %", 100, 1),
    "bag_of_codes_accuracy": ("bag of codes, %", 100, 1),
    "zipf_js": ("JS(usage, Zipf), nats", 1, 4),
    "correlated_share": ("correlated tokens, %", 100, 2),
    "mmd": ("MMD to words", 1, 3),
    "train_used_codes": ("codes used in training", 1, 0),
    "used_codes": ("in test", 1, 0),
    "perplexity": ("perplexity", 1, 0),
    "reconstruction_error": ("joint error x 1,000", 1000, 0),
}
"""Number in a run's JSON files -> heading, factor and digits in the table; of test clips unless named."""


def run_ablations(
    conf_source: Path,
    env: str | None,
    params: Mapping[str, Any],
    experiments: Sequence[str],
    seeds: Sequence[int],
    pipelines: str,
    load: Callable[[dict[str, Any]], StackedConfigLoader],
    tell: Callable[[str], None],
) -> tuple[pd.DataFrame, Path]:
    """Run every experiment with every seed, each as a `kedro run` of its own, nested in one MLflow run.

    What a run finds finished it does not repeat, so a table that was interrupted is continued by running the
    command again.

    Args:
        conf_source: the configuration folder.
        env: the dataset.
        params: what `--params` holds.
        experiments: names of files in conf/experiments.
        seeds: of both trainings.
        pipelines: what `kedro run --pipelines=` gets.
        load: a run's parameters -> its configuration.
        tell: takes a line for the terminal.

    Returns:
        One row a run (experiment, seed, and every number that the run wrote), and the CSV file it stands in.

    Raises:
        UserError: an unknown name, or a run that failed; its last lines are shown.
    """
    planned = [
        (experiment, seed, with_seed({**params, "experiment": experiment}, seed))
        for experiment in experiments
        for seed in seeds
    ]
    loaders = [load(chosen) for *_, chosen in planned]
    selection = loaders[0]["globals"]
    name = f"ablations {selection['size']} {pipelines}"
    rows = []
    with parent_run(loaders[0], name, {"protocol": selection["protocol"]}) as parent:
        for (experiment, seed, chosen), loader in zip(planned, loaders, strict=True):
            tell(f"{experiment}, seed {seed}")
            kedro_run(conf_source, env, chosen, pipelines, parent)
            rows.append({"experiment": experiment, "seed": seed} | _results(loader))
    table = pd.DataFrame(rows)
    reports_of_protocol = loaders[0].place("metrics").parents[1]
    file = reports_of_protocol / "ablations" / f"{selection['size']}-{pipelines.replace(',', '-')}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(file, index=False)
    return table, file


def as_markdown(table: pd.DataFrame) -> str:
    """Mean and standard deviation over the seeds, a row an experiment.

    Args:
        table: as `run_ablations` returns it.
    """
    present = [name for name in COLUMNS if name in table and table[name].notna().any()]
    heads = ["experiment", "seeds", *(COLUMNS[name][0] for name in present)]
    lines = [f"| {' | '.join(heads)} |", f"|---|---:{'|---:' * len(present)}|"]
    for experiment, runs in table.groupby("experiment", sort=False):
        cells = [str(experiment), str(len(runs))]
        for name in present:
            _, factor, digits = COLUMNS[name]
            values = factor * runs[name].astype(float)
            spread = f" ± {values.std():,.{digits}f}" if len(runs) > 1 else ""
            cells.append(f"{values.mean():,.{digits}f}{spread}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _results(loader: StackedConfigLoader) -> dict[str, Any]:
    vqvae, llm_cache = loader.place("vqvae_model"), loader.place("llm_cache")
    return written_numbers(loader, "code_statistics", "metrics") | {
        "mmd": _mmd(vqvae, loader["parameters"]["llm"], llm_cache)
    }


def _mmd(vqvae: Path, llm: Mapping[str, Any], llm_cache: Path) -> float:
    """Measured alike for every experiment, trained for it or not: the mean over the codebooks."""
    import torch

    from llmar_pipeline.language.config import LLMConfig
    from llmar_pipeline.language.words import word_embeddings
    from llmar_pipeline.vqvae import losses
    from llmar_pipeline.vqvae.biases import reference
    from llmar_pipeline.vqvae.tokenize import codebook_facts, load_vqvae

    facts = codebook_facts(load_vqvae(vqvae))
    words, bandwidths, word_term = reference(word_embeddings(LLMConfig(**llm), llm_cache))
    books = torch.from_numpy(facts.embeddings).chunk(facts.books)
    return float(torch.stack([losses.mmd(book, words, bandwidths, word_term) for book in books]).mean())
