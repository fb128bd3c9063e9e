"""Rows: what a finished run came to, each a small JSON file that says all it takes to read and repeat it."""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llmar_pipeline import machine
from llmar_pipeline.commands.nested_runs import with_seed, written_numbers
from llmar_pipeline.errors import UserError
from llmar_pipeline.files import write_json
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.io.known_places import digest
from llmar_pipeline.io.origin import git_revision
from llmar_pipeline.io.params_text import write_params
from llmar_pipeline.io.run_names import NEUTRAL_PARAMETERS, leaves, short_hash
from llmar_pipeline.records import check_recorded, read_recorded

IDENTITY = ("environment", "protocol", "experiment", "size", "seed")
_SEEDS = ("vqvae_training.seed", "lora_training.seed")
_USUAL = {"overrides": {}, "pipelines": "full"}
"""What a row need not say."""


def identity(loader: StackedConfigLoader, seed: int, pipelines: str) -> dict[str, Any]:
    """What tells a row from all others; JSON-able.

    Folders are not in it, nor what no result depends on; of a model to start from, the content of its folder.

    Args:
        loader: the run's configuration.
        seed: of both trainings.
        pipelines: what `kedro run --pipelines=` gets.
    """
    selection, values = loader["globals"], leaves(loader.runtime_params)
    overrides = {
        name: value
        for name, value in values.items()
        if name not in NEUTRAL_PARAMETERS and not (name in _SEEDS and value == seed)
    }
    if "init_from" in overrides:  # whatever its folder is called
        overrides["init_from"] = digest(Path(overrides["init_from"]))[:12]
    for name in ("unseen", "fold"):
        if str(selection[name]) != "none":
            overrides[name] = selection[name]
    if "unseen" in overrides:
        overrides["unseen_seed"] = selection["unseen_seed"]
        overrides |= {"generalized": True} if selection["generalized"] else {}
    if str(selection["shots"]) != "all":
        overrides |= {name: selection[name] for name in ("shots", "shots_seed")}
    found = {
        "environment": loader.env or loader.default_run_env,
        **{name: selection[name] for name in ("protocol", "experiment", "size")},
        "seed": seed,
        "overrides": dict(sorted(overrides.items())),
        "pipelines": pipelines,
    }
    return {key: value for key, value in json.loads(json.dumps(found)).items() if value != _USUAL.get(key)}


def row_file(folder: Path, known: Mapping[str, Any]) -> Path:
    """Where a row of this identity lies."""
    others = {key: known[key] for key in _USUAL if key in known}
    names = "-".join(str(known[key]) for key in ("experiment", "environment", "protocol", "size"))
    return folder / f"{names}{short_hash(others)}-seed{known['seed']}.json"


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of a folder, in the order of their files' names; other JSON files in it are left alone.

    Raises:
        UserError: a file cannot be read.
    """
    rows = []
    for file in sorted(folder.glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"expected a row of results in {file}, saw that reading fails ({error}); restore it, or "
                "remove it and have its run made again"
            ) from error
        if isinstance(content, dict) and set(IDENTITY) <= content.keys():
            rows.append(content)
    return rows


def find_row(rows: Sequence[Mapping[str, Any]], known: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The row of this identity, if it is there."""

    def whose(row: Mapping[str, Any]) -> list[Any]:
        return [row[key] for key in IDENTITY] + [row.get(key, usual) for key, usual in _USUAL.items()]

    return next((row for row in rows if whose(row) == whose(known)), None)


def command_of(known: Mapping[str, Any], allow_incomplete: bool = False) -> str:
    """What to type for a row's run; folders are left out."""
    params = {name: known[name] for name in ("size", "experiment", "protocol")} | known.get("overrides", {})
    params |= {"init_from": "<folder>"} if "init_from" in params else {}
    params |= {"allow_incomplete": "true"} if allow_incomplete else {}
    joined = write_params(params | leaves(with_seed({}, known["seed"])))
    where = f"--pipelines={known.get('pipelines', 'full')} --env={known['environment']}"
    return f"kedro run {where} {shlex.quote(f'--params={joined}')}"


