"""Seconds and memory of each stage of the demo, written to benchmarks/results/demo.md.

Every stage runs as its own `kedro run --pipelines=<stage>` in a fresh data folder, so each pays for Python's
imports once; peak memory is that of the process, as the kernel counts it.

    python benchmarks/demo.py [--size demo] [--params vqvae_training.max_steps=50] [--output file.md]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from measuring import ROOT, machine

from llmar_pipeline.pipeline_registry import stages


@dataclass(frozen=True)
class Measurement:
    """What one stage took."""

    stage: str
    seconds: float
    peak_mib: float


def measure(
    stage: str, options: list[str], params: str, environment: dict[str, str], log: Path
) -> Measurement:
    """Run one stage to its end.

    Raises:
        SystemExit: the stage failed; its last lines are shown.
    """
    command = [sys.executable, "-m", "kedro", "run", f"--pipelines={stage}", *options, f"--params={params}"]
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
        raise SystemExit(f"stage {stage} ended with exit code {process.returncode}:\n{last}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return Measurement(stage, seconds, usage.ru_maxrss * unit / 2**20)


def render(measurements: list[Measurement], command: str) -> str:
    """The Markdown page."""
    rows = [f"| {m.stage} | {m.seconds:.1f} | {m.peak_mib:.0f} |" for m in measurements]
    total = sum(m.seconds for m in measurements)
    peak = max(m.peak_mib for m in measurements)
    return "\n".join(
        [
            "# The demo, stage by stage",
            "",
            "| stage | wall seconds | peak memory, MiB |",
            "|---|---:|---:|",
            *rows,
            f"| all | {total:.1f} | {peak:.0f} |",
            "",
            *machine(command, "0 (the default of every stage)"),
            "Each stage is a process of its own, so its seconds include Python's start and imports.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="demo", help="file of conf/sizes")
    parser.add_argument("--params", default="", help="passed on to kedro, comma separated")
    parser.add_argument("--conf-source", help="another configuration folder")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "demo.md")
    arguments = parser.parse_args()
    command = " ".join(["python benchmarks/demo.py", *sys.argv[1:]])
    options = [f"--conf-source={arguments.conf_source}"] if arguments.conf_source else []

    measurements = []
    with tempfile.TemporaryDirectory(prefix="llmar-bench-") as folder:
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        environment["_MLFLOW_SERVER_ARTIFACT_ROOT"] = f"{folder}/mlruns"
        params = ",".join(filter(None, [f"size={arguments.size},data_dir={folder}/data", arguments.params]))
        for stage in stages():
            measured = measure(stage, options, params, environment, Path(folder, f"{stage}.log"))
            print(f"{stage:15s} {measured.seconds:8.1f} s {measured.peak_mib:8.0f} MiB", flush=True)
            measurements.append(measured)
        print(next(Path(folder).rglob("summary.txt")).read_text(encoding="utf-8"))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(render(measurements, command), encoding="utf-8")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
