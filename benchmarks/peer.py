"""A graph network of CTR-GCN's kind in the processor seconds of `best`, on the same clips, read alike.

Store, split, augmentation, batches and readings are those of the experiment, by its own configuration and
code. The number of steps is fixed before a training begins: a few steps of a network that is thrown away are
timed; further seeds, and other numbers of training clips, take as many on whatever machine. The answers after
the last step are the result; what the best of ten looks at the test would have told stands beside it. Every
seed leaves a row, and one that is there is not made again; the page is made from the rows alone.

    kedro run --pipelines=ingestion,normalization --env=nwucla --params=size=laptop,experiment=best
    python benchmarks/peer.py --env nwucla [--seeds 0 1 2] [--streams joints bones joint_motion bone_motion]
        [--seconds 1330 | --steps 2000] [--params size=laptop,experiment=best] [--rows F] [--out F.md]
    python benchmarks/peer.py --table-only
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from measuring import ROOT, one_thread, write_page
from peer_network import BLOCKS, PeerNetwork
from peer_page import page, read_peers

import torch  # isort: skip  # measuring prepares the process for it
import torch.nn.functional as F
from torch import Tensor

from llmar_pipeline.commands.rows import find_row, identity, machine_line, read_rows, right_of
from llmar_pipeline.corpora.cameras import settle_turns
from llmar_pipeline.errors import UserError
from llmar_pipeline.evaluation.metrics import build_predictions, metrics
from llmar_pipeline.evaluation.readings import mean_by_clip
from llmar_pipeline.files import write_json
from llmar_pipeline.io.config_loader import StackedConfigLoader
from llmar_pipeline.io.origin import git_revision
from llmar_pipeline.io.params_text import read_params
from llmar_pipeline.io.run_names import short_hash
from llmar_pipeline.machine import kept_memory
from llmar_pipeline.settings import CONFIG_LOADER_ARGS
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.training.stream import SampleStream
from llmar_pipeline.vqvae.config import FurtherStream, TokenizationConfig, VQVAEConfig
from llmar_pipeline.vqvae.streams import to_stream
from llmar_pipeline.vqvae.tokenize import readings_to_recognize
from llmar_pipeline.vqvae.windows import Clips, Reading, stacked

STREAMS: dict[str, tuple[FurtherStream, ...]] = {
    "joints": ("joints",),
    "bones": ("bones",),
    "joint_motion": ("motion",),
    "bone_motion": ("bones", "motion"),
}
"""The field's streams: what is made of the joints, one behind the other."""
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, WARM_UP = 0.1, 0.9, 1e-4, 0.05
"""CTR-GCN's of NW-UCLA, but for the schedule: a share of the steps to warm up, then a cosine."""
LOOKS, TIMED, AT_ONCE = 10, 12, 32
AS_BEST = "as best"
CONF = ROOT / "conf"


class Task(NamedTuple):
    """What is learnt and what is asked, as the experiment has it."""

    train: Clips
    labels: list[int]
    test: Clips
    names: list[str]  # of the test clips
    true: list[str]
    class_names: list[str]
    augmentation: AugmentationConfig
    frames: int
    readings: int  # of a test clip
    smoothing: float
    training: TrainingConfig


def load(env: str, params: str) -> StackedConfigLoader:
    """The configuration that `kedro run --env= --params=` has."""
    return StackedConfigLoader(str(CONF), env, read_params(params), **CONFIG_LOADER_ARGS)


def task_of(loader: StackedConfigLoader) -> Task:
    """Clips of the normalised store, by the split that lies there."""
    if not loader.place("splits").is_file():
        raise UserError(
            f"expected {loader.place('splits')}, saw no such file; run "
            "`kedro run --pipelines=ingestion,normalization` with the same --env and --params"
        )
    parameters, sequences = loader["parameters"], loader.place("sequences")
    splits, index = (pd.read_parquet(loader.place(name)) for name in ("splits", "index"))
    train, test = (splits[splits["split"] == part] for part in ("train", "test"))
    classes = train.drop_duplicates("label").sort_values("label")
    numbers = {label: number for number, label in enumerate(classes["label"])}
    store, vqvae = SequenceStore.open(sequences), VQVAEConfig(**parameters["vqvae"])
    augmentation = AugmentationConfig(**parameters["augmentation"])
    return Task(
        Clips.load(store, train["name"].tolist()),
        train["label"].map(numbers).tolist(),
        Clips.load(store, test["name"].tolist()),
        test["name"].tolist(),
        test["action"].tolist(),
        classes["action"].tolist(),
        settle_turns(augmentation, index, splits, sequences),
        vqvae.frames,
        TokenizationConfig(**parameters["tokenization"]).test_readings,
        vqvae.label_smoothing,
        TrainingConfig(**parameters["vqvae_training"]),
    )


