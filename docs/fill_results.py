"""Fill the tables of results.md from the rows in results/, by the commands that stand above them.

    python docs/fill_results.py           # writes them, and the figures
    python docs/fill_results.py --check   # exit code 1 where one is not what its command makes

A table is what stands between `<!-- columns: ... -->`, which names the columns that are shown, and
`<!-- end -->`; the last `kedro ablations ... --table-only` above it makes it. That command's figure is named
by `<!-- figure: images/name.svg -->`. `<!-- draws: unseen/name -->` takes what `kedro unseen --descriptions`
wrote, `name.csv` and `name-generalized.csv` in results/, `<!-- draws of the language model: unseen/name -->`
what `kedro unseen` wrote, `name.csv`. `<!-- peer -->` takes the table of benchmarks/peer.py,
`<!-- few clips: corpus -->` and `<!-- figure of few clips: corpus images/name.svg -->` that of few_clips.py.
"""

import re
import shlex
import sys
import tempfile
from functools import cache
from pathlib import Path

from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

DOCS = Path(__file__).resolve().parent
sys.path.append(str(DOCS))
from few_clips import few_clips_figure, few_clips_table  # noqa: E402
from peer_page import page  # noqa: E402 (few_clips knows where it lies)
from unseen_draws import described_draws, model_draws  # noqa: E402

MARKS = re.compile(
    r"^(?P<command>kedro ablations .*--table-only)$"
    r"|<!-- columns: (?P<columns>.*) -->\n(?P<table>(?s:.*?))(?P<end><!-- end -->)"
    r"|<!-- draws(?P<by_model> of the language model)?: (?P<draws>.*) -->\n(?s:.*?)<!-- end -->"
    r"|<!-- peer -->\n(?P<peer>(?s:.*?))<!-- end -->"
    r"|<!-- few clips: (?P<few>.*) -->\n(?s:.*?)<!-- end -->"
    r"|<!-- figure of few clips: (?P<few_of>\S+) (?P<few_figure>\S+) -->"
    r"|<!-- figure: (?P<figure>.*) -->",
    re.MULTILINE,
)


@cache
def made_by(command: str) -> tuple[list[list[str]], bytes]:
    """The cells of a command's table, a list a line, and its figure.

    Args:
        command: As it is typed.

    Raises:
        SystemExit: It makes no table.
    """
    from llmar_pipeline.cli import cli

    with tempfile.TemporaryDirectory(prefix="llmar-") as folder:
        done = CliRunner().invoke(cli, [*shlex.split(command)[1:], f"--params=data_dir={folder}"])
        lines = [line for line in done.output.splitlines() if line.startswith("|")]
        if not lines:
            raise SystemExit(f"{command}: expected a table, saw {done.output}{done.exception or ''}")
        drawn = next(Path(folder).rglob("*.svg")).read_bytes()
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines], drawn


def chosen(cells: list[list[str]], columns: str) -> str:
    """A Markdown table of the named columns alone.

    Args:
        cells: As of `made_by`.
        columns: Headings, or their beginnings, between bars.

    Raises:
        SystemExit: There is no such column.
    """
    heads = [head.strip() for head in cells[0]]
    places = []
    for wanted in columns.split(" | "):
        found = [place for place, head in enumerate(heads) if head.startswith(wanted)]
        if not found:
            raise SystemExit(f"expected a column {wanted}, saw {', '.join(heads)}")
        places.append(found[0])
    return "".join(f"|{'|'.join(row[place] for place in places)}|\n" for row in cells)


def filled(text: str) -> tuple[str, dict[str, bytes]]:
    """A document with its tables made anew, and the figures that it shows, by path."""
    figures, command = dict[str, bytes](), ""

    def fill(found: re.Match[str]) -> str:
        nonlocal command
        command = found["command"] or command
        if found["figure"]:
            figures[found["figure"]] = made_by(command)[1]
        if found["few_figure"]:
            figures[found["few_figure"]] = few_clips_figure(found["few_of"])
        if found["few"]:
            return f"<!-- few clips: {found['few']} -->\n{few_clips_table(found['few'])}<!-- end -->"
        if found["peer"] is not None:
            table = [line for line in page(DOCS / "results") if line.startswith("|")]
            return "\n".join(["<!-- peer -->", *table, "<!-- end -->"])
        if found["draws"]:
            table = (model_draws if found["by_model"] else described_draws)(found["draws"])
            return f"<!-- draws{found['by_model'] or ''}: {found['draws']} -->\n{table}<!-- end -->"
        if not found["columns"]:
            return found[0]
        table = chosen(made_by(command)[0], found["columns"])
        return f"<!-- columns: {found['columns']} -->\n{table}<!-- end -->"

    return MARKS.sub(fill, text), figures


def main() -> int:
    """Fill the page, or find out whether it is filled; the exit code."""
    bootstrap_project(DOCS.parent)
    page = DOCS / "results.md"
    before = page.read_text(encoding="utf-8")
    after, figures = filled(before)
    changed = {page: after.encode()} if after != before else {}
    changed |= {
        DOCS / path: drawn
        for path, drawn in figures.items()
        if not (DOCS / path).exists() or (DOCS / path).read_bytes() != drawn
    }
    for file, content in changed.items():
        print(file.relative_to(DOCS.parent))
        if "--check" not in sys.argv[1:]:
            file.write_bytes(content)
    return int(bool(changed) and "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
