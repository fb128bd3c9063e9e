"""What `fuzz.py` damages: small valid folders of everything that is read, and how each of them is read."""

import hashlib
import os
import pickle
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from measuring import ROOT
from tiny_project import Workplace, make_workplace, results

from llmar_pipeline.cli import cli
from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.error_lines import one_line_errors
from llmar_pipeline.errors import UserError
from llmar_pipeline.ingestion.ingest import IngestionConfig, ingest
from llmar_pipeline.kept_batches import in_kept_batches
from llmar_pipeline.recognizer import Recognizer
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.training.trainer import train

from small_recordings import VALID, put  # isort: skip  # of the tests, which tiny_project makes known
from test_trainer import Regression, stream, weights  # isort: skip
from tiny_training import schedule  # isort: skip

QUARANTINED = "quarantined "
WAYS = 4
PIPELINES = ("full", "stage2", "evaluation", "reporting")
EXPERIMENTS = ("llm_ar", "best", "euclidean", "llm_ar")
JOINTS = """\
name: five
coordinates: 2
joints: [neck, left shoulder, right shoulder, left hip, right hip]
parents: {left shoulder: neck, right shoulder: neck, left hip: neck, right hip: neck}
mirror: [[left shoulder, right shoulder], [left hip, right hip]]
root: neck
shoulders: [left shoulder, right shoulder]
hips: [left hip, right hip]
"""
CORPUS = """\
layout: joints.yml
units: pixels
persons: 1
classes: [wave, jump]
protocols: {mine: {by: subject, train: [1, 2], test: [3]}}
"""


@dataclass(frozen=True)
class Kind:
    """Something that is read.

    Attributes:
        name: As the page calls it.
        template: A folder with a valid one.
        files: Which of its files are damaged, as patterns.
        read: Reads a copy of the folder, in one of `WAYS`, and says what was read.
        checked: Whether what differs must be noticed.
        share: How often it is taken, beside the others.
        seconds: After which reading counts as hanging.
    """

    name: str
    template: Path
    files: tuple[str, ...]
    read: Callable[[Path, int], str]
    checked: bool = False
    share: float = 1
    seconds: int = 30

    def targets(self) -> list[Path]:
        """The files that are damaged, relative to the folder."""
        found = {path for pattern in self.files for path in self.template.glob(pattern) if path.is_file()}
        return sorted(path.relative_to(self.template) for path in found)


def light_kinds(folder: Path) -> list[Kind]:
    """Those that take no training: recordings, lists, configuration, checkpoints, kept batches, stores."""
    kinds = []
    for name, (corpus, file, content) in VALID.items():
        put(made := _new(folder / name), name, content)
        kinds.append(Kind(name, made, (file,), partial(_ingested, corpus), share=3))
    for corpus in ("ntu60", "custom"):
        made = _pickled(_new(folder / f"{corpus} pickle"))
        kinds.append(Kind(made.name, made, ("*.pkl",), partial(_ingested, corpus), share=3))
    lists = _listed(_new(folder / "lists"))
    own = partial(_ingested, "custom")
    kinds += [Kind(file, lists, (file,), own, share=5) for file in ("clips.csv", "corpus.yml", "joints.yml")]
    conf = shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    files = ("base/**/*.yml", "demo/*.yml", "sizes/laptop.yml", "experiments/*.yml")
    _killed(checkpoints := _new(folder / "checkpoints"))
    _squared(batches := _new(folder / "kept batches"), 0)
    put(store := _new(folder / "store"), "ntu60", VALID["ntu60"][2])
    _ingested_again(store, 0)
    return [
        *kinds,
        Kind("configuration", conf, files, _configured, share=4),
        Kind("checkpoints", checkpoints, ("**/*",), _trained, checked=True, share=3),
        Kind("kept batches", batches, ("*",), _squared, checked=True, share=3),
        Kind("store of sequences", store, ("store/*",), _ingested_again, checked=True, share=5),
    ]


def run_kinds(folder: Path, in_process: bool) -> list[Kind]:
    """Those that need a whole run: its outputs, and by `kedro` what a run is given."""
    workplace = make_workplace(_new(folder / "work"))
    os.environ.update(workplace.environment())
    os.chdir(ROOT)
    bootstrap_project(ROOT)
    run = _here if in_process else _as_command
    whole = workplace.folder / "data"
    run(workplace, "full", whole)
    expected = results(whole)

    def outputs(data: Path, way: int) -> str:
        before = results(data)
        run(workplace, PIPELINES[way], data)
        after = results(data)
        # A damaged file that the run had no use for is still what it was; all that it made must be the same.
        return str([name for name in expected if after.get(name) not in (expected[name], before.get(name))])

    kinds = [Kind("outputs of a run", whole, ("0[2-8]*/**/*",), outputs, True, share=1.5, seconds=600)]
    if in_process:
        model = next(whole.glob("06_models/*/*/*/recognizer"))
        recording = next(whole.glob("01_raw/demo/S*A008.skeleton"))
        return [*kinds, Kind("recogniser", model, ("**/*",), partial(_answered, recording), True, share=2)]

    def configured(conf: Path, way: int) -> str:
        data = shutil.copytree(whole, conf.parent / "data")
        run(Workplace(ROOT, conf.parent), "full", data)
        return str(results(data))

    files = ("base/**/*.yml", "demo/*.yml", "sizes/tiny.yml", "experiments/llm_ar.yml")
    return [
        *kinds,
        Kind("recordings", whole, ("01_raw/**/*",), outputs, share=1, seconds=600),
        Kind("configuration", workplace.conf, files, configured, share=1, seconds=600),
    ]


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _pickled(folder: Path) -> Path:
    """A pickle of pyskl, and what makes it a corpus of the user's own."""
    draw = np.random.default_rng(0)
    annotations = [
        {
            "frame_dir": f"S001C001P{person:03}R001A00{1 + label}",
            "label": label,
            "total_frames": 4,
            "keypoint": draw.normal(size=(1, 4, 25, 3)),
            "keypoint_score": draw.uniform(0.1, 1, (1, 4, 25)),
        }
        for person, label in ((1, 0), (2, 1))
    ]
    split = {"xsub_train": [annotations[0]["frame_dir"]], "xsub_val": [annotations[1]["frame_dir"]]}
    (folder / "x.pkl").write_bytes(pickle.dumps({"split": split, "annotations": annotations}))
    (folder / "corpus.yml").write_text("layout: ntu25\nunits: metres\npickle: x.pkl\nclasses: [a, b]\n")
    return folder


