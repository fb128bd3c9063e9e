"""Scoring a class list against one forward pass a class; see stage2.py."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

import torch
from measuring import DEVICE, now, take_turns, times
from stage2_training import CODES, TOKENS, codebook, weights
from torch import Tensor

from llmar_pipeline.corpora.ntu import CLASS_NAMES
from llmar_pipeline.language.action_language_model import ActionLanguageModel
from llmar_pipeline.language.answer import score_classes
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.instructions import encode_answer, encode_prompt, load_instruction
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.loading import attach_lora, load_llm
from llmar_pipeline.language.packing import position_ids

CLIPS = 8  # in one batch
PASSES = 3  # of one-pass-a-class that are measured; the rest takes as long
ALONE, BATCHED = "one pass a class, a clip alone", f"one pass a class, {CLIPS} clips"


@torch.no_grad()
def one_pass(model: ActionLanguageModel, codes: Tensor, classes: Sequence[str], name: str) -> Tensor:
    """Log-likelihood of one class for every clip [B], from the logits of the whole text, as scripts do it."""
    prompt, mask = model.embed_prompt(codes, torch.ones_like(codes, dtype=torch.bool), classes)
    answer = torch.tensor(encode_answer(model.tokenizer, name), device=codes.device)
    words = model.words(answer[:-1]).expand(len(codes), -1, -1)
    mask = torch.cat([mask, mask.new_ones(len(codes), len(answer) - 1)], dim=1)
    logits = model.base(
        inputs_embeds=torch.cat([prompt, words], dim=1),
        attention_mask=mask,
        position_ids=position_ids(mask),
        use_cache=False,
    ).logits[:, -len(answer) :]
    return logits.float().log_softmax(-1).gather(2, answer.expand(len(codes), -1)[..., None]).sum((1, 2))


def seconds_of_passes(model: ActionLanguageModel, codes: Tensor, names: Sequence[str]) -> float:
    """Seconds a clip of one pass a class; a few classes are measured, and multiplied up."""
    measured = names[:: len(names) // PASSES][:PASSES]
    started = now()
    for name in measured:
        one_pass(model, codes, names, name)
    return (now() - started) * len(names) / len(measured) / len(codes)


def seconds_of_tree(model: ActionLanguageModel, codes: Tensor, names: Sequence[str], batch: int) -> float:
    """Seconds a clip of our scorer."""
    started = now()
    trie = LabelTrie(names, model.tokenizer)
    score_classes(model, codes, torch.ones_like(codes, dtype=torch.bool), trie, batch)
    return (now() - started) / len(codes)


def limit(model: ActionLanguageModel, names: Sequence[str], layers: int, vocabulary: int) -> float:
    """Products with weights of one pass a class, as a multiple of those that the scores need."""
    before, after = map(len, encode_prompt(model.tokenizer, model.instruction, names))
    trie = LabelTrie(names, model.tokenizer)
    read = sum(before + TOKENS + after + len(answer) - 1 for answer in trie.answers)
    nodes = len(trie.node_tokens)
    needed = (TOKENS + after + nodes) * layers + (1 + nodes) * vocabulary
    return read * (layers + vocabulary) / needed


def untrained(config: LLMConfig, cache: Path, instruction: str) -> ActionLanguageModel:
    """A model with adapters that do something, as training leaves it."""
    llm, tokenizer = load_llm(config, cache)
    tuned = attach_lora(llm, AdapterConfig())
    torch.manual_seed(0)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:  # they start at zero
            torch.nn.init.normal_(parameter, std=0.01)
    vectors, text = codebook(llm.config.hidden_size), load_instruction(instruction)
    return ActionLanguageModel(tuned, tokenizer, vectors, text, CLASS_NAMES, config).eval().to(DEVICE)


def score(llm_config: LLMConfig, cache: Path, counts: list[int], rounds: int) -> list[str]:
    """The Markdown section of scoring."""
    config = llm_config.model_copy(update={"precision": "float32"})  # bfloat16 sums drift by up to 1 nat
    sizes = weights(config, cache)
    codes = torch.randint(CODES, (CLIPS, TOKENS), generator=torch.Generator().manual_seed(0)).to(DEVICE)
    few = codes[:2]
    lines = [f"## Scoring: {config.model}, float32", ""]
    lines += [
        "| classes | instruction | way | s a clip | times the clip alone | times the batch |",
        "|---:|---|---|---:|---:|---:|",
    ]
    gap, limits = 0.0, []
    for instruction, some in (("recognize", counts), ("recognize_from_list", sorted({60} & {*counts}))):
        if not some:
            continue
        model = untrained(config, cache, instruction)
        seconds_of_tree(model, few, CLASS_NAMES[:1], 1)  # loads libraries
        for count in some:
            names = CLASS_NAMES[:count]
            ways = {
                ALONE: partial(seconds_of_passes, model, codes[:1], names),
                BATCHED: partial(seconds_of_passes, model, codes, names),
                "ours, a clip alone": partial(seconds_of_tree, model, codes[:1], names, 1),
                f"ours, {CLIPS} clips": partial(seconds_of_tree, model, codes, names, CLIPS),
            }
            took = take_turns(ways, rounds, warm_up=False)
            for way, seconds in took.items():
                faster = [1 / times(took, way, base) for base in (ALONE, BATCHED)]
                lines.append(
                    f"| {count} | {instruction} | {way} | {median(seconds):.3f} "
                    f"| {faster[0]:.1f} | {faster[1]:.1f} |"
                )
            trie, known = LabelTrie(names, model.tokenizer), torch.ones_like(few, dtype=torch.bool)
            expected = one_pass(model, few, names, names[-1]).cpu()
            gap = max(gap, (score_classes(model, few, known, trie)[:, -1] - expected).abs().max().item())
            limits.append(f"{limit(model, names, *sizes):.1f} ({count}, {instruction})")
    lines += [
        "",
        f"*one pass a class*: {PASSES} classes measured and multiplied up, logits of all positions. *times*:",
        "faster than one pass a class, with the clip alone, as scripts do it, or with a batch of clips. All",
        f"ways use the same model with its adapters; scores differ by at most {gap:.0e} nats.",
        "The limit by products with weights, where both ways reach the same share of the processor's peak:",
        f"{', '.join(limits)} times. What is above it is what short passes waste.",
        "",
    ]
    return lines
