"""The notebooks keep no outputs and are listed; tests/end_to_end/test_full_run.py runs them."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.name for path in ROOT.glob("notebooks/*.ipynb"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_keeps_no_outputs_and_is_listed(project, name):
    notebook = json.loads((project / "notebooks" / name).read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    tags = [cell["metadata"].get("tags") for cell in notebook["cells"]]
    assert tags.count(["parameters"]) == 1
    assert f"[{name}]({name})" in (project / "notebooks" / "README.md").read_text(encoding="utf-8")
