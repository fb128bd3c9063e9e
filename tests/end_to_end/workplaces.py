"""A place for whole runs at a size of seconds: a configuration, and the folders that its runs write to."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

TINY = """\
llm: {{model: {llm}, precision: float32}}
vqvae: {{code_dim: 32, codes: 32, width: 16, depth: 1, usage_decay: 0.9}}
vqvae_training: {{max_steps: 12, batch_size: 8, micro_batch_size: 8, learning_rate: 1.0e-3,
  warmup_steps: 2, schedule: cosine, save_every: 1, log_every: 2}}
tokenization: {{readings: 1}}
lora: {{rank: 4}}
lora_training: {{max_steps: 12, batch_size: 4, micro_batch_size: 4, learning_rate: 1.0e-3,
  warmup_steps: 2, schedule: cosine, save_every: 1, log_every: 2}}
ingestion: {{workers: {workers}}}
"""
BEST = """
sizes:
  tiny:
    vqvae: {continuous_steps: 8}
    vqvae_training: {max_steps: 12, batch_size: 8, micro_batch_size: 8, warmup_steps: 2, save_every: 1}
    lora_training: {max_steps: 12, batch_size: 4, micro_batch_size: 4, warmup_steps: 2, save_every: 1}
"""
DEMO = """\
demo_recordings: {subjects: [1, 2, 4, 5, 3, 6], cameras: [1, 2], setups: [2, 1], actions: [8, 9, 23, 27]}
"""


def make_tiny(conf: Path, llm: Path) -> None:
    """Add sizes of seconds, which read files in one process or in two, and make the demo as small."""
    for size, workers in (("tiny", 1), ("tiny_raw", 2)):
        (conf / "sizes" / f"{size}.yml").write_text(TINY.format(llm=llm, workers=workers))
    best = conf / "experiments" / "best.yml"  # which has a schedule of its own
    OmegaConf.save(OmegaConf.merge(OmegaConf.load(best), OmegaConf.create(BEST)), best)
    (conf / "demo" / "parameters.yml").write_text(DEMO)
    base = conf / "base" / "parameters" / "ingestion.yml"  # four damaged files are many here
    base.write_text(base.read_text().replace("max_quarantined_share: 0.1 ", "max_quarantined_share: 0.5 "))


@dataclass
class Workplace:
    """A configuration with the size `tiny`, and the folders that its runs write to."""

    project: Path
    folder: Path

    @property
    def conf(self) -> Path:
        return self.folder / "conf"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def arguments(
        self, *options: str, command: str = "run", data: str = "data", **params: object
    ) -> list[str]:
        """What follows `kedro`; params over the tiny size, dots written as two underscores."""
        chosen = {"size": "tiny", "data_dir": self.folder / data}
        chosen |= {key.replace("__", "."): value for key, value in params.items()}
        joined = ",".join(f"{key}={value}" for key, value in chosen.items())
        return [command, f"--conf-source={self.conf}", *options, f"--params={joined}"]

    def environment(self) -> Mapping[str, str]:
        return {
            **os.environ,
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": str(self.folder / "mlruns"),
            "KEDRO_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(self.project / "src"),  # Kedro's bootstrap leaves that of another project there
        }

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "kedro", *arguments],
            cwd=self.project,
            env=self.environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def command(self, name: str, *options: str) -> str:
        """What a command of many runs (`kedro ablations`, ...) prints; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "kedro", *self.arguments(*options, command=name)],
            cwd=self.project,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def kedro(self, *options: str, data: str = "data", **params: object) -> tuple[int, str]:
        """Exit code and output of `kedro run`."""
        process = self.start(*self.arguments(*options, data=data, **params))
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def file(self, layer: str, name: str, data: str = "data", run: str = "llm_ar-tiny") -> Path:
        return self.folder / data / layer / "demo" / "xsub" / run / name
