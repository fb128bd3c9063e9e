"""GPU hours of every table of the paper, by floating-point operations: the table of docs/scale.md.

python benchmarks/hours.py            # writes it into the page
python benchmarks/hours.py --check    # exit code 1 where the page has another one
"""

import argparse
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from transformers import PreTrainedTokenizerBase

from llmar_pipeline import operations
from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.language.config import AdapterConfig, LLMConfig
from llmar_pipeline.language.instructions import encode_prompt, load_instruction
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.llm_cache import llm_cache
from llmar_pipeline.language.loading import load_tokenizer
from llmar_pipeline.language.micro_batches import layer_bytes
from llmar_pipeline.language.passes import clip_bytes
from llmar_pipeline.language.samples import OTHER_CLASSES
from llmar_pipeline.skeletons.topology import Body
from llmar_pipeline.vqvae.config import VQVAEConfig

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "scale.md"
MARKS = re.compile(r"(<!-- hours -->\n)(?s:.*?)(<!-- end -->)")

LLAMA_13B = operations.LLMShape(hidden=5120, inner=13824, layers=40, keys=5120, words=32000)
WEIGHTS = LLAMA_13B.layers * LLAMA_13B.layer + 2 * LLAMA_13B.words * LLAMA_13B.hidden
VQVAE = VQVAEConfig(code_dim=5120)

# Operations a second of large products in bfloat16: of an H100 measured, of an A100 its 312e12 by the share
# that the H100 reaches of its 989e12.
PEAKS = {"A100": 245e12, "H100": 778e12}
STAGE1 = 0.041  # share of the peak: 39.0 ms a step on an H100
LORA = 0.287  # the same, in micro-batches of 64
SCORE = 0.5  # not measured; three products for one, see SplitLinear
TUNED = 9  # times the seconds of one: fully tuned weights are float32, at 0.85 of 51e12 on an H100
MICRO_BATCH, TOGETHER = 64, 32  # clips of a training step's pass, and of one of scoring


@dataclass(frozen=True)
class Cost:
    """Operations of the stages, as if all were in bfloat16, and bytes of the largest pass of stage 2."""

    stage1: float = 0
    lora: float = 0
    score: float = 0
    memory: float = 0

    def times(self, count: float) -> "Cost":
        """Of so many runs one after the other."""
        return Cost(count * self.stage1, count * self.lora, count * self.score, self.memory)

    def plus(self, other: "Cost") -> "Cost":
        """Of both, one after the other."""
        memory = max(self.memory, other.memory)
        return Cost(self.stage1 + other.stage1, self.lora + other.lora, self.score + other.score, memory)

    def hours(self, gpu: str) -> list[float]:
        """Of the three stages, and of all."""
        of_each = [self.stage1 / STAGE1, self.lora / LORA, self.score / SCORE]
        parts = [operations / PEAKS[gpu] / 3600 for operations in of_each]
        return [*parts, sum(parts)]


def parameters(name: str) -> dict[str, dict[str, int]]:
    """The paper's values, as the configuration has them."""
    text = (ROOT / "conf" / "base" / "parameters" / f"{name}.yml").read_text(encoding="utf-8")
    made: dict[str, dict[str, int]] = yaml.safe_load(text)
    return made


def cost(
    tokenizer: PreTrainedTokenizerBase,
    env: str,
    tested: int,
    protocol: str = "",
    unseen: int = 0,
    method: str = "lora",
) -> Cost:
    """Of one run at size=paper; with unseen classes only they are asked."""
    corpus, seed = CORPORA[env], np.random.default_rng(0)
    of_protocol = corpus.protocols[protocol].actions if protocol else None
    names = [name for label, name in enumerate(corpus.class_names) if not of_protocol or label in of_protocol]
    listed = list(seed.permutation(names)[: OTHER_CLASSES + 1]) if unseen else []
    before, after = encode_prompt(
        tokenizer, load_instruction("recognize_from_list" if unseen else "recognize"), listed
    )
    trie = LabelTrie(names, tokenizer)
    answer = sum(map(len, trie.answers)) / len(names)
    length = operations.sentence_length(VQVAE, Body(corpus.topology, corpus.persons))
    clip = operations.Tokens(len(before), length, len(after), answer, len(trie.node_tokens))
    asked = replace(clip, nodes=len(LabelTrie(names[:unseen], tokenizer).node_tokens)) if unseen else clip
    first, second = parameters("vqvae")["vqvae_training"], parameters("lora")["lora_training"]
    adapter = AdapterConfig(method=method)
    step = operations.vqvae_step(VQVAE, Body(corpus.topology, corpus.persons), first["batch_size"])
    training = operations.lora_step(LLAMA_13B, adapter, clip, second["batch_size"])
    read = clip.before + length + clip.after + asked.nodes
    scored = 2 * WEIGHTS + TOGETHER * clip_bytes(LLAMA_13B[:4], read, split=True)
    row = clip.before + 4 * (length + clip.after + answer)
    a_token = LLAMA_13B.layers * layer_bytes(*LLAMA_13B[:2], 40, adapter, int(row), 2)
    kept = 2 * WEIGHTS + MICRO_BATCH / 4 * row * a_token
    return Cost(
        first["max_steps"] * step,
        second["max_steps"] * training,
        tested * operations.scoring(LLAMA_13B, asked) * (TUNED if method == "full" else 3),
        16 * WEIGHTS if method == "full" else max(kept, scored),
    )


