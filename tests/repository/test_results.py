"""The tables of the results are what their commands make of the rows that are kept."""

import runpy
from pathlib import Path

import pytest

FILL = runpy.run_path(str(Path(__file__).resolve().parents[2] / "docs" / "fill_results.py"))


def test_tables_and_figures_are_those_of_their_commands(project, monkeypatch):
    monkeypatch.chdir(project)
    FILL["bootstrap_project"](project)
    text = (project / "docs/results.md").read_text(encoding="utf-8")
    after, figures = FILL["filled"](text)
    assert text.count("<!-- columns: ") >= 2
    assert after == text, "run `python docs/fill_results.py`"
    assert all((project / "docs" / path).read_bytes() == drawn for path, drawn in figures.items())


def test_columns_are_chosen_by_the_beginnings_of_their_headings():
    cells = [[" corpus ", " accuracy, % ", " less a "], ["---", "---:", "---:"], [" x ", " 1 ", " 2 "]]
    assert FILL["chosen"](cells, "less | corpus") == "| less a | corpus |\n|---:|---|\n| 2 | x |\n"
    with pytest.raises(SystemExit, match="expected a column seeds, saw corpus, accuracy"):
        FILL["chosen"](cells, "seeds")
