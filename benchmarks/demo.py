"""Where the time of the demo goes, stage by stage, written to benchmarks/results/demo.md.

One `kedro run` in a fresh data folder, as `make demo` does it, and a second one, which has nothing to do
(benchmarks/clocks.py counts). What is neither training nor scoring should be 15 % of it at most. Beside other
programs the wall's clock says little: --clock processor counts the processors' seconds of the same run.

    python benchmarks/demo.py [--clock processor] [--params vqvae_training.max_steps=50] [--output file.md]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clocks import MODELS, WHAT
from measuring import ROOT, machine, write_page

from llmar_pipeline.pipeline_registry import stages

CLOCKS = ("wall", "processor")
GOAL = 0.15  # of the wall time, for what is neither training nor scoring


def run(
    options: list[str], environment: dict[str, str], folder: Path
) -> tuple[dict[str, dict], float, float]:
    """What a run writes of its time, its wall seconds, and its processor's.

    Raises:
        SystemExit: it failed; its last lines are shown.
    """
    times, log = folder / "times.json", folder / "log.txt"
    command = [sys.executable, str(Path(__file__).with_name("clocks.py")), str(times), "run", *options]
    started = time.perf_counter()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = "\n".join(log.read_text(encoding="utf-8").splitlines()[-15:])
        raise SystemExit(f"the run ended with exit code {process.returncode}:\n{last}")
    return json.loads(times.read_text(encoding="utf-8")), seconds, usage.ru_utime + usage.ru_stime


def table(measured: dict[str, dict], clock: int) -> tuple[list[str], float, float]:
    """Seconds of each stage by what was done, and peak memory until its end; those of models, and all."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    peaks = measured["peaks"]
    spent = {
        stage: {what: both[clock] for what, both in row.items()} for stage, row in measured["seconds"].items()
    }
    rows = {stage: spent[stage] for stage in ("start", *stages()) if stage in spent}
    rows["all"] = {what: sum(row.get(what, 0.0) for row in spent.values()) for what in WHAT}
    lines = [
        f"| stage | {' | '.join(WHAT)} | all | peak memory so far, MiB |",
        f"|---|{'---:|' * (len(WHAT) + 2)}",
    ]
    for stage, row in rows.items():
        cells = [f"{row[what]:.1f}" if row.get(what, 0.0) >= 0.05 else "" for what in WHAT]
        peak = peaks.get(stage, max(peaks.values())) * unit / 2**20
        lines.append(f"| {stage} | {' | '.join(cells)} | {sum(row.values()):.1f} | {peak:.0f} |")
    everything = rows["all"]
    return lines, sum(everything[what] for what in MODELS), sum(everything.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="demo", help="file of conf/sizes")
    parser.add_argument("--clock", choices=CLOCKS, default=CLOCKS[0])
    parser.add_argument("--params", default="", help="passed on to kedro, comma separated")
    parser.add_argument("--conf-source", help="another configuration folder")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "demo.md")
    arguments = parser.parse_args()
    command = " ".join(["python benchmarks/demo.py", *sys.argv[1:]])

    with tempfile.TemporaryDirectory(prefix="llmar-bench-") as name:
        folder = Path(name)
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        environment["_MLFLOW_SERVER_ARTIFACT_ROOT"] = f"{folder}/mlruns"
        params = ",".join(filter(None, [f"size={arguments.size},data_dir={folder}/data", arguments.params]))
        options = [f"--params={params}"]
        options += [f"--conf-source={arguments.conf_source}"] if arguments.conf_source else []
        whole, seconds, processor = run(options, environment, folder)
        print(next(folder.rglob("summary.txt")).read_text(encoding="utf-8"))
        again, idle, idle_processor = run(options, environment, folder)
    lines, models, counted = table(whole, CLOCKS.index(arguments.clock))
    idle_imports = again["seconds"]["start"].get("imports", [0.0, 0.0])[1]
    write_page(
        arguments.output,
        [
            "# Where the time of the demo goes",
            "",
            f"Seconds of one `kedro run` by the {arguments.clock}'s clock, by stage and by what was done",
            "(`benchmarks/clocks.py` says what each column is). Start is what comes before the first stage.",
            "",
            *lines,
            "",
            f"- {100 * (1 - models / counted):.0f} % is neither training nor scoring "
            f"(at most {100 * GOAL:.0f} % wanted)",
            f"- in all {seconds:.1f} s of the wall's clock, {processor:.1f} s of processors",
            f"- the same run again, which has nothing to do: {idle:.1f} s, {idle_processor:.1f} s of "
            f"processors, {idle_imports:.1f} s of them imports",
            "",
            *machine(command, "0 (the default of every stage)"),
        ],
    )


if __name__ == "__main__":
    main()
