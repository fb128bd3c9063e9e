"""The large language model that reads action sentences and answers with class names."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmar_pipeline.errors import UserError
from llmar_pipeline.files import write_json
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.instructions import check_instruction, encode_prompt
from llmar_pipeline.language.llm import (
    llm_checksum,
    load_llm,
    load_tokenizer,
    load_weights,
    settled,
    tokenizer_checksum,
)
from llmar_pipeline.language.packing import additive, pack
from llmar_pipeline.training import processes
from llmar_pipeline.training.digests import tensor_checksum

_MANIFEST = "language_model.json"
_WHOLE = "recognizer.json"  # of the folder that the model is a part of, see `recognizer_folder`
_ACTION_TOKENS = "action_tokens.safetensors"
_ADAPTERS = "adapter_config.json"


class ActionLanguageModel(nn.Module):
    """A language model whose input is [instruction before | action tokens | instruction after | answer].

    Action tokens enter as input embeddings, the log-mapped codebook vectors; the language model's vocabulary
    keeps its size and values. With `input="features"` the encoder's features stand in their place, in the
    same space and multiplied by the same factor. Padded codes are masked holes: positions count real tokens
    only, so a padded clip gives the same output as the clip alone. Made for decoder-only models of the Llama
    kind, whose logits are one linear map of the last hidden state.

    Args:
        llm: Causal language model, bare or with adapters.
        tokenizer: Its tokenizer.
        codebook: Log-mapped codebook vectors [codes, du].
        instruction: Text with [tokens], as `load_instruction` gives it.
        class_names: The answers, by class index; they also replace [list] in the instruction.
        config: Where the language model comes from, for `save`.
        action_tokens: Whether the action tokens' embeddings are trained beside the adapters; features have
            none, so with them this does nothing.
        word_norm: Whether the codebook vectors are multiplied by one factor that gives them the mean norm of
            the language model's words.
        input: What is read of a clip: "codes", or "features" before the codebook.
        meanings: Vectors among the words [codes, du]; the action tokens start half way between them and the
            codebook vectors.
        code_dropout: Share of the action tokens that are zeroed in training.

    Attributes:
        word_factor: The factor of `word_norm`, else 1.
        llm_checksum: Of the base model, as `language.llm.llm_checksum` gives it; None where it is not known.

    Raises:
        UserError: The codebook is not as wide as the language model's word embeddings.

    Source: Sec. 3.2 of the paper; action tokens as input embeddings are ours. Features: Table 5.
    """

    def __init__(
        self,
        llm: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        codebook: Tensor,
        instruction: str,
        class_names: Sequence[str],
        config: LLMConfig,
        action_tokens: Literal["frozen", "trainable"] = "frozen",
        word_norm: bool = False,
        input: Literal["codes", "features"] = "codes",
        meanings: Tensor | None = None,
        code_dropout: float = 0.0,
    ):
        super().__init__()
        self.llm: Any = llm
        self.tokenizer = tokenizer
        self.instruction = check_instruction(instruction)
        self.class_names = tuple(class_names)
        self.llm_config = settled(config)
        width = self.words.embedding_dim
        if codebook.ndim != 2 or codebook.shape[1] != width:
            raise UserError(
                f"Expected a codebook of width {width} (hidden size of llm.model={config.model}), saw shape "
                f"{tuple(codebook.shape)}; retrain stage 1 with vqvae.code_dim={width}, or choose the "
                "language model that the codebook was trained for."
            )
        self.codebook_checksum = tensor_checksum(codebook.float())
        self.llm_checksum: str | None = None
        rows = codebook.detach().float().clone()
        self.input = input
        self.word_factor = 1.0
        if word_norm:
            words = self.words.weight.detach().float()
            self.word_factor = float(words.norm(dim=1).mean() / rows.norm(dim=1).mean())
            rows *= self.word_factor
        if meanings is not None:
            rows = (rows + meanings) / 2
        self.code_dropout = code_dropout
        frozen = action_tokens == "frozen" or input == "features"
        self.action_embedding = nn.Embedding.from_pretrained(rows, freeze=frozen)

    @property
    def has_adapters(self) -> bool:
        """Whether the language model is wrapped by peft."""
        return hasattr(self.llm, "peft_config")

    @property
    def base(self) -> PreTrainedModel:
        """The causal language model without peft's wrapper (adapters stay active inside its layers)."""
        return self.llm.get_base_model() if self.has_adapters else self.llm

    @property
    def words(self) -> nn.Embedding:
        """The language model's input word embeddings."""
        return cast(nn.Embedding, self.base.get_input_embeddings())

    @property
    def decoder(self) -> nn.Module:
        """The language model up to its last hidden states, without the vocabulary projection."""
        return self.base.get_decoder()

    @property
    def vocabulary_head(self) -> nn.Module:
        """The vocabulary projection. Apply it to the positions needed only: it is as large as many layers."""
        return self.base.get_output_embeddings()

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.words.weight.device

    def embed_actions(self, codes: Tensor) -> Tensor:
        """What stands for the clips among the words.

        Args:
            codes: Codebook indices [B, W], int64, or features [B, W, du], float: as the model's `input` says.

        Returns:
            Embeddings [B, W, du], float32.

        Raises:
            UserError: Codes for a model of features, or features for a model of codes.

        Source: ours; features: Table 5 of the paper.
        """
        if (self.input == "features") != codes.is_floating_point():
            seen = "features" if codes.is_floating_point() else "codes"
            raise UserError(
                f"Expected {self.input} of clips, as the model was trained with lora.input={self.input}, saw "
                f"{seen}; run `kedro run --pipelines=stage2` with lora.input={seen}."
            )
        return codes.float() * self.word_factor if codes.is_floating_point() else self.action_embedding(codes)

    def embed_prompt(
        self, codes: Tensor, code_mask: Tensor, class_names: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Build the input up to the answer.

        Args:
            codes: Codebook indices [B, W], int64, or features [B, W, du], float; anything valid where padded.
            code_mask: True where a code is real [B, W], bool.
            class_names: Names that replace [list] in the instruction, if it has one.

        Returns:
            Input embeddings [B, P, du] in the language model's number type, and their mask [B, P], bool. The
            last position is the instruction's last token in every row.

        Source: Sec. 3.2 of the paper.
        """
        before, after = encode_prompt(self.tokenizer, self.instruction, class_names)
        rows = codes.shape[0]
        text = self.words(torch.tensor(before + after, device=codes.device)).expand(rows, -1, -1)
        actions = self.embed_actions(codes).to(text.dtype)
        embeddings = torch.cat([text[:, : len(before)], actions, text[:, len(before) :]], dim=1)
        mask = torch.cat(
            [code_mask.new_ones(rows, len(before)), code_mask, code_mask.new_ones(rows, len(after))], dim=1
        )
        return embeddings, mask

    def forward(
        self,
        codes: Tensor,
        code_mask: Tensor,
        answer_ids: Tensor,
        answer_mask: Tensor,
        listed: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Cross-entropy of the answers.

        The clips of a row share the instruction before the action tokens, so they also share the adapters'
        dropout there.

        Args:
            codes: Codebook indices [B, W], int64, or features [B, W, du], float.
            code_mask: True where a code is real [B, W], bool.
            answer_ids: Answer tokens with end-of-sequence [B, A], int64, right-padded.
            answer_mask: True where an answer token is real [B, A], bool.
            listed: Indices of the classes that replace [list] in the instruction, in that order [L], int64;
                all by default.

        Returns:
            "loss": mean over all real answer tokens of the batch, those of other processes included (a long
            answer weighs more than a short one; instruction and action tokens carry no loss).

        Source: Eq. 13 of the paper.
        """
        longest = int(answer_mask.sum(dim=1).max())
        answer_ids, answer_mask = answer_ids[:, :longest], answer_mask[:, :longest]
        names = self.class_names if listed is None else [self.class_names[index] for index in listed.tolist()]
        before, after = encode_prompt(self.tokenizer, self.instruction, names)
        rows, prompt = len(codes), codes.shape[1] + len(after)
        text = self.words(torch.tensor(before + after, device=codes.device))
        actions = self.embed_actions(codes).to(text.dtype)
        if self.training and self.code_dropout:
            kept = torch.rand(codes.shape[:2], device=codes.device) >= self.code_dropout
            actions = actions * kept.unsqueeze(-1)
        following = text[len(before) :].expand(rows, -1, -1)
        clips = torch.cat([actions, following, self.words(answer_ids[:, :-1])], dim=1)
        mask = torch.cat(
            [code_mask, code_mask.new_ones(rows, len(after)), answer_mask[:, :-1]],
            dim=1,
        )
        packed = pack(text[: len(before)], clips, mask)
        hidden = self.decoder(
            inputs_embeds=packed.embeddings,
            attention_mask=additive(packed.visible, packed.embeddings.dtype),
            position_ids=packed.position_ids,
            use_cache=False,
        ).last_hidden_state
        # The state at a position predicts the next token: the instruction's last one the answer's first.
        predicting = hidden.flatten(0, 1)[packed.places[:, prompt - 1 :][answer_mask]]
        logits = self.vocabulary_head(predicting).float()
        surprise = F.cross_entropy(logits, answer_ids[answer_mask], reduction="none")
        return {"loss": processes.mean(surprise, torch.ones_like(surprise, dtype=torch.bool))}

    def save(self, folder: Path) -> None:
        """Write what training made: adapters (or, without adapters, the whole tuned model) and action tokens.

        `language_model.json` is written last. A recogniser's folder is no longer whole until it is completed
        anew.

        Args:
            folder: Where to write; made if missing.

        Source: ours.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name in (_WHOLE, _MANIFEST):
            (folder / name).unlink(missing_ok=True)
        if self.has_adapters:
            self.llm.save_pretrained(folder, save_embedding_layers=False)
        else:
            (folder / _ADAPTERS).unlink(missing_ok=True)
            self.base.save_pretrained(folder)
        save_file(
            {"action_tokens": self.action_embedding.weight.detach().contiguous()}, folder / _ACTION_TOKENS
        )
        manifest = {
            "class_names": self.class_names,
            "llm": self.llm_config.model_dump(),
            "hidden_size": self.words.embedding_dim,
            "instruction": self.instruction,
            "input": self.input,
            "word_factor": self.word_factor,
            "action_tokens": "trainable" if self.action_embedding.weight.requires_grad else "frozen",
            "codebook_sha256": self.codebook_checksum,
            "tokenizer_sha256": tokenizer_checksum(self.tokenizer),
            "llm_sha256": self.llm_checksum,
        }
        write_json(folder / _MANIFEST, manifest)

    @classmethod
    def load(
        cls,
        folder: Path,
        cache: Path,
        codebook: Tensor | None = None,
        dtype: torch.dtype | str | None = None,
        llm: LLMConfig | None = None,
    ) -> Self:
        """Read what `save` wrote, for scoring (all weights frozen, evaluation mode).

        Args:
            folder: Folder that `save` wrote.
            cache: Folder of converted language models, as in `ensure_llm`.
            codebook: If given, must be the codebook that the model was trained with [codes, du].
            dtype: Number type of the base weights, or its name; the trained precision by default.
            llm: Where the language model may lie by now, if not where it lay in training.

        Raises:
            UserError: The folder is incomplete, or language model, tokenizer or codebook are not those of the
                training.

        Source: ours.
        """
        if not (folder / _MANIFEST).is_file():
            raise UserError(
                f"Expected a trained model with {_MANIFEST}, saw none in {folder}; run "
                "`kedro run --pipelines=stage2`."
            )
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        config = _find_llm(LLMConfig(**manifest["llm"]), llm, cache, manifest.get("llm_sha256"), folder)

        def check(what: str, expected: object, seen: object) -> None:
            if seen != expected:
                raise UserError(
                    f"Expected {what} {expected}, saw {seen} (llm.model={config.model}) for the model in "
                    f"{folder}; restore what it was trained with, or run `kedro run --pipelines=stage2`."
                )

        if codebook is not None:
            check("codebook", manifest["codebook_sha256"], tensor_checksum(codebook.float()))
        tokenizer = load_tokenizer(config, cache)
        check("tokenizer", manifest["tokenizer_sha256"], tokenizer_checksum(tokenizer))
        tuned: nn.Module
        if (folder / _ADAPTERS).is_file():
            from peft import PeftModel

            base, _ = load_llm(config, cache, dtype)
            check("hidden size", manifest["hidden_size"], base.config.hidden_size)
            tuned = PeftModel.from_pretrained(base, folder)
        else:
            tuned = load_weights(folder, dtype or getattr(torch, config.precision))
        rows = load_file(folder / _ACTION_TOKENS)["action_tokens"]
        model = cls(
            tuned,
            tokenizer,
            rows,
            manifest["instruction"],
            manifest["class_names"],
            config,
            input=manifest.get("input", "codes"),
        )
        model.word_factor = manifest.get("word_factor", 1.0)  # of the rows as saved: it is in them already
        model.codebook_checksum = manifest["codebook_sha256"]
        model.llm_checksum = manifest.get("llm_sha256")
        return model.eval()


def model_files(folder: Path) -> list[Path]:
    """What `ActionLanguageModel.save` wrote into a folder, by name; other files may lie beside it.

    Source: ours.
    """
    adapters = (_ADAPTERS, "adapter_model*.safetensors*")
    tuned = ("config.json", "generation_config.json", "model*.safetensors*")
    patterns = (_MANIFEST, _ACTION_TOKENS, *adapters, *tuned)
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def _find_llm(
    trained: LLMConfig, now: LLMConfig | None, cache: Path, checksum: str | None, folder: Path
) -> LLMConfig:
    """Where the language model of the training lies: where it was then, or where it is said to be now."""
    if checksum is None:
        return trained
    places = [trained]
    if now is not None:
        places.append(trained.model_copy(update={"model": now.model, "revision": now.revision}))
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
        f"Expected the language model that {folder} was trained with, saw other weights (another checksum) "
        f"at llm.model={others[-1]}; restore them, or run `kedro run --pipelines=stage2`."
    )


def positions(mask: Tensor) -> Tensor:
    """Position of every token among the real tokens of its row.

    Args:
        mask: True where a token is real [B, L], bool.

    Returns:
        Positions [B, L], int64, from 0; a padded place repeats the position before it.

    Source: ours.
    """
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)