def rows(tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, str, Cost, str]]:
    """Table, command, cost, and what is to be said of it."""
    run = "kedro run --pipeline=full --env={} --params=size=paper,protocol={}"
    made = []
    for env, protocol in (("ntu60", "xsub"), ("ntu60", "xview"), ("ntu120", "xsub"), ("ntu120", "xset")):
        tested = CORPORA[env].protocols[protocol].counts[1]
        made.append(("1", run.format(env, protocol), cost(tokenizer, env, tested), ""))
    for protocol in ("xsub", "xview1", "xview2"):
        smarthome = cost(tokenizer, "smarthome", CORPORA["smarthome"].clips, protocol)
        made.append(("2", run.format("smarthome", protocol), smarthome, "all clips scored: at most"))
    uav = cost(tokenizer, "uav", 22_476)
    made.append(("3", run.format("uav", "csv1"), uav, "all clips scored: at most"))
    whole = made[3][2]
    several = "kedro ablations --env=ntu120 --experiments={} --params=size=paper,protocol=xset"
    by_eight = ",lora_training.processes=8"
    second = replace(whole, stage1=0)
    tuned = replace(cost(tokenizer, "ntu120", 59_477, method="full"), stage1=0)
    made += [
        ("4", several.format("no_biases,no_zipf,no_context,no_mmd"), whole.times(4), "four variants"),
        ("5", several.format("llm_ar,no_discretization"), second, "stage 1 and `llm_ar` are Table 1's"),
        ("6", several.format("euclidean"), whole, ""),
        ("7", several.format("llm_ar,full_tuning") + by_eight, tuned, "likewise; shared by 4 to 8 GPUs"),
    ]
    asked = round(3 / 120 * 59_477)
    draw = cost(tokenizer, "ntu120", asked, unseen=3)
    both = replace(cost(tokenizer, "ntu120", asked, unseen=3, method="full"), stage1=0)
    unseen = (
        "kedro unseen --env=ntu120 --classes=3 --draws=5 --experiments={} --params=size=paper,protocol=xset"
    )
    made += [
        ("8", unseen.format("llm_ar"), draw.times(5), "five draws"),
        (
            "8",
            unseen.format("llm_ar,full_tuning") + by_eight,
            both.times(5),
            "beside these; stage 1 is shared",
        ),
    ]
    return made


def table(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The Markdown table."""
    lines = [
        "| table | command | A100, h | H100, h | stage 1 | LoRA or tuning | scoring | memory, GB | |",
        "|---:|:---|---:|---:|---:|---:|---:|---:|:---|",
    ]
    made, total = rows(tokenizer), Cost()
    for number, command, needed, note in [*made, ("", "all", Cost(), "")]:
        if number:
            total = total.plus(needed)
        else:
            needed = total
        h100 = needed.hours("H100")
        shown = f"`{command}`" if number else command
        memory = f"{needed.memory / 1e9:.0f}" if number else ""
        lines.append(
            f"| {number} | {shown} | {needed.hours('A100')[-1]:.1f} | {h100[-1]:.1f} | "
            + " | ".join(f"{part:.1f}" for part in h100[:-1])
            + f" | {memory} | {note} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    tokenizer = load_tokenizer(LLMConfig(model="smollm2", precision="float32"), llm_cache(ROOT / "data"))
    page = PAGE.read_text(encoding="utf-8")
    made = MARKS.sub(lambda found: found[1] + "\n".join(table(tokenizer)) + "\n" + found[2], page)
    if arguments.check:
        sys.exit(made != page)
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
