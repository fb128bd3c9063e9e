"""Seconds of each stage of a run: its multiplications, by the speed that the machine reaches in them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from llmar_pipeline import machine, operations
from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.errors import UserError
from llmar_pipeline.estimate.reading import Recordings
from llmar_pipeline.evaluation.config import MOST_FITTED, EvaluationConfig
from llmar_pipeline.language.config import AdapterConfig
from llmar_pipeline.skeletons.topology import Body
from llmar_pipeline.training.config import TrainingConfig, micro_batch_of
from llmar_pipeline.training.validation import FORWARD, validated, validated_behind
from llmar_pipeline.vqvae.config import TokenizationConfig, VQVAEConfig


@dataclass(frozen=True)
class Pace:
    """How near a device comes to the speed of its products, and how long it takes at the least.

    Attributes:
        vqvae: Share of the speed of large products that a training step of stage 1 reaches.
        tokenize: The same of encoding in float64, of half the speed in float32.
        lora: The same of a training step of stage 2, by number type.
        score: The same of the products of scoring, in float32.
        split: The same where each is made of three in bfloat16 (`language/split_linear.py`).
        vqvae_step: Seconds a step of stage 1 at the least.
        lora_layer: Seconds a layer and micro-batch of stage 2 at the least.
        score_layer: Seconds a layer and batch of scoring beside its products.
    """

    vqvae: float
    tokenize: float
    lora: Mapping[str, float]
    score: float
    split: float
    vqvae_step: float
    lora_layer: float
    score_layer: float


CPU = Pace(0.42, 0.26, {"float32": 0.45, "bfloat16": 0.31}, 1.0, 0.0, 0.03, 0.003, 0.012)
"""Measured on two cores of an AMD EPYC, with its AVX-512 and with AVX2 alone (docs/lab_log.md)."""
GPU = Pace(0.57, 0.3, {"float32": 0.55, "bfloat16": 0.35}, 0.85, 0.5, 0.04, 0.006, 0.0045)
"""Measured on an H100: launches at the least, else arithmetic (docs/lab_log.md); `split` is a guess."""

# Seconds that depend little on the machine, on the same processor.
START = {"start": 6.0, "ingestion": 1.5, "normalization": 0.1, "vqvae": 3.0, "tokenization": 4.0, "lora": 2.5}
START |= {"evaluation": 1.5, "reporting": 0.7}
A_MADE_UP_CLIP = 0.009
A_NORMALISED_FRAME = 4e-6
A_COUNTED_CODE = 8e-6  # of the bag of codes, a class
READ_NODES = 25  # of the tree of names, of a model that has learnt the demo: less sure ones read more


class StageTime(NamedTuple):
    """Seconds of one stage, and how they are known; NaN, and why they are not."""

    stage: str
    seconds: float
    how: str


def precision_of(parameters: Mapping[str, Any]) -> str:
    """The number type in which the language model will be trained."""
    asked = str(parameters["llm"]["precision"])
    return machine.number_type().precision if asked == "auto" else asked


def stage_times(
    recordings: Recordings,
    selection: Mapping[str, Any],
    parameters: Mapping[str, Any],
    llm_cache: Path,
    speeds: Mapping[str, float],
    stages: Sequence[str],
) -> list[StageTime]:
    """Seconds of each stage.

    Args:
        recordings: What the run reads.
        selection: The configuration's globals.
        parameters: The merged parameters.
        llm_cache: Folder of converted language models.
        speeds: Number type -> operations a second of large products.
        stages: Which of the seven.

    Source: ours.
    """
    work = _Work(recordings, selection, parameters, llm_cache, speeds)
    times = [StageTime("start", START["start"], "imports")]
    for stage in stages:
        try:
            times.append(StageTime(stage, *getattr(work, stage)()))
        except (UserError, OSError, KeyError) as error:
            times.append(StageTime(stage, math.nan, str(getattr(error, "message", error))))
    return times


class _Work:
    """One method a stage: its seconds, and how they are known."""

    def __init__(
        self,
        recordings: Recordings,
        selection: Mapping[str, Any],
        parameters: Mapping[str, Any],
        llm_cache: Path,
        speeds: Mapping[str, float],
    ) -> None:
        self.recordings, self.speeds, self.parameters = recordings, speeds, parameters
        self.on_gpu = machine.gpu() is not None
        self.pace = GPU if self.on_gpu else CPU
        self.llm_cache = llm_cache
        self.vqvae_config = VQVAEConfig(**parameters["vqvae"])
        tokenization = TokenizationConfig(**parameters["tokenization"])
        self.readings = tokenization.readings
        self.train, self.val, self.test = (recordings.count(split) for split in ("train", "val", "test"))
        self.test_readings = tokenization.test_readings
        self.asked = self.test_readings * (self.val + self.test)
        corpus = CORPORA[selection["corpus"]]
        if selection["corpus"] == "custom":
            corpus = corpus.open(Path(selection["raw_dir"]))
        self.body = Body(corpus.topology, corpus.persons)

    def ingestion(self) -> tuple[float, str]:
        made_up, total = self.recordings.made_up, len(self.recordings.splits)
        workers = min(self.parameters["ingestion"]["workers"], machine.usable_processors())
        seconds = made_up * A_MADE_UP_CLIP + total * self.recordings.read / workers
        made = f"{made_up:,} clips made up, " if made_up else ""
        return seconds + START["ingestion"], f"{made}{total:,} read by {workers} processes"

    def normalization(self) -> tuple[float, str]:
        total = len(self.recordings.splits)
        frames = total * self.recordings.frames
        return START["normalization"] + frames * A_NORMALISED_FRAME, f"{total:,} clips"

    def vqvae(self) -> tuple[float, str]:
        training = TrainingConfig(**self.parameters["vqvae_training"])
        seen = len(validated(self.val, training, FORWARD))
        beside = FORWARD * seen / (training.batch_size * training.save_every)
        needed = (1 + beside) * operations.vqvae_step(self.vqvae_config, self.body, training.batch_size)
        return self._training(
            "vqvae", training, needed, training.precision, self.pace.vqvae, self.pace.vqvae_step
        )

    def tokenization(self) -> tuple[float, str]:
        windows = (1 + self.readings) * self.train + self.asked
        pictures = min(500, self.train) + self.test
        one = operations.tokenization(self.vqvae_config, self.body)
        needed = windows * one + pictures * (one + operations.decoder(self.vqvae_config, self.body))
        seconds = needed / (self.pace.tokenize * self.speeds["float32"] / 2)
        return START["tokenization"] + seconds, f"{windows:,} sentences in float64, and pictures"

    def lora(self) -> tuple[float, str]:
        training = TrainingConfig(**self.parameters["lora_training"])
        adapter = AdapterConfig(**self.parameters["lora"])
        shape, tokens, trained = self._language()
        needed = operations.lora_step(shape, adapter, replace(tokens, after=trained), training.batch_size)
        seen = validated(self.val, training, _cost(tokens, trained))
        needed += len(seen) * operations.scoring(shape, tokens) / training.save_every
        precision = precision_of(self.parameters)
        least = shape.layers * self.pace.lora_layer
        return self._training("lora", training, needed, precision, self.pace.lora[precision], least)

    def evaluation(self) -> tuple[float, str]:
        config = EvaluationConfig(**self.parameters["evaluation"])
        training = TrainingConfig(**self.parameters["lora_training"])
        shape, tokens, trained = self._language()
        weight = self.test_readings * _cost(tokens, trained)
        validating = len(validated_behind(self.val, training, weight))
        clips = self.test_readings * (validating + self.test)
        read = tokens.nodes
        if not config.corrects(trained=self.parameters["unseen"]["classes"] == "none"):
            read = min(read, READ_NODES)
        tokens = replace(tokens, nodes=read)
        speed, how = self._scoring()
        scored = clips * operations.scoring(shape, tokens) / speed
        beside = math.ceil(clips / config.clips_at_once) * shape.layers * self.pace.score_layer
        if config.generate:  # a token at a time, in batches
            beside += self.test / config.clips_at_once * tokens.answer * shape.layers * self.pace.score_layer
        classes = len(self.recordings.classes("train"))
        fitted = min((1 + self.readings) * self.train, MOST_FITTED)
        counted = fitted * tokens.sentence * classes * A_COUNTED_CODE
        compared = (
            2 * self.test * min(self.train, MOST_FITTED) * self.vqvae_config.frames * self.body.channels
        )
        neighbours = compared / (self.pace.tokenize * self.speeds["float32"])
        seconds = START["evaluation"] + scored + beside + counted + neighbours
        return seconds, f"{clips:,} sentences scored in {how}, {read:,} tokens of names each"

    def reporting(self) -> tuple[float, str]:
        return START["reporting"], "the same for every run"

    def _training(
        self, stage: str, config: TrainingConfig, needed: float, precision: str, share: float, least: float
    ) -> tuple[float, str]:
        processes = config.processes if self.on_gpu else 1  # on a CPU they share the processors
        read = micro_batch_of(config.batch_size, config.micro_batch_size, config.processes)
        micro_batches = config.batch_size // (read * config.processes)
        step = max(needed / (share * self.speeds[precision] * processes), micro_batches * least)
        how = (
            f"{config.max_steps:,} steps of {config.batch_size} clips, {needed / 1e9:,.0f} GFLOP each in "
            f"{precision}: {step:.2g} s a step"
        )
        return START[stage] + config.max_steps * step, how

    def _scoring(self) -> tuple[float, str]:
        """Operations a second of scoring, and in what it computes."""
        plain = (
            self.parameters["lora"]["method"] == "lora" and self.parameters["llm"]["quantization"] == "none"
        )
        if self.on_gpu and plain and precision_of(self.parameters) == "bfloat16":
            return self.pace.split * self.speeds["bfloat16"] / 3, "three terms of bfloat16"
        return self.pace.score * self.speeds["float32"], "float32"

    def _language(self) -> tuple[operations.LLMShape, operations.Tokens, int]:
        """Sizes of the model, tokens around a sentence in scoring, and those behind it in training."""
        from llmar_pipeline.language.instructions import encode_prompt, load_instruction
        from llmar_pipeline.language.label_trie import LabelTrie
        from llmar_pipeline.language.llm import local_folder
        from llmar_pipeline.language.loading import read_tokenizer
        from llmar_pipeline.language.samples import OTHER_CLASSES

        llm = self.parameters["llm"]
        folder = local_folder(str(llm["model"]), self.llm_cache, llm.get("revision"))
        tokenizer = read_tokenizer(folder)
        names = self.recordings.classes("train")
        unseen = self.parameters["unseen"]["classes"] != "none"
        instruction = load_instruction("recognize_from_list" if unseen else "recognize")
        before, after = encode_prompt(tokenizer, instruction, names)
        listed = names[: OTHER_CLASSES + 1]
        trained = len(encode_prompt(tokenizer, instruction, listed).after)
        trie = LabelTrie(names, tokenizer)
        answer = sum(map(len, trie.answers)) / len(names)
        sentence = operations.sentence_length(self.vqvae_config, self.body)
        tokens = operations.Tokens(len(before), sentence, len(after), answer, len(trie.node_tokens))
        return operations.LLMShape.read(folder), tokens, trained


def _cost(tokens: operations.Tokens, trained: int) -> float:
    """What a validation clip costs, that of a training clip being 1."""
    from llmar_pipeline.language.validation import cost  # its import takes seconds

    return cost(tokens.sentence, tokens.after, tokens.answer, tokens.nodes, trained)