def _listed(folder: Path) -> Path:
    """Recordings of the user's own with a layout of theirs."""
    points = [f"{frame},{joint},{3 * joint + frame},{2 * joint}" for frame in range(3) for joint in range(5)]
    rows = [f"c{n}.csv,{('wave', 'jump')[n % 2]},{1 + n // 2},{n % 2}" for n in range(6)]
    for number in range(6):
        (folder / f"c{number}.csv").write_text("\n".join(["frame,joint,x,y", *points]))
    (folder / "clips.csv").write_text("\n".join(["file,action,subject,camera", *rows]))
    (folder / "corpus.yml").write_text(CORPUS)
    (folder / "joints.yml").write_text(JOINTS)
    return folder


def _ingested(corpus: str, folder: Path, way: int) -> str:
    """What a folder of recordings comes to."""
    settings = IngestionConfig(workers=1, max_quarantined_share=1)
    read = ingest(CORPORA[corpus], folder, folder / "store", settings)
    if bad := [row for row in read.quarantine.itertuples() if "\n" in f"{row.expected}{row.seen}"]:
        raise ValueError(f"more than a line: {bad[0]}")
    sequences = SequenceStore.open(folder / "store") if len(read.index) else ()
    if any(np.isinf(sequence.data).any() for sequence in sequences):
        raise ValueError("numbers that are not finite were read")
    content = [read.index.to_csv(), *(sequence.data.tobytes() for sequence in sequences)]
    return QUARANTINED * (len(read.quarantine) > 0) + _sum(content)


def _ingested_again(folder: Path, way: int) -> str:
    return _ingested("ntu60", folder, way)


def _configured(conf: Path, way: int) -> str:
    """Whatever a run reads of its configuration before it begins."""
    bootstrap_project(ROOT)
    chosen = {"size": "laptop", "experiment": EXPERIMENTS[way]}
    session_of = KedroSession.create(ROOT, env="demo", conf_source=str(conf), runtime_params=chosen)
    with one_line_errors(), session_of as session:
        context = session.load_context()
        rest = (context.config_loader[name] for name in ("globals", "catalog", "mlflow"))
        return _sum(map(repr, (context.params, context.catalog, *rest)))


def _killed(folder: Path) -> None:
    """Checkpoints of a training that ended in its middle."""
    model = Regression()
    model.stop_at = 7 * schedule().batch_size
    try:
        train(model, stream(schedule()), schedule(), folder, {"a": 1})
    except KeyboardInterrupt:
        return


def _trained(folder: Path, way: int) -> str:
    """The weights of a training that goes on."""
    model = Regression()
    train(model, stream(schedule()), schedule(), folder, {"a": 1})
    return _sum(tensor.numpy().tobytes() for tensor in weights(model).values())


def _squared(folder: Path, way: int) -> str:
    return _sum([in_kept_batches(range(6), 2, np.square, folder, {}, "squaring").tobytes()])


def _answered(recording: Path, folder: Path, way: int) -> str:
    return str(Recognizer.load(folder).predict(recording))


def _here(workplace: Workplace, pipeline: str, data: Path) -> None:
    """`kedro run` in this process; it ends with nothing or one line, as an error."""
    done = CliRunner().invoke(cli, workplace.arguments(f"--pipelines={pipeline}", data=str(data)))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    _judge(done.exit_code, done.output)


def _as_command(workplace: Workplace, pipeline: str, data: Path) -> None:
    process = workplace.start(*workplace.arguments(f"--pipelines={pipeline}", data=str(data)))
    try:
        output, _ = process.communicate()
    finally:
        process.kill()
    _judge(process.returncode, output)


def _judge(code: int, output: str) -> None:
    last = (output.strip().splitlines() or [""])[-1]
    if "Traceback (most recent call last)" in output or (code and not last.startswith("Error: ")):
        raise RuntimeError(f"exit code {code}: {last}")
    if code:
        raise UserError(last)


def _sum(parts: Iterable[str | bytes]) -> str:
    sums = hashlib.sha256()
    for part in parts:
        sums.update(part.encode() if isinstance(part, str) else part)
    return sums.hexdigest()
