"""`kedro doctor`: what a run needs, whether it is there, and what to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmar_pipeline import machine
from llmar_pipeline.checks.examination import Examination
from llmar_pipeline.checks.finding import Finding
from llmar_pipeline.estimate.outlook import in_words, outlook
from llmar_pipeline.ingestion.survey import Survey
from llmar_pipeline.pipeline_registry import register_pipelines, stages


def examine(
    selection: dict[str, Any], parameters: dict[str, Any], size_note: str = "", catalog: Any = None
) -> Iterator[Finding]:
    """Look at recordings, disk, language model and machine, the quick ones first.

    Args:
        selection: The configuration's globals, selectors resolved.
        parameters: The merged parameters.
        size_note: Why the size was chosen; empty where it was named.
        catalog: Where the datasets lie; without one, they are not looked for.
    """
    yield Finding("ok", "size", size_note.removeprefix("size: ") or f"{selection['size']}, as asked for")
    examination = Examination(selection, parameters, register_pipelines()["full"], catalog)
    yield from examination.findings()
    yield from _machine(parameters)
    yield from _times(selection, parameters, examination.found)


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
    seen = outlook(
        selection, parameters, Path(selection["llm_cache"]), list(stages()), found, officially=True
    )
    if seen.unknown:
        yield Finding("note", "time", f"cannot be known: {seen.unknown}")
        return
    for stage, seconds, how in seen.times:
        yield Finding("ok", f"  {stage}", f"{in_words(seconds):8} {how}")
    hint = seen.hint(selection["size"])
    text = f"about {in_words(seen.seconds)} in all, from {seen.known}{hint}"
    yield Finding("note" if hint else "ok", "time", text)
