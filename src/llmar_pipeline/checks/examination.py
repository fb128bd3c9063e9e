"""All that can be known before a run: `kedro doctor` prints it, `kedro run` refuses at what is missing."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llmar_pipeline.checks.datasets import check_folders, check_inputs, check_outputs, disk
from llmar_pipeline.checks.finding import Finding, in_bytes, told
from llmar_pipeline.checks.settings import check_settings
from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.folds import NONE
from llmar_pipeline.corpora.shots import ShotsConfig
from llmar_pipeline.corpora.splits import split_run
from llmar_pipeline.corpora.unseen import UnseenConfig
from llmar_pipeline.demo.recordings import DemoConfig, demo_corpus
from llmar_pipeline.errors import UserError
from llmar_pipeline.estimate.reading import look
from llmar_pipeline.ingestion.acceptance import accept, too_many_damaged
from llmar_pipeline.ingestion.survey import Survey, survey
from llmar_pipeline.io.known_names import check_read
from llmar_pipeline.pipeline_registry import all_inputs
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.topology import Body
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.vqvae.config import TokenizationConfig, VQVAEConfig


class Examination:
    """What a run would read, write and train, looked at before it.

    Args:
        selection: The configuration's globals, selectors resolved.
        parameters: The merged parameters, each of its type.
        pipeline: What is to be run.
        catalog: Where its datasets lie; without one, they are not looked for.

    Attributes:
        found: What lies in the folder of recordings, once it was looked at.
    """

    def __init__(
        self, selection: dict[str, Any], parameters: dict[str, Any], pipeline: Any, catalog: Any = None
    ) -> None:
        self.found: Survey | None = None
        self._selection, self._parameters = selection, parameters
        self._pipeline, self._catalog = pipeline, catalog
        self._asked = {name.removeprefix("params:") for name in pipeline.inputs()}
        self._splits: pd.DataFrame | None = None
        self._weights = 0

    def findings(self) -> Iterator[Finding]:
        """Everything, the quick ones first."""
        yield from told("parameters", self._settings())
        yield from told("folders", self._datasets())
        reads = "ingestion" in self._asked
        if "init_from" in self._asked and self._parameters["init_from"]:
            yield from told("model to start from", self._initial_model())
        if reads:
            yield from told("recordings", self._recordings())
        if self._asked & {"vqvae_training", "lora_training"}:
            yield from told("language model", self._language_model())
        if reads:
            yield self._disk()

    def _settings(self) -> Iterator[Finding]:
        check_read(self._parameters, all_inputs())
        check_settings(self._parameters, self._asked)
        yield from ()

    def _datasets(self) -> Iterator[Finding]:
        if self._catalog is not None:
            check_folders(self._pipeline, self._catalog)
            check_inputs(self._pipeline, self._catalog)
            check_outputs(self._pipeline, self._catalog)
        yield from ()

    def _initial_model(self) -> Iterator[Finding]:
        """Whether it is whole, of the same kind, and not the one that is to be made."""
        from llmar_pipeline.language.config import AdapterConfig, LLMConfig  # imports PyTorch, as the rest
        from llmar_pipeline.language.llm import llm_checksum
        from llmar_pipeline.language.trained_model import check_start
        from llmar_pipeline.recognizer_folder import VQVAE_FOLDER, check_initial
        from llmar_pipeline.vqvae.initial_weights import check_kind
        from llmar_pipeline.vqvae.model import VQVAE

        folder = Path(self._parameters["init_from"])
        facts = check_initial(folder)
        own = Path(self._selection["data_dir"], "06_models", self._selection["run_folder"], folder.name)
        if own.resolve() == folder.resolve():
            raise UserError(
                f"init_from: expected the model of another run, saw {folder}, which this one would write "
                "over; copy it elsewhere first"
            )
        if "vqvae_training" in self._asked:
            vqvae = folder / VQVAE_FOLDER
            check_kind(VQVAEConfig(**self._parameters["vqvae"]), VQVAE.load(vqvae), vqvae)
        if "lora_training" in self._asked:
            checksum = llm_checksum(LLMConfig(**self._parameters["llm"]), Path(self._selection["llm_cache"]))
            check_start(folder, checksum, AdapterConfig(**self._parameters["lora"]))
        yield Finding("ok", "model to start from", f"{folder}, trained on {facts.corpus}")
        if facts.corpus == self._selection["corpus"]:
            yield Finding(
                "note",
                "model to start from",
                f"it was trained on {facts.corpus} too: clips that test here may have trained it, unless its "
                "protocol, fold and unseen classes are those of this run",
            )

    def _recordings(self) -> Iterator[Finding]:
        """Whether the run would go on with them: the same checks, but for damage inside the files."""
        if self._parameters["demo_recordings"] is not None:
            number = len(DemoConfig(**self._parameters["demo_recordings"]).names)
            yield Finding("ok", "recordings", f"{number} synthetic ones are made up by the run")
            return
        folder = Path(self._selection["raw_dir"])
        self.found = found = survey(CORPORA[self._selection["corpus"]], folder)
        protocol, share = self._selection["protocol"], self._parameters["ingestion"]["max_quarantined_share"]
        text = f"{len(found.clips):,} clips ({in_bytes(found.raw_bytes)}) in {folder}"
        if damage := too_many_damaged(found.clips, found.quarantine, folder, share):
            yield Finding("missing", "recordings", f"{text}: {damage}", refused_later=True)
            return
        try:
            allowed, protocols = bool(self._selection["allow_incomplete"]), found.facts.protocols
            accept(found.clips, found.quarantine, found.gaps, folder, share, allowed, protocol, protocols)
            yield from self._split(found, text) if "val_share" in self._asked else ()
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
                f"{len(found.quarantine)} by name or list, {len(found.damaged)} of {found.sampled} looked "
                f"at; {damaged.file}{line}: expected {damaged.expected}, saw {damaged.seen}",
            )

    def _split(self, found: Survey, text: str) -> Iterator[Finding]:
        """What each part would be made of."""
        protocol, unseen = self._selection["protocol"], UnseenConfig(**self._parameters["unseen"])
        val_share, fold = self._parameters["val_share"], self._parameters["fold"]
        shots = ShotsConfig(**self._parameters["shots"])
        self._splits, classes = split_run(found.clips, found.facts, protocol, val_share, fold, unseen, shots)
        split = self._splits["split"].value_counts()
        parts = ", ".join(f"{split.get(part, 0):,} {part}" for part in ("train", "val", "test"))
        yield Finding("ok", "recordings", f"{text}; {protocol}: {parts}")
        if classes.unseen:
            seen = f"{len(classes.seen)} others train and validate"
            yield Finding("note", "unseen classes", f"{', '.join(classes.unseen)}: tested alone; {seen}")
        if not split.get("val", 0):
            yield Finding("note", "validation", f"no clip validates: {self._why_none_validates()}")

    def _why_none_validates(self) -> str:
        if self._parameters["fold"] != NONE:
            return f"fold {self._parameters['fold']} tests training clips"
        return "no training subject can be spared" if self._parameters["val_share"] else "val_share is 0"

    def _language_model(self) -> Iterator[Finding]:
        """Whether it can be had, loaded and tuned, by whichever stage reads it."""
        from llmar_pipeline.language.config import AdapterConfig, LLMConfig

        vqvae, trains = VQVAEConfig(**self._parameters["vqvae"]), "lora_training" in self._asked
        if trains or vqvae.reads_words or vqvae.reads_names:
            from llmar_pipeline.language.llm_check import check_llm  # imports PyTorch: only here

            config = LLMConfig(**self._parameters["llm"])
            adapter = AdapterConfig(**self._parameters["lora"]) if trains else None
            self._weights = check_llm(config, Path(self._selection["llm_cache"]), vqvae.code_dim, adapter)
            seen = f"{config.model}, as size {self._selection['size']} wants it"
            yield Finding("ok", "language model", seen)
            if adapter is not None and adapter.method == "full" and self._weights:
                yield self._full_tuning()
        yield from told("classes", self._classes())

    def _full_tuning(self) -> Finding:
        """Whether values, gradients and moments of all weights have room."""
        from llmar_pipeline.training.sharding import check_room

        processes = TrainingConfig(**self._parameters["lora_training"]).processes
        needed = check_room(self._weights, processes)
        shared = f", a share of {processes} processes" if processes > 1 else ""
        return Finding("ok", "memory", f"{in_bytes(needed)} for all weights{shared}, beside activations")

    def _classes(self) -> Iterator[Finding]:
        """Whether the trainings can tell the classes apart, as far as they are known."""
        seen, tested = self._names()
        if not seen:
            return
        AugmentationConfig(**self._parameters["augmentation"]).check_names(seen)
        if "lora_training" not in self._asked:
            return
        from llmar_pipeline import operations  # imports PyTorch, as the last one does
        from llmar_pipeline.language.config import LLMConfig
        from llmar_pipeline.language.instructions import load_instruction
        from llmar_pipeline.language.llm_check import check_prompts
        from llmar_pipeline.language.samples import longest_list

        from_list = self._parameters["unseen"]["classes"] != "none"
        lists, listed = [seen], [seen]
        if from_list:  # in training a clip's own and some others
            lists, listed = [seen, tested], [longest_list(seen), tested]
        instruction = load_instruction("recognize_from_list" if from_list else "recognize")
        length = operations.sentence_length(VQVAEConfig(**self._parameters["vqvae"]), self._body())
        config, cache = LLMConfig(**self._parameters["llm"]), Path(self._selection["llm_cache"])
        check_prompts(config, cache, instruction, lists, listed, length)
        yield Finding("ok", "classes", f"{len(seen)} train, and the language model tells them apart")

    def _names(self) -> tuple[list[str], list[str]]:
        """Classes that train and that are tested; none where no recording is known yet."""
        splits = self._splits
        if splits is None and self.found is None:
            with suppress(UserError):
                splits = look(self._selection, self._parameters).splits
        if splits is None:
            return [], []
        names = (splits.loc[splits["split"] == part, "action"].unique() for part in ("train", "test"))
        train, test = (sorted(part) for part in names)
        return train, test

    def _body(self) -> Body:
        if self.found is not None:
            return self.found.body
        corpus = CORPORA[self._selection["corpus"]].open(Path(self._selection["raw_dir"]))
        return Body(corpus.topology, corpus.persons)

    def _disk(self) -> Finding:
        corpus, demo = CORPORA[self._selection["corpus"]], self._parameters["demo_recordings"]
        needed: int | None
        if demo is not None:
            needed, whose = demo_corpus(DemoConfig(**demo)).stored_bytes, ""
        elif self.found is None:
            needed, whose = corpus.stored_bytes, f" of {corpus.clips or 0:,} clips, the official number"
        else:
            needed, whose = self.found.stored_bytes or None, ""
        folder = Path(self._selection["data_dir"])
        recordings, run = (self._selection[name] for name in ("recordings_folder", "run_folder"))
        there = [
            folder / "02_intermediate" / recordings,
            folder / "03_primary" / recordings,
            folder / "06_models" / run,
        ]
        if features := self._feature_bytes():
            there.append(folder / "04_feature" / run)
        return disk(folder, needed, whose, self._weights, there, features)

    def _feature_bytes(self) -> int:
        """Of what the language model reads in place of codes; 0 where it reads codes, or no clip is known."""
        if "tokenization" not in self._asked or self._parameters["lora"].get("input") != "features":
            return 0
        from llmar_pipeline import operations  # imports PyTorch

        splits = self._splits
        if splits is None:
            try:
                splits = look(self._selection, self._parameters, self.found, officially=True).splits
            except UserError:
                return 0
        clips, config = splits["split"].value_counts(), TokenizationConfig(**self._parameters["tokenization"])
        readings = (1 + config.readings) * clips.get("train", 0)
        readings += config.test_readings * (clips.get("val", 0) + clips.get("test", 0))
        vqvae = VQVAEConfig(**self._parameters["vqvae"])
        steps = operations.sentence_length(vqvae, self._body()) // vqvae.residual_levels
        return int(readings * steps * vqvae.code_dim * np.dtype(np.float16).itemsize)
