"""What the number type of scoring changes: answers of a trained model against float32, and clips a second.

float32 has the adapters in the weights; "split" keeps bfloat16 weights, with activations in three terms (the
product's way on a GPU) or two; TF32 is there on a GPU alone.

    python benchmarks/number_types.py --recognizer data/06_models/demo/xsub/llm_ar-demo/recognizer
        [--clips 150] [--names 10 60] [--out F.md]
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pandas as pd
from measuring import DEVICE, GPU, ROOT, machine, now, write_page
from stage2_search import class_list

import torch  # isort: skip
from torch import Tensor

from llmar_pipeline.language import split_linear
from llmar_pipeline.language.answer import score_classes
from llmar_pipeline.language.label_trie import LabelTrie
from llmar_pipeline.language.llm_cache import llm_cache
from llmar_pipeline.language.packed_linear import pack_linear_layers
from llmar_pipeline.language.packing import pad_sentences
from llmar_pipeline.language.trained_model import load_model

WAYS = ["float32", "split, three terms", "split, two terms", *["TF32"] * GPU, "bfloat16"]
BATCH = 64 if GPU else 8


@contextmanager
def computing(way: str) -> Iterator[None]:
    """Products as the way has them."""
    three = split_linear.split

    def two(x: Tensor) -> Tensor:
        terms = three(x)
        terms[2] = 0
        return terms

    torch.set_float32_matmul_precision("high" if way == "TF32" else "highest")
    with patch.object(split_linear, "split", two if "two" in way else three):
        yield
    torch.set_float32_matmul_precision("highest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recognizer", type=Path, required=True, help="of a run")
    parser.add_argument("--clips", type=int, default=150, help="test and validation clips, at most")
    parser.add_argument("--names", type=int, nargs="+", default=[10, 60], help="its own first, then NTU's")
    parser.add_argument("--out", type=Path, help="a page; default: none")
    arguments = parser.parse_args()
    recognizer = arguments.recognizer.resolve()
    corpus, protocol, run = recognizer.parts[-4:-1]
    feature = recognizer.parents[4] / "04_feature" / corpus / protocol / run
    table = pd.read_parquet(feature / "action_sentences.parquet")
    clips = table[table["split"] != "train"].drop_duplicates("name")[: arguments.clips]
    codes, mask = pad_sentences(clips["codes"].tolist())
    lines = ["# Number types of scoring", ""]
    lines += ["| names | way | other answers | another order of five | nats | probability | clips/s |"]
    lines += ["|---:|---|---:|---:|---:|---:|---:|"]
    exact: dict[int, Tensor] = {}
    for way in WAYS:
        dtype = "bfloat16" if way == "bfloat16" else "float32"
        model = load_model(recognizer, llm_cache(ROOT / "data"), dtype=dtype, split="split" in way).to(DEVICE)
        if way == "float32":
            pack_linear_layers(model.decoder)
        for count in arguments.names:
            trie = LabelTrie(class_list(model.class_names, count), model.tokenizer)
            with computing(way):
                started = now()
                scores = score_classes(model, codes, mask, trie, BATCH).double()
                seconds = now() - started
            expected = exact.setdefault(count, scores)
            five = min(5, count)
            others, order = (
                int((scores.topk(top).indices != expected.topk(top).indices).any(1).sum())
                for top in (1, five)
            )
            gap = (scores - expected).abs().max().item()
            chance = (scores.softmax(1) - expected.softmax(1)).abs().max().item()
            lines.append(
                f"| {count} | {way} | {others} of {len(clips)} | {order} | {gap:.1e} | {chance:.1e} "
                f"| {len(clips) / seconds:.1f} |"
            )
    command = " ".join(["python benchmarks/number_types.py", *sys.argv[1:]])
    write_page(arguments.out, [*lines, "", *machine(command)])


if __name__ == "__main__":
    main()