def machine_line(precision: str, threads: int) -> str:
    """The machine that a run had: threads, processor and its instructions, GPU, number type.

    Args:
        precision: as `llm.precision` has it.
        threads: that the run computed with.
    """
    import torch

    gpu, level = machine.gpu(), torch.backends.cpu.get_cpu_capability()
    what = f"{threads} thread{'s' if threads > 1 else ''} of {machine.processor()} ({level})"
    chosen = machine.number_type() if precision == "auto" else precision
    return f"{what}{f', {gpu[0]}' if gpu else ''}; {chosen}"


def finished_row(
    loader: StackedConfigLoader,
    known: Mapping[str, Any],
    outputs: set[str],
    seconds: float,
    threads: int,
    notes: Sequence[str],
) -> dict[str, Any]:
    """What a run that has ended came to.

    Args:
        loader: its configuration.
        known: its `identity`.
        outputs: datasets that its pipelines write; of what others have left there, nothing is taken.
        seconds: processor seconds.
        threads: that it computed with.
        notes: what there is to say of them.

    Raises:
        UserError: what it wrote is not there any longer as it was written.
    """
    precision = loader["parameters"]["llm"]["precision"]
    row = {
        "command": command_of(known, bool(loader["globals"]["allow_incomplete"])),
        **known,
        "machine": machine_line(precision, threads),
        "revision": git_revision(),
        "processor_seconds": round(seconds, 1),
    }
    if notes:
        row["note"] = "; ".join(notes)
    if "predictions" in outputs:
        row |= right_clips(loader.place("predictions"))
    if "metrics" in outputs:
        row["metrics"] = read_recorded(loader.place("metrics"))
    if "code_statistics" in outputs:
        row["code_statistics"] = written_numbers(loader, "code_statistics") | {"mmd": _mmd(loader)}
    return row


def right_clips(predictions: Path) -> dict[str, str]:
    """Which test clips were answered rightly.

    Args:
        predictions: the Parquet file of a run.

    Returns:
        `right`: a 1 or a 0 a clip, in the order of clip names; `clips`: a digest of those names, by which two
        rows are known to speak of the same clips.

    Raises:
        UserError: the file is not as it was written.
    """
    check_recorded(predictions, "run `kedro run --pipelines=evaluation` again")
    return right_of(pd.read_parquet(predictions, columns=["name", "true", "predicted"]))


def right_of(predictions: pd.DataFrame) -> dict[str, str]:
    """What `right_clips` returns, of a table that is in memory: columns name, true, predicted."""
    table = predictions.sort_values("name")
    names = "\n".join(table["name"])
    return {
        "right": "".join("1" if right else "0" for right in table["true"] == table["predicted"]),
        "clips": hashlib.sha256(names.encode()).hexdigest()[:12],
    }


def shares_of_right(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Of each clip, the share of the rows that answer it rightly, `[clips]`.

    Args:
        rows: With `right`, of the same clips.
    """
    right = np.array([[answer == "1" for answer in row["right"]] for row in rows])
    return np.asarray(right.mean(axis=0))


def write_row(folder: Path, row: Mapping[str, Any]) -> None:
    """Write a row, whole."""
    write_json(row_file(folder, row), row, indent=2)


def _mmd(loader: StackedConfigLoader) -> float:
    """Measured alike for every experiment, trained for it or not: the mean over the codebooks."""
    import torch

    from llmar_pipeline.language.config import LLMConfig
    from llmar_pipeline.language.words import word_embeddings
    from llmar_pipeline.vqvae import losses
    from llmar_pipeline.vqvae.biases import reference
    from llmar_pipeline.vqvae.trained import codebook_facts, load_vqvae

    facts = codebook_facts(load_vqvae(loader.place("vqvae_model")))
    llm = LLMConfig(**loader["parameters"]["llm"])
    words, bandwidths, word_term = reference(word_embeddings(llm, loader.place("llm_cache")))
    books = torch.from_numpy(facts.embeddings).chunk(facts.books)
    return float(torch.stack([losses.mmd(book, words, bandwidths, word_term) for book in books]).mean())
