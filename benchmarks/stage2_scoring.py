"""Scoring a class list against one forward pass a class; see stage2.py."""

from functools import partial
from pathlib import Path
from statistics import median

import torch
from stage1_quantisation import DEVICE, now, take_turns, times
from stage2_training import CODES, TOKENS, codebook
from torch import Tensor

from llmar_pipeline.corpora.ntu import CLASS_NAMES
from llmar_pipeline.language.action_language_model import ActionLanguageModel, positions
from llmar_pipeline.language.answer import LabelTrie, score_classes
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.instructions import encode_answer, load_instruction
from llmar_pipeline.language.llm import load_llm

CLIPS = 8  # in one batch
PASSES = 5  # of one-pass-a-class that are measured; the rest takes as long


@torch.no_grad()
def one_pass(model: ActionLanguageModel, codes: Tensor, name: str) -> Tensor:
    """Log-likelihood of one class for every clip [B], from the logits of the whole text, as scripts do it."""
    prompt, mask = model.embed_prompt(codes, torch.ones_like(codes, dtype=torch.bool), [])
    answer = torch.tensor(encode_answer(model.tokenizer, name), device=codes.device)
    words = model.words(answer[:-1]).expand(len(codes), -1, -1)
    mask = torch.cat([mask, mask.new_ones(len(codes), len(answer) - 1)], dim=1)
    logits = model.base(
        inputs_embeds=torch.cat([prompt, words], dim=1),
        attention_mask=mask,
        position_ids=positions(mask),
        use_cache=False,
    ).logits[:, -len(answer) :]
    return logits.float().log_softmax(-1).gather(2, answer.expand(len(codes), -1)[..., None]).sum((1, 2))


def seconds_of_passes(model: ActionLanguageModel, codes: Tensor, names: tuple[str, ...]) -> float:
    """Seconds of one pass a class; a few classes are measured, and multiplied up."""
    measured = names[:: len(names) // PASSES][:PASSES]
    started = now()
    for name in measured:
        one_pass(model, codes, name)
    return (now() - started) * len(names) / len(measured)


def seconds_of_tree(model: ActionLanguageModel, codes: Tensor, names: tuple[str, ...], batch: int) -> float:
    """Seconds of our scorer."""
    started = now()
    trie = LabelTrie(names, model.tokenizer)
    score_classes(model, codes, torch.ones_like(codes, dtype=torch.bool), trie, batch)
    return now() - started


def score(llm_config: LLMConfig, cache: Path, counts: list[int], rounds: int) -> list[str]:
    """The Markdown section of scoring."""
    config = llm_config.model_copy(update={"precision": "float32"})  # bfloat16 sums drift by up to 1 nat
    llm, tokenizer = load_llm(config, cache)
    vectors = codebook(llm.config.hidden_size)
    instruction = load_instruction("recognize")
    model = ActionLanguageModel(llm, tokenizer, vectors, instruction, CLASS_NAMES, config).eval().to(DEVICE)
    codes = torch.randint(CODES, (CLIPS, TOKENS), generator=torch.Generator().manual_seed(0)).to(DEVICE)

    lines = [f"## Scoring: {config.model}, float32, {CLIPS} clips", ""]
    lines += ["| classes | way | s a clip | times |", "|---:|---|---:|---:|"]
    gap = 0.0
    for count in counts:
        names = CLASS_NAMES[:count]
        ways = {
            "one pass a class": partial(seconds_of_passes, model, codes, names),
            "ours, a clip alone": partial(seconds_of_tree, model, codes, names, 1),
            "ours, one batch": partial(seconds_of_tree, model, codes, names, CLIPS),
        }
        took = take_turns(ways, rounds)
        for way, seconds in took.items():
            faster = 1 / times(took, way, next(iter(ways)))
            lines.append(f"| {count} | {way} | {median(seconds) / CLIPS:.3f} | {faster:.1f} |")
        known = torch.ones_like(codes, dtype=torch.bool)
        scores = score_classes(model, codes, known, LabelTrie(names, tokenizer), CLIPS)
        expected = one_pass(model, codes, names[-1]).cpu()
        gap = max(gap, (scores[:, -1] - expected).abs().max().item())
    lines += [
        "",
        f"*one pass a class*: the {CLIPS} clips in one batch, {PASSES} classes measured and multiplied up. "
        f"*times*: faster. Scores differ by at most {gap:.0e} nats.",
        "",
    ]
    return lines
