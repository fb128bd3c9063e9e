"""What every test may rely on."""

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def project() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture(scope="session", autouse=True)
def nothing_local() -> Iterator[None]:
    """No test reads what a developer keeps in conf/local."""
    with pytest.MonkeyPatch.context() as patch:
        if (ROOT / "conf" / "local").exists():
            patch.setattr("llmar_pipeline.io.config_loader.LOCAL", "local-of-no-test")
        yield


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of benchmarks/ by its name, with the others beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
        yield importlib.import_module


@pytest.fixture
def in_a_terminal() -> Iterator[None]:
    """Signals as programs of a terminal have them; tests that nohup started would ignore some."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real recordings beside the repository; skips where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real recordings, which are not part of the repository: {folder} is absent")
    return folder


@pytest.fixture(scope="session")
def tiny_llm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random language model of hidden size 32."""
    from tiny_llm import write_tiny_llm

    folder = tmp_path_factory.mktemp("tiny_llm")
    write_tiny_llm(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_recognizer_folder(tiny_llm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model's folder, of random weights: reads recordings of NTU's joints."""
    from tiny_recognizer import write_recognizer, write_vqvae

    from llmar_pipeline.corpora import CORPORA
    from llmar_pipeline.skeletons.topology import Body

    folder, corpus = tmp_path_factory.mktemp("tiny_recognizer"), CORPORA["ntu60"]
    write_vqvae(folder / "vqvae", Body(corpus.topology, corpus.persons))
    return Path(write_recognizer(folder / "recognizer", folder / "vqvae", tiny_llm_folder, corpus))


Frame = Sequence[tuple[str, np.ndarray]]


def _write(frames: Sequence[Frame], end: str = "\n") -> str:
    lines = [str(len(frames))]
    for frame in frames:
        lines.append(str(len(frame)))
        for body_id, joints in frame:
            lines += [f"{body_id} 0 1 1 1 1 0 0.02 0.05 2", str(len(joints))]
            lines += [f"{x:.7g} {y:.7g} {z:.7g} 277.4 191.8 1036.2 519.1 0 0 0 0 2" for x, y, z in joints]
    return end.join(lines) + end


@pytest.fixture
def skeleton_text() -> Callable[..., str]:
    """Writes frames of (body id, joints) in the `.skeleton` layout."""
    return _write
