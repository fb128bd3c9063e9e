"""`kedro doctor`: what a run needs, whether it is there, and what to do."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from llmar_pipeline import machine
from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.folds import NONE
from llmar_pipeline.corpora.splits import split_clips
from llmar_pipeline.corpora.unseen import UnseenConfig, hold_out
from llmar_pipeline.demo.recordings import DemoConfig, demo_corpus
from llmar_pipeline.errors import UserError
from llmar_pipeline.estimate.outlook import in_words, outlook
from llmar_pipeline.ingestion.acceptance import accept
from llmar_pipeline.ingestion.survey import Survey, survey

STAGES = ("ingestion", "normalization", "vqvae", "tokenization", "lora", "evaluation", "reporting")
STORES = 2  # as read, and normalised


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    state: Literal["ok", "note", "missing"]
    subject: str
    text: str


def examine(selection: dict[str, Any], parameters: dict[str, Any], size_note: str = "") -> Iterator[Finding]:
    """Look at recordings, disk, language model and machine, the quick ones first.

    Args:
        selection: The configuration's globals, selectors resolved.
        parameters: The merged parameters.
        size_note: Why the size was chosen; empty where it was named.
    """
    yield Finding("ok", "size", size_note.removeprefix("size: ") or f"{selection['size']}, as asked for")
    needed: int | None
    found = None
    if parameters["demo_recordings"] is not None:
        demo = DemoConfig(**parameters["demo_recordings"])
        needed, whose = demo_corpus(demo).stored_bytes, ""
        yield Finding("ok", "recordings", f"{len(demo.names)} synthetic ones are made up by the run")
    else:
        corpus, folder = CORPORA[selection["corpus"]], Path(selection["raw_dir"])
        try:
            found = survey(corpus, folder)
        except UserError as error:
            needed, whose = corpus.stored_bytes, f" of {corpus.clips or 0:,} clips, the official number"
            yield Finding("missing", "recordings", error.message)
        else:
            needed, whose = found.stored_bytes or None, ""
            yield from _recordings(found, folder, selection, parameters)
    yield _disk(Path(selection["data_dir"]), needed, whose)
    yield _llm(selection, parameters)
    yield from _machine(parameters)
    yield from _times(selection, parameters, found)


def _recordings(
    found: Survey, folder: Path, selection: dict[str, Any], parameters: dict[str, Any]
) -> Iterator[Finding]:
    """Whether the run would go on with them: the same checks, but for damage inside the files."""
    protocol = selection["protocol"]
    text = f"{len(found.clips):,} clips ({_size(found.raw_bytes)}) in {folder}"
    try:
        accept(
            found.clips,
            found.quarantine,
            found.gaps,
            folder,
            parameters["ingestion"]["max_quarantined_share"],
            bool(selection["allow_incomplete"]),
            protocol,
            found.facts.protocols,
        )
        splits = split_clips(found.clips, found.facts, protocol, parameters["val_share"], parameters["fold"])
        splits, classes = hold_out(splits, found.facts, protocol, UnseenConfig(**parameters["unseen"]))
        split = splits["split"].value_counts()
        parts = ", ".join(f"{split.get(part, 0):,} {part}" for part in ("train", "val", "test"))
        yield Finding("ok", "recordings", f"{text}; {protocol}: {parts}")
        if classes.unseen:
            seen = f"{len(classes.seen)} others train and validate"
            yield Finding("note", "unseen classes", f"{', '.join(classes.unseen)}: tested alone; {seen}")
        if not split.get("val", 0):
            why = "with one training subject, none can be spared"
            if parameters["fold"] != NONE:
                why = f"fold {parameters['fold']} tests training clips"
            elif not parameters["val_share"]:
                why = "val_share is 0"
            yield Finding("note", "validation", f"no clip validates: {why}")
    except UserError as error:
        yield Finding("missing", "recordings", f"{text}: {error.message}")
    else:
        if found.gaps:
            yield Finding("note", "completeness", f"{found.gaps} The run goes on (allow_incomplete)")
    for damaged in [*found.quarantine.itertuples(), *found.damaged][:1]:
        line = "" if pd.isna(damaged.line) else f", line {damaged.line}"
        yield Finding(
            "note",
            "damaged files",
            f"{len(found.quarantine)} by name or list, {len(found.damaged)} of {found.sampled} looked at; "
            f"{damaged.file}{line}: expected {damaged.expected}, saw {damaged.seen}",
        )


def _disk(folder: Path, store: int | None, whose: str) -> Finding:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if store is None:
        unknown = "how much the sequences need is not known before one of them can be read"
        return Finding("note", "disk", f"{unknown}; {_size(free)} free at {there}")
    needed = STORES * store
    text = f"about {_size(needed)} for the sequences{whose}, as read and normalised"
    text += f"; {_size(free)} free at {there}"
    if needed > free:
        return Finding("missing", "disk", f"{text}: free some space, or --params=data_dir=<folder>")
    return Finding("ok", "disk", text)


def _llm(selection: dict[str, Any], parameters: dict[str, Any]) -> Finding:
    from llmar_pipeline.language.config import AdapterConfig, LLMConfig
    from llmar_pipeline.language.llm import check_llm  # imports PyTorch: last, and only here

    config, adapter = LLMConfig(**parameters["llm"]), AdapterConfig(**parameters["lora"])
    try:
        check_llm(config, Path(selection["llm_cache"]), parameters["vqvae"]["code_dim"], adapter)
    except UserError as error:
        return Finding("missing", "language model", error.message)
    return Finding("ok", "language model", f"{config.model}, as size {selection['size']} wants it")


def _machine(parameters: dict[str, Any]) -> Iterator[Finding]:
    """What computes here, and in which number type."""
    gpu = machine.gpu()
    text = f"{machine.processor()}, {machine.usable_processors()} processors to use; "
    text += f"{gpu[0]}, {gpu[1]:.0f} GiB" if gpu else "torch sees no GPU"
    if machine.unused_gpu():
        hint = "there is an NVIDIA GPU, but this torch is built without CUDA: install one that has it"
        yield Finding("note", "machine", f"{text}; {hint}")
    else:
        yield Finding("ok", "machine", text)
    asked = parameters["llm"]["precision"]
    chosen = machine.number_type() if asked == "auto" else f"{asked}: as llm.precision asks for"
    rates = (f"{machine.speed(name) / 1e9:,.0f} GFLOP/s in {name}" for name in ("float32", "bfloat16"))
    yield Finding("ok", "number type", f"{chosen}; measured {' and '.join(rates)}")


def _times(selection: dict[str, Any], parameters: dict[str, Any], found: Survey | None) -> Iterator[Finding]:
    """How long each stage will take, and how that is known."""
    seen = outlook(selection, parameters, Path(selection["llm_cache"]), STAGES, found, officially=True)
    if seen.unknown:
        yield Finding("note", "time", f"cannot be known: {seen.unknown}")
        return
    for stage, seconds, how in seen.times:
        yield Finding("ok", f"  {stage}", f"{in_words(seconds):8} {how}")
    hint = seen.hint(selection["size"])
    text = f"about {in_words(seen.seconds)} in all, from {seen.known}{hint}"
    yield Finding("note" if hint else "ok", "time", text)


def _size(n_bytes: int) -> str:
    for unit in ("B", "KB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000  # type: ignore[assignment]
    return f"{n_bytes:.3g} GB"
