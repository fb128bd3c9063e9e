"""A configuration that a test may change."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def conf(tmp_path: Path, project: Path) -> Path:
    return shutil.copytree(project / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
