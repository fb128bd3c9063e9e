"""A report in a headless browser, as wide as a phone and as a desk's screen: what axe finds, what scrolls.

    npm install --prefix <folder> axe-core
    python benchmarks/accessibility.py <report.html> --axe <folder>/node_modules/axe-core/axe.min.js

Without chromium or axe-core it says so and checks nothing. It ends with 1 where something is amiss.
"""

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from html import unescape
from pathlib import Path
from typing import Any

WIDTHS = {"phone": 390, "desk": 1280}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SETTLE = 20_000  # milliseconds of the page's own time, which passes as fast as it can
_ASK = """
<script>%s</script>
<script>
addEventListener("load", async () => {
  document.querySelectorAll("details").forEach((fold) => { fold.open = true; });
  const found = await axe.run(document, { runOnly: %s, iframes: false });
  const violations = found.violations.map(({ id, impact, help, nodes }) =>
    ({ id, impact, help, nodes: nodes.map(({ html }) => html.slice(0, 160)) }));
  const across = document.documentElement.scrollWidth, width = innerWidth;
  parent.postMessage({ violations, passes: found.passes.length, across, width }, "*");
});
</script>
"""
_AROUND = """<!doctype html><title>checked</title>
<iframe src="page.html" width="%d" height="900"></iframe><pre></pre>
<script>
onmessage = ({ data }) => { document.querySelector("pre").textContent = JSON.stringify(data); };
</script>
"""


def browser() -> str | None:
    """A browser of chromium's kind; None where there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def examine(page: Path, axe: Path, program: str, width: int) -> dict[str, Any]:
    """What axe finds in a page that is so many pixels wide, all that folds unfolded.

    Args:
        page: An HTML file that needs no other.
        axe: axe-core's `axe.min.js`.
        program: The browser.
        width: Of the page.

    Returns:
        `violations` (id, impact, help, nodes), `passes` (a count), `width`, and `across`, which is more than
        that where the page scrolls sideways.
    """
    ask = _ASK % (axe.read_text(encoding="utf-8"), json.dumps(TAGS))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        body, end, rest = page.read_text(encoding="utf-8").rpartition("</body>")
        (folder / "page.html").write_text(body + ask + end + rest, encoding="utf-8")
        (folder / "around.html").write_text(_AROUND % width, encoding="utf-8")
        command = [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={folder / 'user'}",
        ]
        command += [f"--virtual-time-budget={SETTLE}", "--allow-file-access-from-files", "--dump-dom"]
        done = subprocess.run(
            [*command, (folder / "around.html").as_uri()],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
    found = re.search(r"<pre>(.+?)</pre>", done.stdout, re.DOTALL)
    if found is None:
        raise SystemExit(f"expected {program} to answer for {page}, saw nothing: {done.stderr[-300:]}")
    return dict(json.loads(unescape(found[1])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--axe", type=Path)
    arguments, program = parser.parse_args(), browser()
    if program is None or arguments.axe is None or not arguments.axe.is_file():
        missing = "no chromium on the PATH" if program is None else "no axe-core under --axe"
        print(f"skipped, nothing was checked: {missing}")
        return
    amiss = 0
    for name, width in WIDTHS.items():
        found = examine(arguments.page, arguments.axe, program, width)
        wide = found["across"] > found["width"]
        amiss += len(found["violations"]) + wide
        passed, broken = found["passes"], len(found["violations"])
        scrolls = f"scrolls sideways, to {found['across']} px" if wide else "does not scroll sideways"
        print(f"{name}, {width} px: {passed} rules pass, {broken} are broken; the page {scrolls}")
        for violation in found["violations"]:
            print(f"  {violation['id']} ({violation['impact']}): {violation['help']}")
            print("".join(f"    {node}\n" for node in violation["nodes"][:5]), end="")
    raise SystemExit(1 if amiss else 0)


if __name__ == "__main__":
    main()
