"""The model card: what a trained model is, for whoever finds its folder."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import llmar_pipeline
from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.language.config import AdapterConfig, LLMConfig, trained_precision
from llmar_pipeline.language.llm_name import llm_licence, llm_name
from llmar_pipeline.records import read_sealed
from llmar_pipeline.reporting.config import RunInfo
from llmar_pipeline.reporting.summary import headline, percent, result_of
from llmar_pipeline.reporting.templates import templates

_BUNDLED_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"


def model_card(
    run: RunInfo,
    metrics: Mapping[str, Any],
    recognizer: Path,
    splits: Mapping[str, int],
    quarantined: int,
    llm: LLMConfig,
    lora: AdapterConfig,
    llm_cache: Path,
) -> str:
    """Write the card of a trained model, as those of the Hugging Face hub: metadata in YAML, then Markdown.

    Args:
        run: Which run trained and tested it.
        metrics: Content of metrics.json, the one source of its results.
        recognizer: Its folder.
        splits: Split name to number of clips.
        quarantined: Number of recordings left out.
        llm: The language model.
        lora: How it was adapted.
        llm_cache: Where converted language models lie, for its licence.

    Returns:
        The text of `README.md`.

    Source: Mitchell et al., Model Cards for Model Reporting, 2019;
    https://huggingface.co/docs/hub/model-cards for the form.
    """
    from llmar_pipeline.recognizer_folder import MANIFEST, VQVAE_FOLDER  # imports torch, which takes seconds

    language = json.loads((recognizer / "language_model.json").read_text(encoding="utf-8"))
    vqvae = json.loads((recognizer / VQVAE_FOLDER / "config.json").read_text(encoding="utf-8"))
    facts, topology = read_sealed(recognizer / MANIFEST), vqvae["body"]["topology"]
    corpus = CORPORA[facts["corpus"]]
    # Not escaped as HTML is; `plain` keeps names from being read as Markdown.
    environment = templates(autoescape=False, keep_trailing_newline=True)
    environment.filters |= {"percent": percent, "plain": _plain}
    return environment.get_template("model_card.md").render(
        metadata=yaml.safe_dump(_metadata(run, metrics, llm.model), sort_keys=False, allow_unicode=True),
        run=run,
        metrics=metrics,
        result=result_of(metrics),
        unseen=metrics.get("unseen_classes") or [],
        classes=language["class_names"],
        hyperbolic=vqvae["config"]["geometry"] == "hyperbolic",
        suffix=corpus.suffix,
        facts=facts,
        joints=len(topology["joints"]),
        coordinates=topology["coordinates"],
        persons=vqvae["body"]["persons"],
        citation=corpus.citation,
        splits=splits,
        quarantined=quarantined,
        llm=Path(llm.model).name if Path(llm.model).is_dir() else llm_name(llm.model),  # a card travels
        llm_sha256=language.get("llm_sha256"),
        lora=lora,
        number_type=trained_precision(recognizer),
        licence=llm_licence(llm, llm_cache),
        version=llmar_pipeline.__version__,
    )


def _metadata(run: RunInfo, metrics: Mapping[str, Any], llm: str) -> dict[str, Any]:
    """What the hub reads."""
    known: dict[str, Any] = {
        "library_name": "llmar_pipeline",
        "tags": ["skeleton-action-recognition", "vq-vae", "lora"],
        "datasets": [run.dataset],
        "license": "other",
        "license_name": "of-recordings-and-language-model",
    }
    if not Path(llm).is_dir():
        known["base_model"] = _BUNDLED_ID if llm == "smollm2" else llm
    first = headline(metrics)
    result = {
        "task": {"type": "video-classification", "name": "skeleton action recognition"},
        "dataset": {"type": run.dataset, "name": f"{run.dataset}, {run.tested}"},
        "metrics": [{"type": first, "value": round(100 * metrics[first], 1), "name": f"{first}, %"}],
    }
    known["model-index"] = [{"name": f"LLM-AR {run.experiment} {run.size}", "results": [result]}]
    return known


def _plain(text: object) -> str:
    """Any text as words of a line of Markdown, whatever is in it."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))
