"""The folder of a trained language model: written, and read for scoring with the LLM of the training."""

import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import write_json
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.llm import is_here, llm_checksum
from llmar_pipeline.language.loading import load_base, load_tokenizer, load_weights, tokenizer_checksum
from llmar_pipeline.language.model_folder import ACTION_TOKENS, ADAPTERS, MANIFEST, manifest_of, trained_llm
from llmar_pipeline.language.packed_linear import pack_linear_layers
from llmar_pipeline.language.split_linear import LowRank, split_linear_layers, splits
from llmar_pipeline.training import processes
from llmar_pipeline.training.digests import tensor_checksum
from llmar_pipeline.training.sharding import is_sharded, put_together, read_parts, write_whole

if TYPE_CHECKING:
    from peft import PeftModel

_WHOLE = "recognizer.json"  # of the folder that the model is a part of, see `recognizer_folder`
_ADAPTER_WEIGHTS = "adapter_model.safetensors"


def save_model(model: ActionLanguageModel, folder: Path) -> None:
    """Write what training made: adapters (or, without adapters, the whole tuned model) and action tokens.

    `language_model.json` is written last. A recogniser's folder is no longer whole until it is completed
    anew.

    Of a model that is sharded, all processes write.

    Args:
        model: The language model.
        folder: Where to write; made if missing.

    Source: ours.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (_WHOLE, MANIFEST) if processes.first() else ():
        (folder / name).unlink(missing_ok=True)
    if model.has_adapters:
        model.llm.save_pretrained(folder, save_embedding_layers=False)
    else:
        (folder / ADAPTERS).unlink(missing_ok=True)
        _save_tuned(model.base, folder)
    tensors = {"action_tokens": put_together(model.action_embedding.weight.detach()).contiguous()}
    if not processes.first():
        return
    if model.class_votes is not None:
        tensors["class_votes"] = model.class_votes.contiguous()
    save_file(tensors, folder / ACTION_TOKENS)
    manifest = {
        "class_names": model.class_names,
        "llm": model.llm_config.model_dump(),
        "hidden_size": model.words.embedding_dim,
        "instruction": model.instruction,
        "input": model.input,
        "word_factor": model.word_factor,
        "action_tokens": "trainable" if model.action_embedding.weight.requires_grad else "frozen",
        "codebook_sha256": model.codebook_checksum,
        "tokenizer_sha256": tokenizer_checksum(model.tokenizer),
        "llm_sha256": model.llm_checksum,
    }
    write_json(folder / MANIFEST, manifest)


def _save_tuned(llm: PreTrainedModel, folder: Path) -> None:
    if not is_sharded(llm):
        llm.save_pretrained(folder)
        return
    write_whole(llm, folder)
    if processes.first():
        llm.config.save_pretrained(folder)
        if llm.generation_config is not None:
            llm.generation_config.save_pretrained(folder)


def load_model(
    folder: Path,
    cache: Path,
    codebook: Tensor | None = None,
    dtype: torch.dtype | str | None = None,
    llm: LLMConfig | None = None,
    split: bool = False,
) -> ActionLanguageModel:
    """Read what `save_model` wrote (all weights frozen, evaluation mode).

    In float32 adapters are added to the weights that they belong to, so that a pass has no products of its
    own for them. These are the weights of the training, rounded as they were there: adapters were trained
    against their rounding.

    Args:
        folder: Folder that `save_model` wrote.
        cache: Folder of converted language models, as in `ensure_llm`.
        codebook: If given, must be the codebook that the model was trained with [codes, du].
        dtype: Number type of the base weights, or its name; the trained precision by default.
        llm: Where the language model may lie by now, if not where it lay in training.
        split: In float32, keep weights that were bfloat16 in training as they are, with products of float32's
            accuracy (`SplitLinear`); others stay float32.

    Raises:
        UserError: The folder is incomplete or damaged, or language model, tokenizer or codebook are not those
            of the training.

    Source: ours.
    """
    try:
        return _load(folder, cache, codebook, dtype, llm, split)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"expected the files of one trained model in {folder}, saw that reading fails "
            f"({type(error).__name__}: {reason}); run `kedro run --pipelines=stage2`."
        ) from error


def _load(
    folder: Path,
    cache: Path,
    codebook: Tensor | None,
    dtype: torch.dtype | str | None,
    llm: LLMConfig | None,
    split: bool,
) -> ActionLanguageModel:
    if not (folder / MANIFEST).is_file():
        raise UserError(
            f"expected a trained model with {MANIFEST}, saw none in {folder}; run "
            "`kedro run --pipelines=stage2`."
        )
    manifest, config = manifest_of(folder), find_llm(folder, cache, llm)

    def check(what: str, expected: object, seen: object) -> None:
        if seen != expected:
            raise UserError(
                f"expected {what} {expected}, saw {seen} (llm.model={config.model}) for the model in "
                f"{folder}; restore what it was trained with, or run `kedro run --pipelines=stage2`."
            )

    if codebook is not None:
        check("codebook", manifest["codebook_sha256"], tensor_checksum(codebook.float()))
    tokenizer = load_tokenizer(config, cache)
    check("tokenizer", manifest["tokenizer_sha256"], tokenizer_checksum(tokenizer))
    tuned: nn.Module
    if (folder / ADAPTERS).is_file():
        wanted = dtype or config.precision
        exact = config.quantization == "none" and wanted in ("float32", torch.float32)
        base = load_base(config, cache, None if exact else dtype)
        check("hidden size", manifest["hidden_size"], base.config.hidden_size)
        split = split and base.dtype == torch.bfloat16
        tuned = _with_adapters_added(base, folder, split) if exact else _adapted(base, folder)
    else:
        tuned = load_weights(folder, dtype or getattr(torch, config.precision))
    tensors = load_file(folder / ACTION_TOKENS)
    model = ActionLanguageModel(
        tuned,
        tokenizer,
        tensors["action_tokens"],
        manifest["instruction"],
        manifest["class_names"],
        config,
        input=manifest.get("input", "codes"),
    )
    model.word_factor = manifest.get("word_factor", 1.0)  # of the rows as saved: it is in them already
    model.codebook_checksum = manifest["codebook_sha256"]
    model.llm_checksum = manifest.get("llm_sha256")
    model.class_votes = tensors.get("class_votes")
    return model.eval()


def _adapted(base: nn.Module, folder: Path) -> "PeftModel":
    """The language model with its adapters; peft leaves one as it starts, without effect, that it misses."""
    from peft import PeftModel, get_peft_model_state_dict

    tuned = PeftModel.from_pretrained(base, folder)
    with safe_open(folder / _ADAPTER_WEIGHTS, "pt") as file:
        _check_names(folder, file.keys(), get_peft_model_state_dict(tuned, save_embedding_layers=False))
    return tuned


def load_scorer(
    folder: Path,
    cache: Path,
    device: torch.device,
    codebook: Tensor | None = None,
    llm: LLMConfig | None = None,
) -> ActionLanguageModel:
    """Read a trained model for scores of float32's accuracy, with its weights as a device multiplies fastest.

    Args:
        folder: Folder that `save_model` wrote.
        cache: Folder of converted language models, as in `ensure_llm`.
        device: Where it will score.
        codebook: As in `load_model`.
        llm: As in `load_model`.

    Raises:
        UserError: As in `load_model`.

    Source: ours; in bfloat16 sums drift by up to 1 nat.
    """
    model = load_model(folder, cache, codebook, "float32", llm, splits(device)).to(device)
    pack_linear_layers(model.decoder)
    return model


def _with_adapters_added(base: nn.Module, folder: Path, split: bool) -> nn.Module:
    """The language model in float32, with its adapters in its weights, as peft's `merge_adapter` adds them.

    Split weights have no digits for them: there they stay beside. Importing peft, and what it imports where
    it is installed, takes longer than to load the model.
    """
    settings = json.loads((folder / ADAPTERS).read_text(encoding="utf-8"))
    tensors = load_file(folder / _ADAPTER_WEIGHTS)
    layers = {
        name: layer
        for name, layer in base.named_modules()
        if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in settings["target_modules"]
    }
    pairs = {name: [f"base_model.model.{name}.lora_{part}.weight" for part in "BA"] for name in layers}
    _check_names(folder, tensors, chain.from_iterable(pairs.values()))
    rank, low_rank = settings["r"], dict[str, LowRank]()
    for name, (out, into) in pairs.items():
        if len(tensors[into]) != rank:
            raise UserError(
                f"expected the adapters in {folder} of rank {rank}, saw {len(tensors[into])} in {name}; run "
                "`kedro run --pipelines=stage2`."
            )
        low_rank[name] = LowRank(tensors[into], tensors[out], settings["lora_alpha"] / rank)
    if split:
        split_linear_layers(base, low_rank)
        return base
    for parameter in base.parameters():
        parameter.data = parameter.data.float()
    for name, added in low_rank.items():
        layers[name].weight.data += added.out @ added.into * added.scale
    return base


def _check_names(folder: Path, seen: Iterable[str], expected: Iterable[str]) -> None:
    if differing := set(seen) ^ set(expected):
        raise UserError(
            f"expected the adapters of {folder / ADAPTERS} in {_ADAPTER_WEIGHTS}, saw others "
            f"({min(differing)}); run `kedro run --pipelines=stage2`."
        )


def check_start(folder: Path, checksum: str, adapter: AdapterConfig) -> None:
    """Refuse a trained model from which a training cannot start.

    Args:
        folder: As `save_model` wrote it.
        checksum: Of the language model to be tuned, as `llm_checksum` gives it.
        adapter: How it will be.

    Raises:
        UserError: Another language model, adapters of another rank, scale or place, or adapters against none.

    Source: ours.
    """
    again = "choose the language model and the `lora` parameters that it was trained with"
    seen = manifest_of(folder)
    if seen.get("llm_sha256") != checksum:
        raise UserError(
            f"init_from: expected a model on the language model of checksum {checksum[:12]}, saw one on "
            f"{seen['llm']['model']} of {str(seen.get('llm_sha256'))[:12]} in {folder}; {again}"
        )
    adapted = (folder / ADAPTERS).is_file()
    if adapted != (adapter.method == "lora"):
        found = "adapters" if adapted else "all weights tuned"
        raise UserError(f"init_from: expected lora.method={adapter.method}, saw {found} in {folder}; {again}")
    known = json.loads((folder / ADAPTERS).read_text(encoding="utf-8")) if adapted else {}
    for name, key in (("rank", "r"), ("alpha", "lora_alpha"), ("target_modules", "target_modules")):
        wanted, theirs = getattr(adapter, name), known.get(key)
        if isinstance(theirs, list):  # which peft writes in any order
            wanted, theirs = sorted(wanted), sorted(theirs)
        if adapted and wanted != theirs:
            raise UserError(f"init_from: expected lora.{name}={wanted}, saw {theirs} in {folder}; {again}")


def start_from(model: ActionLanguageModel, folder: Path) -> None:
    """Give a model that is to be trained the adapters of a trained one, or all its weights where it has none.

    Action tokens and classes stay those of the model.

    Args:
        model: Changed in place.
        folder: As `save_model` wrote it; `check_start` has passed it.

    Source: ours; fine-tuning.
    """
    from peft import set_peft_model_state_dict

    if model.has_adapters:
        set_peft_model_state_dict(model.llm, load_file(folder / _ADAPTER_WEIGHTS))
    elif is_sharded(model):
        read_parts(model.base, folder)
    else:
        model.base.load_state_dict(load_weights(folder, torch.float32).state_dict())


def find_llm(folder: Path, cache: Path, now: LLMConfig | None = None) -> LLMConfig:
    """Where the language model of a training lies: where it did then, or where it is said to be by now.

    A place on this machine is looked at before a hub is asked.

    Args:
        folder: As `save_model` wrote it.
        cache: As in `ensure_llm`.
        now: Where it may lie by now.

    Raises:
        UserError: It cannot be had, or what lies there has another checksum.

    Source: ours.
    """
    trained, checksum = trained_llm(folder), manifest_of(folder).get("llm_sha256")
    if checksum is None:
        return trained
    places = [trained]
    if now is not None:
        places.append(trained.model_copy(update={"model": now.model, "revision": now.revision}))
    places.sort(key=lambda config: not is_here(config.model, config.revision))
    missing: UserError | None = None
    others = []
    for config in places:
        try:
            if llm_checksum(config, cache) == checksum:
                return config
            others.append(config.model)
        except UserError as error:
            missing = missing or error
    if missing is not None and not others:
        raise missing
    raise UserError(
        f"expected the language model that {folder} was trained with, saw other weights (another checksum) "
        f"at llm.model={others[-1]}; restore them, or run `kedro run --pipelines=stage2`."
    )
