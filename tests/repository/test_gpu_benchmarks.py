"""What measures GPUs runs on a CPU in small, and the table of GPU hours is what its command makes."""

import re
import subprocess
import sys

import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.config import LLMConfig
from llmar_pipeline.language.llm_cache import llm_cache
from llmar_pipeline.language.loading import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(project):
    try:
        return load_tokenizer(LLMConfig(model="smollm2", precision="float32"), llm_cache(project / "data"))
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_the_gpu_benchmark_in_small(project, tokenizer, tmp_path):
    page = tmp_path / "page.md"
    command = [sys.executable, str(project / "benchmarks" / "gpu.py"), "--tiny", "--out", str(page)]
    subprocess.run(command, check=True, cwd=project, capture_output=True)
    rows = re.findall(
        r"^\| (LoRA|stage 1|scoring).* \| ([\d.,]+) (clips/s|ms a step) \|", page.read_text(), re.M
    )
    assert [(what, unit) for what, _, unit in rows] == [
        ("LoRA", "clips/s"), ("stage 1", "ms a step"), ("scoring", "clips/s")
    ]  # fmt: skip
    assert all(float(number) > 0 for _, number, _ in rows)


def test_the_hours_are_those_of_the_command(project, benchmarks, tokenizer):
    hours = benchmarks("hours")
    page = (project / "docs" / "scale.md").read_text(encoding="utf-8")
    (shown,) = [found[0] for found in hours.MARKS.finditer(page)]
    assert shown == "<!-- hours -->\n" + "\n".join(hours.table(tokenizer)) + "\n<!-- end -->"


def test_the_hours_by_hand(benchmarks, tokenizer):
    """300,000 steps of 39 ms; 1,172 batches of 256 at 155 clips/s; both as measured on an H100."""
    hours = benchmarks("hours")
    stage1, lora, score, total = hours.cost(tokenizer, "ntu60", 16_487).hours("H100")
    assert stage1 == pytest.approx(300_000 * 0.039 / 3600, rel=0.03)
    assert lora == pytest.approx(1172 * 256 / 155 / 3600, rel=0.05)
    # 13e9 weights times two operations for each of 242 tokens, by three terms, at half of 778e12 a second.
    assert score == pytest.approx(16_487 * 3 * 2 * 12.7e9 * 242 / (0.5 * 778e12) / 3600, rel=0.1)
    assert total == stage1 + lora + score
    assert hours.cost(tokenizer, "ntu60", 16_487).hours("A100")[3] == pytest.approx(total * 778 / 245)
