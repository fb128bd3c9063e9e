"""The large language model that reads action sentences and answers with class names."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.dropout import drop_by_clip, token_keys, uniform
from llmar_pipeline.language.instructions import Prompt, check_instruction, encode_prompt
from llmar_pipeline.language.loading import settled
from llmar_pipeline.language.packing import additive, pack
from llmar_pipeline.training.digests import tensor_checksum

_PROMPTS = 8  # kept as tokens; the lists that a training draws at each step never come again


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
        config: Where the language model comes from.
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
        class_votes: What speaks for each class of the training in each code [codes, classes], float; None
            where it is not known. Names are looked for from there; it decides nothing.
        other_names: What `listed` in `forward` may name beside the classes of the training; it is not saved.

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
        self._encoded = lru_cache(_PROMPTS)(partial(encode_prompt, tokenizer, self.instruction))
        self.llm_config = settled(config)
        width = self.words.embedding_dim
        if codebook.ndim != 2 or codebook.shape[1] != width:
            raise UserError(
                f"expected a codebook of width {width} (hidden size of llm.model={config.model}), saw shape "
                f"{tuple(codebook.shape)}; retrain stage 1 with vqvae.code_dim={width}, or choose the "
                "language model that the codebook was trained for."
            )
        self.codebook_checksum = tensor_checksum(codebook.float())
        self.llm_checksum: str | None = None
        self.class_votes: Tensor | None = None
        self.other_names: tuple[str, ...] = ()
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
        self._draws = drop_by_clip(self.llm)
        frozen = action_tokens == "frozen" or input == "features"
        self.action_embedding = nn.Embedding.from_pretrained(rows, freeze=frozen)

    @property
    def has_adapters(self) -> bool:
        """Whether the language model is wrapped by peft."""
        return hasattr(self.llm, "peft_config")

    @property
    def base(self) -> PreTrainedModel:
        """The causal language model without peft's wrapper (adapters stay active inside its layers)."""
        return cast(PreTrainedModel, self.llm.get_base_model() if self.has_adapters else self.llm)

    @property
    def words(self) -> nn.Embedding:
        """The language model's input word embeddings."""
        return cast(nn.Embedding, self.base.get_input_embeddings())

    @property
    def decoder(self) -> nn.Module:
        """The language model up to its last hidden states, without the vocabulary projection."""
        return cast(nn.Module, self.base.get_decoder())

    @property
    def vocabulary_head(self) -> nn.Module:
        """The vocabulary projection. Apply it to the positions needed only: it is as large as many layers."""
        return cast(nn.Module, self.base.get_output_embeddings())

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.words.weight.device

    def guesses(self, codes: Tensor, code_mask: Tensor, class_names: Sequence[str]) -> list[int] | None:
        """Which class each clip is likely of, told from its codes without the language model.

        Args:
            codes: Codebook indices [N, W], int64, or features [N, W, du].
            code_mask: True where a code is real [N, W], bool.
            class_names: The class list that is asked.

        Returns:
            An index into that list for each clip; None where nothing is known of its classes, or features are
            read.

        Source: ours.
        """
        known = [label for label, name in enumerate(self.class_names) if name in class_names]
        if self.class_votes is None or codes.is_floating_point() or not known:
            return None
        votes = self.class_votes[:, known][codes.cpu()] * code_mask.cpu().unsqueeze(-1)
        places = [class_names.index(self.class_names[label]) for label in known]
        return [places[best] for best in votes.sum(dim=1).argmax(dim=1).tolist()]

    def prompt(self, class_names: Sequence[str]) -> Prompt:
        """The instruction as tokens; made once for each class list, or once for all where it names none.

        Args:
            class_names: Names that replace [list] in the instruction, if it has one.

        Source: Sec. 3.2 of the paper.
        """
        return self._encoded(tuple(class_names) if "[list]" in self.instruction else ())

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
                f"expected {self.input} of clips, as the model was trained with lora.input={self.input}, saw "
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
        before, after = self.prompt(class_names)
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
        answer_tokens: Tensor | None = None,
        listed: Tensor | None = None,
        choices: Tensor | None = None,
        shares: Tensor | None = None,
        keys: Tensor | None = None,
        shared_key: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Cross-entropy of the answers.

        The clips share the instruction before the action tokens, so they also share the adapters' dropout
        there.

        Args:
            codes: Codebook indices [B, W], int64, or features [B, W, du], float.
            code_mask: True where a code is real [B, W], bool.
            answer_ids: Answer tokens with end-of-sequence [B, A], int64, right-padded.
            answer_mask: True where an answer token is real [B, A], bool.
            answer_tokens: What the sum over the answer tokens is divided by [], see
                `join_batch`; their number by default.
            listed: Indices of the names that replace [list] in the instruction, which stands behind the
                action tokens there, in that order for each clip [B, L], int64; all by default.
            choices: Where answers are known as probabilities: tokens with which names go on there, name by
                name [B, A, C], int64.
            shares: How probable each of them is [B, A, C], as `next_token_chances` gives it.
            keys: What dropout is drawn by for each clip [B], int64; at random by default.
            shared_key: The same for what they share [], int64, see `join_batch`; their sum by default.

        Returns:
            "loss": mean over all real answer tokens (a long answer weighs more than a short one; instruction
            and action tokens carry no loss).

        Source: Eq. 13 of the paper.
        """
        longest = int(answer_mask.sum(dim=1).max())
        answer_ids, answer_mask = answer_ids[:, :longest], answer_mask[:, :longest]
        known = self.class_names + self.other_names
        lists = [range(len(self.class_names))] if listed is None else listed.tolist()
        prompts = [self.prompt([known[index] for index in some]) for some in lists]
        shared = self.words(torch.tensor(prompts[0].before, dtype=torch.int64, device=codes.device))
        # Padded on the left: the last token, which predicts the answer's first, stands at one place.
        reach = max(len(after) for _, after in prompts)
        padded = torch.tensor([[-1] * (reach - len(after)) + list(after) for _, after in prompts])
        after_ids = padded.to(codes.device).expand(len(codes), -1)
        prompt = codes.shape[1] + reach
        actions = self.embed_actions(codes).to(shared.dtype)
        if not self.training:
            keys = None  # nothing is left out
        elif keys is None:
            keys = torch.randint(1 << 62, codes.shape[:1], device=codes.device)
        if keys is not None and self.code_dropout:
            tokens = token_keys(keys[:, None], -1 - torch.arange(codes.shape[1], device=codes.device))
            actions = actions * (uniform(tokens) >= self.code_dropout).unsqueeze(-1)
        text = self.words(torch.cat([after_ids.clamp(min=0), answer_ids[:, :-1]], dim=1))
        mask = torch.cat([code_mask, after_ids >= 0, answer_mask[:, :-1]], dim=1)
        packed = pack(shared, torch.cat([actions, text], dim=1), mask)
        if keys is not None and self._draws:
            whose = torch.cat([keys, keys.sum()[None] if shared_key is None else shared_key[None]])
            self._draws.begin(token_keys(whose[packed.owner.clamp(min=-1)], packed.position_ids))
        hidden = self.decoder(
            inputs_embeds=packed.embeddings,
            attention_mask=additive(packed.visible, packed.embeddings.dtype),
            position_ids=packed.position_ids,
            use_cache=False,
        ).last_hidden_state
        # The state at a position predicts the next token: the instruction's last one the answer's first.
        predicting = hidden.flatten(0, 1)[packed.places[:, prompt - 1 :][answer_mask]]
        logits = self.vocabulary_head(predicting).float()
        if choices is None or shares is None:
            surprise = F.cross_entropy(logits, answer_ids[answer_mask], reduction="none")
        else:
            choices, shares = choices[:, :longest][answer_mask], shares[:, :longest][answer_mask]
            surprise = -(shares * logits.log_softmax(1).gather(1, choices)).sum(1)
        return {"loss": surprise.mean() if answer_tokens is None else surprise.sum() / answer_tokens}