def motion_of(clips: Clips, readings: Sequence[Reading], frames: int, stream: str) -> Tensor:
    """Readings as a stream of the field, `[B, frame, coordinate, person, joint]`, zero where missing."""
    topology = clips.body.topology
    motion, mask = clips.windows(stacked(readings), frames, "joints")
    shape = (clips.body.persons, len(topology.joints), topology.coordinates)
    values, observed = motion.unflatten(2, shape).movedim(4, 2), mask.unflatten(2, shape)[..., 0]
    for made in STREAMS[stream]:
        values = to_stream(values, observed, topology, made) * observed.unsqueeze(2)
        if made == "bones":  # the tree's top has none
            values[..., [joint for joint, parent in enumerate(topology.parents) if parent < 0]] = 0
    return values


class Trained(NamedTuple):
    """What a training came to.

    Attributes:
        network: As it is after the last step.
        looks: Log-probabilities of the test clips at each look, one reading a clip, `[clip, class]`.
        seconds: Of the processor, looks left out.
    """

    network: PeerNetwork
    looks: list[np.ndarray]
    seconds: float


def train(
    task: Task, stream: str, seed: int, steps: int, looks: int = LOOKS, end: int | None = None
) -> Trained:
    """Train for a number of steps; with `end`, for so many of them."""
    batch = task.training.batch_size
    schedule = task.training.model_copy(
        update={"max_steps": steps, "warmup_steps": round(WARM_UP * steps), "schedule": "cosine"}
    )
    torch.manual_seed(seed)
    network = PeerNetwork(task.train.body, len(task.class_names), BLOCKS)
    optimizer = torch.optim.SGD(
        network.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )

    def read(index: int, rng: np.random.Generator) -> tuple[Reading, int]:
        return task.train.random(index, task.augmentation, rng), task.labels[index]

    samples = SampleStream(len(task.labels), steps * batch, seed, read)
    looked, seconds = [], 0.0
    at = {steps * look // looks for look in range(1, looks + 1)} if looks else set()
    for step in range(steps if end is None else end):
        started = time.process_time()
        readings, labels = zip(*(samples[step * batch + place] for place in range(batch)), strict=True)
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * schedule.learning_rate_factor(step)
        scores = network(motion_of(task.train, readings, task.frames, stream))
        loss = F.cross_entropy(scores, torch.tensor(labels), label_smoothing=task.smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds += time.process_time() - started
        if step + 1 in at:
            looked.append(answers(network, task, stream, 1))
    return Trained(network, looked, seconds)


@torch.no_grad()
def answers(network: PeerNetwork, task: Task, stream: str, count: int) -> np.ndarray:
    """Log-probabilities of the test clips, the mean of so many readings, `[clip, class]`."""
    network.eval()
    readings = [
        each for clip in range(len(task.names)) for each in readings_to_recognize(task.test, clip, count)
    ]
    made = []
    for start in range(0, len(readings), AT_ONCE):
        motion = motion_of(task.test, readings[start : start + AT_ONCE], task.frames, stream)
        made.append(network(motion).double().log_softmax(1).numpy())
    network.train()
    return mean_by_clip(pd.DataFrame({"name": [clip for clip, _ in readings]}), np.concatenate(made))[1]


def step_seconds(task: Task, stream: str) -> float:
    """Of the processor, of a step; the network is thrown away."""
    train(task, stream, 0, 1000, looks=0, end=TIMED // 4)
    return train(task, stream, 0, 1000, looks=0, end=TIMED).seconds / TIMED


def seconds_of_best(rows: Sequence[dict[str, Any]], known: dict[str, Any]) -> float:
    """Processor seconds of the experiment's row; where a note says that they are not all, of other seeds."""
    whole = [row for row in rows if "note" not in row]
    own = find_row(whole, known)
    others = [row for row in whole if find_row([row], known | {"seed": row["seed"]})]
    if not others:
        raise UserError(f"expected a row of {known} with all its processor seconds, saw none; give --seconds")
    return mean(row["processor_seconds"] for row in ([own] if own else others))


def steps_of_alike(peers: Sequence[dict[str, Any]], known: dict[str, Any], streams: list[str]) -> int:
    """Steps that the seconds of `best` came to in another row: of another seed, else of other training clips.

    `best` takes the same number of steps in all of them. Of several the most; 0: there is none.
    """
    rows = [peer for peer in peers if peer["streams"] == streams and peer["budget"] == AS_BEST]
    for ignored in ({"seed"}, {"seed", "shots", "shots_seed"}):
        asked = _but(known, ignored)
        if steps := [row["steps"] for row in rows if _but(row["beside"], ignored) == asked]:
            return max(steps)
    return 0


def _but(known: dict[str, Any], ignored: set[str]) -> dict[str, Any]:
    flat = known | known.get("overrides", {})
    return {key: value for key, value in flat.items() if key not in {"overrides", *ignored}}


def row_of(task: Task, streams: Sequence[str], seed: int, steps: int) -> dict[str, Any]:
    """Train a network for each stream, and say what their answers together are worth."""
    runs = {stream: train(task, stream, seed, steps) for stream in streams}

    def told(scores: Sequence[np.ndarray]) -> pd.DataFrame:
        return build_predictions(task.names, task.true, task.class_names, np.sum(scores, axis=0))

    def share(*scores: np.ndarray) -> float:
        return float(metrics(told(scores))["accuracy"])  # type: ignore[arg-type]

    last = {stream: answers(run.network, task, stream, task.readings) for stream, run in runs.items()}
    predictions = told(list(last.values()))
    return {
        "steps": steps,
        "batch": task.training.batch_size,
        "epochs": round(steps * task.training.batch_size / len(task.labels), 1),
        "parameters": sum(p.numel() for run in runs.values() for p in run.network.parameters()),
        "blocks": BLOCKS,
        "readings": task.readings,
        "processor_seconds": round(sum(run.seconds for run in runs.values()), 1),
        "metrics": metrics(predictions),
        "accuracy_of_streams": {stream: share(scores) for stream, scores in last.items()},
        "one_reading_accuracy": share(*(run.looks[-1] for run in runs.values())),
        "best_epoch_accuracy": share(*(max(run.looks, key=share) for run in runs.values())),
        **right_of(predictions),
    }


def make_rows(arguments: argparse.Namespace, command: str) -> None:
    """Make the rows that are not there."""
    streams, budget = arguments.streams, AS_BEST
    if arguments.steps or arguments.seconds:
        budget = f"{arguments.steps} steps" if arguments.steps else f"{arguments.seconds:g} s"
    loader, kept, task = load(arguments.env, arguments.params), read_rows(arguments.rows), None
    for seed in arguments.seeds:
        known = identity(loader, seed, "full")
        named = f"{known['environment']}-{known['protocol']}{short_hash(known.get('overrides', {}))}"
        limit = "" if budget == AS_BEST else f"-{budget.replace(' ', '')}"
        file = arguments.rows / f"peer-{named}-{'+'.join(streams)}{limit}-seed{seed}.json"
        if file.exists():
            continue
        task = task or task_of(loader)
        steps = arguments.steps
        if budget == AS_BEST:
            steps = steps_of_alike(read_peers(arguments.rows), known, streams)
        if not steps:
            seconds = arguments.seconds or seconds_of_best(kept, known)
            steps = max(LOOKS, int(seconds / len(streams) / step_seconds(task, streams[0])))
        made = {
            "command": command,
            **{key: known[key] for key in ("environment", "protocol", "seed")},
            **({"overrides": known["overrides"]} if "overrides" in known else {}),
            "streams": streams,
            "budget": budget,
            "machine": machine_line("float32", torch.get_num_threads()),
            "revision": git_revision(),
            "beside": known,
        }
        write_json(file, made | row_of(task, streams, seed, steps), indent=2)
        print(file.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="nwucla", help="dataset: a folder of conf")
    parser.add_argument("--params", default="size=laptop,experiment=best", help="as `kedro run` takes them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--streams", choices=list(STREAMS), nargs="+", default=["joints"])
    parser.add_argument("--seconds", type=float, help="of training, all streams together; default: of `best`")
    parser.add_argument("--steps", type=int, help="of each stream, instead")
    parser.add_argument("--rows", type=Path, default=ROOT / "docs" / "results", help="folder of the rows")
    parser.add_argument("--table-only", action="store_true", help="train nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "peer.md")
    arguments = parser.parse_args()
    one_thread()
    try:
        if not arguments.table_only:
            with kept_memory():
                make_rows(arguments, " ".join(["python benchmarks/peer.py", *sys.argv[1:]]))
        write_page(arguments.out, page(arguments.rows))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
