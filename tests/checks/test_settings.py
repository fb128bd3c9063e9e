"""Parameters that are each of their type, but that a stage would refuse once it begins."""

import subprocess
import sys
from typing import Any

import pytest

from llmar_pipeline.checks.settings import check_settings
from llmar_pipeline.errors import UserError

TRAINING = {"max_steps": 10, "batch_size": 8, "micro_batch_size": 4, "seed": 0}
GOOD: dict[str, dict[str, Any]] = {
    "vqvae_training": TRAINING,
    "lora_training": TRAINING,
    "evaluation": {"seed": 0},
    "vqvae": {"continuous_steps": 9},
    "lora": {"answers": "labels"},
}


def changed(section: str, **values: Any) -> dict[str, dict[str, Any]]:
    return GOOD | {section: GOOD[section] | values}


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        ("vqvae_training", {"seed": -1}, r"vqvae_training\.seed .*saw -1"),
        ("lora_training", {"seed": -1}, r"lora_training\.seed .*saw -1"),
        ("evaluation", {"seed": -1}, r"evaluation\.seed .*saw -1"),
        ("evaluation", {"seed": 2**32}, r"evaluation\.seed .*saw 4294967296"),
        (
            "lora_training",
            {"batch_size": 3, "micro_batch_size": 2},
            r"lora_training\.batch_size .*saw 3, 2 and 1",
        ),
        ("vqvae_training", {"micro_batch_size": "auto"}, r"vqvae_training\.micro_batch_size as a number"),
        ("vqvae_training", {"processes": 3}, r"vqvae_training\.batch_size .*saw 8, 2 and 3"),
        ("vqvae", {"continuous_steps": 10}, r"continuous_steps below .*=10, saw 10"),
        ("lora", {"answers": "head"}, r"vqvae\.auxiliary=class .*saw none and codes"),
    ],
)
def test_what_does_not_go_together_is_refused(section: str, values: dict[str, Any], expected: str) -> None:
    check_settings(GOOD, GOOD)
    with pytest.raises(UserError, match=expected):
        check_settings(changed(section, **values), GOOD)


def test_a_batch_smaller_than_the_micro_batch_is_one_micro_batch() -> None:
    check_settings(changed("lora_training", batch_size=2), GOOD)
    check_settings(changed("lora_training", micro_batch_size="auto"), GOOD)


def test_what_the_run_does_not_read_is_not_looked_at() -> None:
    check_settings(changed("lora_training", seed=-1), {"vqvae_training", "evaluation"})


def test_what_is_checked_before_recordings_are_read_needs_no_pytorch(project):
    code = "import sys, llmar_pipeline.checks.examination; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
