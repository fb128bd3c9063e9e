"""Stage 2: the large language model learns, by LoRA, to answer an action sentence with the action's name."""

import gc
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from llmar_pipeline.code_digest import CODE, code_of
from llmar_pipeline.errors import UserError
from llmar_pipeline.files import differences, file_checksum, read_fingerprint
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.instructions import encode_answers, load_instruction
from llmar_pipeline.language.llm import llm_checksum
from llmar_pipeline.language.loading import load_tokenizer, tokenizer_checksum
from llmar_pipeline.language.micro_batches import clips_at_once, halved
from llmar_pipeline.language.model_folder import model_files
from llmar_pipeline.language.packing import pad_sentences
from llmar_pipeline.language.quantization import check_quantization
from llmar_pipeline.language.samples import (
    RowsByClip,
    counts_by_class,
    drawn_list,
    join_batch,
    mixed,
    naive_bayes,
)
from llmar_pipeline.language.sentence import read_clips, sentences_checksum
from llmar_pipeline.language.soft_targets import beginnings, next_token_chances
from llmar_pipeline.language.trained_model import check_start, start_from
from llmar_pipeline.language.untrained_model import untrained_model
from llmar_pipeline.language.validation import validation
from llmar_pipeline.machine import number_type
from llmar_pipeline.training import processes
from llmar_pipeline.training.callbacks import LogFunction
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.training.digests import tensor_checksum
from llmar_pipeline.training.stream import SampleStream
from llmar_pipeline.training.trainer import train

logger = logging.getLogger(__name__)


