"""What every test may rely on."""

import os
from collections.abc import Iterator
from pathlib import Path

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
