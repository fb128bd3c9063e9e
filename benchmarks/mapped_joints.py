"""What a model loses by joints that another skeleton lacks: its own test clips, as that one has them.

Each clip is mapped to the layout, where it loses joints, and read by the model as `kedro predict` reads a
recording of that layout.

    python benchmarks/mapped_joints.py [--env demo] [--params ...] [--layouts kinect20] [--read llm codes]
        [--out F.md]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import ROOT, machine, one_thread, write_page

from llmar_pipeline.corpora.own.layout import find_layout
from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.paired import paired_difference_of_shares
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.io.params_text import read_params
from llmar_pipeline.recognition.stage1_answers import Read
from llmar_pipeline.recognizer import Recognizer
from llmar_pipeline.settings import CONFIG_LOADER_ARGS
from llmar_pipeline.skeletons.mapping import joint_weights, mapped
from llmar_pipeline.skeletons.sequence import Sequence

HEADS = ("joints", "of the model's", "read", "own joints, %", "mapped, %", "mapped less own, points")


def rows(recognizer: Recognizer, files: list[Path], true: list[str], layout: str, read: Read) -> str:
    """A line of the table."""
    own, other = recognizer.body.topology, find_layout(layout, Path())[0]
    clips = [recognizer.read(file) for file in files]
    fewer = [Sequence(clip.name, mapped(mapped(clip.data, own, other), other, own)) for clip in clips]
    right = []
    for asked in (clips, fewer):
        answers = recognizer.predict_all(iter(asked), None, 1, 32, read)
        right.append(np.array([a.names[0] == t for a, t in zip(answers, true, strict=True)], dtype=float))
    apart = paired_difference_of_shares(right[1], right[0])
    there = int(joint_weights(other, own).any(axis=1).sum())
    cells = [
        *(layout, f"{there} of {len(own.joints)}", read),
        *(f"{100 * shares.mean():.1f}" for shares in right),
        f"{100 * apart.mean:+.1f} ({100 * apart.low:+.1f} to {100 * apart.high:+.1f})",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="demo", help="dataset: a folder of conf")
    parser.add_argument("--params", default="", help="as `kedro run` takes them")
    parser.add_argument("--layouts", nargs="+", default=["kinect20"])
    parser.add_argument("--read", nargs="+", default=["llm", "codes"], choices=["llm", "codes", "head"])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    one_thread()
    loader = StackedConfigLoader(
        str(ROOT / "conf"), arguments.env, read_params(arguments.params), **CONFIG_LOADER_ARGS
    )
    splits = pd.read_parquet(loader.place("splits"))
    test = splits[splits["split"] == "test"]
    folder = Path(loader["globals"]["raw_dir"])
    found = {file.stem: file for file in folder.rglob("*") if file.is_file()}
    files, true = [found[name] for name in test["name"]], test["action"].tolist()
    try:
        recognizer = Recognizer.load(loader.place("recognizer_model"))
        lines = [f"| {' | '.join(HEADS)} |", "|---|---:|---|---:|---:|---:|"]
        lines += [
            rows(recognizer, files, true, name, read) for name in arguments.layouts for read in arguments.read
        ]
    except UserError as error:
        sys.exit(str(error))
    command = " ".join(["python benchmarks/mapped_joints.py", *sys.argv[1:]])
    write_page(arguments.out, ["# Joints that another skeleton lacks", "", *lines, "", *machine(command)])


if __name__ == "__main__":
    main()
