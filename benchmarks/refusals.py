"""How long until a run that cannot succeed is refused, and what looking at a large corpus costs?

Each kind of what is known before a training is tried by `kedro run`: seconds from the command to its line, of
which most are imports. Then `kedro doctor` looks at as many recordings as NTU RGB+D 60 has, all of them
names of one small file.

    python benchmarks/refusals.py [--files 57000] [--output file.md]
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice, product
from pathlib import Path

from measuring import machine, write_page
from tiny_project import make_workplace
from workplaces import Workplace

SKELETON = "1\n1\n" + "72057594037927936 0 0 0 0 0 0 0 0 2\n25\n" + 25 * (" ".join(["0.1"] * 12) + "\n")


def own_recordings(folder: Path, trained: str, tested: str, classes: str = "") -> Path:
    """One small csv a letter: its action, and whether it trains or tests."""
    folder.mkdir()
    rows = ["file,action,subject,split"]
    for split, actions in (("train", trained), ("test", tested)):
        for action in actions:
            name = f"{len(rows)}.csv"
            lines = [f"{frame},{joint},{frame + joint},{joint}" for frame in range(8) for joint in range(17)]
            (folder / name).write_text("\n".join(["frame,joint,x,y", *lines]))
            rows.append(f"{name},action {action},{split},{split}")
    (folder / "clips.csv").write_text("\n".join(rows))
    (folder / "corpus.yml").write_text(f"layout: coco17\nunits: pixels\n{classes}")
    return folder


def damaged_model(workplace: Workplace, name: str, damage: Callable[[Path], object]) -> dict[str, object]:
    folder = workplace.folder / name
    shutil.copytree(workplace.folder / "llm", folder)
    damage(folder)
    return {"llm__model": folder}


def cut_off(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def one_layer_more(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config))


def other_family(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "nothing_known"}))


def kinds(workplace: Workplace) -> Iterator[tuple[str, dict[str, object]]]:
    """What is refused, and parameters that ask for it."""
    yield "a negative seed", {"lora_training__seed": -1}
    yield "batches that do not divide", {"lora_training__batch_size": 3, "lora_training__micro_batch_size": 2}
    yield "a parameter that nothing reads", {"vqvae__widht": 8}
    yield "an unwritable folder", {"data_dir": "/proc/nowhere"}
    yield "a language model that is not there", {"llm__model": workplace.folder / "nothing"}
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    for name, what, damage in (
        ("cut", "weights that are cut off", cut_off),
        ("pointer", "a Git LFS pointer", lambda f: (f / "model.safetensors").write_bytes(pointer)),
        ("deeper", "a layer without weights", one_layer_more),
        ("family", "an unknown architecture", other_family),
        ("mute", "no tokenizer", lambda f: [file.unlink() for file in f.glob("tokenizer*")]),
    ):
        yield what, damaged_model(workplace, name, damage)
    for what, recordings in (
        ("a class without training clips", ("aabb", "abcc", "")),
        ("fewer than two test clips", ("aabb", "a", "")),
        ("a class without any clip", ("aabb", "ab", "classes: [action a, action b, action c]\n")),
    ):
        folder = own_recordings(workplace.folder / what.replace(" ", "_"), *recordings)
        yield what, {"--env": "custom", "raw_dir": folder}


def seconds(workplace: Workplace, command: str, wanted: int, **params: object) -> tuple[float, str]:
    options = [f"--env={params.pop('--env')}"] if "--env" in params else []
    started = time.perf_counter()
    process = workplace.start(*workplace.arguments(*options, command=command, data="data", **params))
    output, _ = process.communicate(timeout=600)
    taken = time.perf_counter() - started
    if process.returncode != wanted:
        raise SystemExit(f"kedro {command} {params} ended with {process.returncode}:\n{output}")
    return taken, output.strip().splitlines()[-1]


def large_corpus(folder: Path, files: int) -> Path:
    """As many names of one file as NTU RGB+D 60 has recordings."""
    folder.mkdir()
    (first := folder / "S001C001P001R001A001.skeleton").write_text(SKELETON)
    numbers = product(range(1, 18), range(1, 4), range(1, 3), range(1, 61), range(1, 41))
    for setup, camera, again, action, person in islice(numbers, 1, files):
        os.link(first, folder / f"S{setup:03}C{camera:03}P{person:03}R{again:03}A{action:03}.skeleton")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=57_000)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmar-refusals-") as name:
        workplace = make_workplace(Path(name))
        rows = [(what, *seconds(workplace, "run", 1, **params)) for what, params in kinds(workplace)]
        large = large_corpus(workplace.folder / "large", chosen.files)
        few = large_corpus(workplace.folder / "few", 60)
        looks = {
            f"`kedro doctor` at {count:,} files": seconds(
                workplace, "doctor", 0, **{"--env": "ntu60", "raw_dir": folder, "allow_incomplete": "true"}
            )[0]
            for count, folder in ((60, few), (chosen.files, large))
        }
    lines = [
        "# Seconds until a refusal",
        "",
        *machine(f"python benchmarks/refusals.py --files {chosen.files}"),
    ]
    lines += [
        "| refused | seconds |",
        "|:---|---:|",
        *(f"| {what} | {taken:.1f} |" for what, taken, _ in rows),
        "",
    ]
    lines += [
        "| looked at | seconds |",
        "|:---|---:|",
        *(f"| {what} | {taken:.1f} |" for what, taken in looks.items()),
    ]
    write_page(chosen.output, lines)
    for what, _, said in rows:
        print(f"{what}: {said[:160]}")


if __name__ == "__main__":
    main()