def train_lora(
    sentences: pd.DataFrame,
    codebook: torch.Tensor,
    llm_config: LLMConfig,
    llm_cache: Path,
    adapter: AdapterConfig,
    training: TrainingConfig,
    checkpoints: Path,
    on_log: LogFunction | None = None,
    instruction: str = "recognize",
    model_folder: Path | None = None,
    votes: torch.Tensor | None = None,
    initial: Path | None = None,
    others: Sequence[str] = (),
) -> tuple[ActionLanguageModel, list[dict[str, float]]]:
    """Fine-tune on the train split, continuing from the newest checkpoint.

    Every sample is one random reading of a clip. The classes are those of the train split. Loss and accuracy
    on clips of the validation split are logged at every checkpoint (`validation`).

    Args:
        sentences: columns name, split, label, action, reading, codes; features where the adapter's input is.
        codebook: log-mapped codes [U, du].
        llm_config: which language model.
        llm_cache: folder of converted language models.
        adapter: rank and place of the adapters, or none: then all weights of the model are tuned.
        training: the schedule.
        checkpoints: where they are kept.
        on_log: called with (record, step) at every log.
        instruction: name of the instruction; "recognize_from_list" lists classes, see `drawn_list`, so
            that the model learns to choose from a list, which at test time may be another one.
        model_folder: where the model will be saved, if it will; an earlier one there is set aside.
        votes: for `answers: head`, what speaks for each class in each code [U, classes]; of the mean over a
            sentence's codes, softmax makes the probabilities that are learnt. From a list, one name drawn by
            them is learnt, as others need not be in it.
        initial: folder of a trained model, whose adapters are started from (`trained_model.start_from`).
        others: names that stand in lists beside those of the training, and are never the answer.

    Returns:
        (the adapted model, log history).

    Raises:
        UserError: no such language model, one in 4 bits to be tuned in full, a codebook of another width or
            not that of the sentences, no features where they are to be read, no class head whose answers are
            to be learnt, a model to start from that does not fit, or a loss that is not finite.

    Source: second stage of Sec. 3.2 of the paper, Eq. 13.
    """
    processes.device()  # joins the others
    check_quantization(llm_config, adapter)
    if sentences.attrs.get("codebook", seen := tensor_checksum(codebook.float())) != seen:
        raise UserError(
            "expected action sentences of the VQ-VAE that lies there, saw those of an earlier one; run "
            "`kedro run --pipelines=stage2` with the same parameters."
        )
    rows = sentences[sentences["split"] == "train"]
    class_names = rows.drop_duplicates("label").sort_values("label")["action"].tolist()
    read_of_all = read_clips(rows, adapter.input)
    of_clips = RowsByClip(rows)
    numbers = {name: label for label, name in enumerate(class_names)}
    labels = rows["action"].iloc[of_clips.first()].map(numbers).tolist()
    if adapter.answers == "head" and (votes is None or adapter.input != "codes"):
        raise UserError(
            "lora.answers=head: expected a class head of stage 1 and codes to read, saw "
            f"{'none' if votes is None else f'lora.input={adapter.input}'}; set vqvae.auxiliary=class and "
            "lora.input=codes, or lora.answers=labels"
        )
    text = load_instruction(instruction)
    base_checksum = llm_checksum(llm_config, llm_cache)
    if initial is not None:
        check_start(initial, base_checksum, adapter)
    words_checksum = tokenizer_checksum(load_tokenizer(llm_config, llm_cache))
    made_from = {
        "sentences": sentences_checksum(read_of_all),
        "codebook": seen,
        "classes": class_names,
        "instruction": text,
        "adapter": adapter.model_dump(),
        "votes": None if votes is None else tensor_checksum(votes),
        CODE: code_of(__name__),
    }
    if initial is not None:
        made_from["initial"] = [file_checksum(file) for file in model_files(initial)]
    if others:
        made_from["others"] = list(others)

    def schedule(precision: str) -> TrainingConfig:
        # bfloat16 weights would have no room for the small steps of a full training: they only compute in it.
        return training.model_copy(update={"precision": precision}) if adapter.method == "full" else training

    def fingerprint(precision: str) -> dict[str, Any]:
        chosen = llm_config.model_copy(update={"precision": precision})
        # Wherever the model lies; and checkpoints from before there was a setting still count.
        base = {"weights": base_checksum, "tokenizer": words_checksum}
        base |= chosen.model_dump(exclude_defaults=True, exclude={"model", "revision"})
        return made_from | {"llm": base, "training": schedule(precision).identity()}

    llm_config = settled_as_begun(llm_config, fingerprint, checkpoints)
    training = schedule(llm_config.precision)

    def untrained() -> ActionLanguageModel:
        model = untrained_model(rows, codebook, llm_config, llm_cache, adapter, training, text, class_names)
        model.llm_checksum, model.other_names = base_checksum, tuple(others)
        if initial is not None:
            start_from(model, initial)
        if adapter.input == "codes":
            model.class_votes = votes
            if votes is None:
                counts = counts_by_class(rows, class_names, len(codebook))
                model.class_votes = torch.from_numpy(naive_bayes(counts))
        return model

    model = untrained()
    answer_ids, answer_mask = encode_answers(model.tokenizer, class_names)
    alike = beginnings(answer_ids, answer_mask)
    from_list = "[list]" in model.instruction

    def one_of(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return read_of_all[int(clip[rng.integers(len(clip))])]

    def read(index: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        label = labels[index]
        sentence = one_of(of_clips[index], rng)
        if adapter.code_mixing:
            other = one_of(of_clips[rng.integers(len(of_clips))], rng)
            sentence = mixed(sentence, other, adapter.code_mixing, rng)
        if votes is not None:
            chances = votes[sentence].double().mean(0).softmax(0)
            label = int(rng.choice(len(chances), p=chances.numpy()))
        (codes,), (code_mask,) = pad_sentences([sentence])
        sample = {
            "codes": codes,
            "code_mask": code_mask,
            "answer_ids": answer_ids[label],
            "answer_mask": answer_mask[label],
        }
        if votes is not None and not from_list:
            shares = next_token_chances(chances.float(), alike[label])
            sample |= {"choices": answer_ids.T, "shares": shares}
        if from_list:
            sample["listed"] = drawn_list(label, len(class_names) + len(others), rng)
        return sample | {"keys": torch.tensor(rng.integers(1 << 62))}

    classes = labels if training.balance == "classes" else None
    stream = SampleStream(
        len(of_clips), training.max_steps * training.batch_size, training.seed, read, classes
    )
    made_from = fingerprint(llm_config.precision)
    val = sentences[(sentences["split"] == "val") & (sentences["reading"] == 0)]
    val = val[val["action"].isin(class_names)]
    val_labels = [class_names.index(action) for action in val["action"]]
    longest = max(map(len, read_of_all)), int(answer_mask.sum(dim=1).max())
    size = clips_at_once(model, adapter, training, *longest)
    while True:
        fitting = training.model_copy(update={"micro_batch_size": size})
        try:
            history = train(
                model,
                stream,
                fitting,
                checkpoints,
                made_from,
                on_log=on_log,
                model_folder=model_folder,
                join=join_batch,
                validate=validation(model, read_clips(val, adapter.input), val_labels, fitting),
            )
            return model.eval(), history
        except torch.OutOfMemoryError:
            size = halved(training, size, processes.device())
        logger.info("out of memory: %d clips at a time from here on", size)
        del model
        gc.collect()
        torch.cuda.empty_cache()
        model = untrained()


def settled_as_begun(
    config: LLMConfig, fingerprint: Callable[[str], dict[str, Any]], checkpoints: Path
) -> LLMConfig:
    """The configuration with a number type in place of "auto".

    A training that is continued keeps the one that it began with, on whatever machine; a new one takes that
    in which this machine is fast. Several processes take what the first one took.

    Args:
        config: which model.
        fingerprint: number type -> the training's fingerprint.
        checkpoints: where those of the training lie, if it has begun.

    Source: ours.
    """
    if config.precision != "auto":
        logger.info("language model in %s, as llm.precision asks for", config.precision)
        return config
    known = read_fingerprint(checkpoints) or {}
    begun = known.get("llm", {}).get("precision")
    own = number_type()
    continued = begun is not None and not differences(known, json.loads(json.dumps(fingerprint(begun))))
    names = ("float32", "bfloat16")
    number = torch.tensor(names.index(begun if continued else own.precision), device=processes.device())
    chosen = names[int(processes.same_everywhere(number))]
    if continued and chosen != own.precision:
        logger.info("language model in %s, as its training began; here alone %s", chosen, own)
    else:
        logger.info("language model in %s", own)
    return config.model_copy(update={"precision": chosen})
